"""Queries about vendors' credentials and data keys.

Who changes a vendor's credentials holds its data key's row locked, so that a key never goes while one is being sealed.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, delete, exists, func, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from mp_kit.server.store.engine import Tx
from mp_kit.server.store.queries import named
from mp_kit.server.store.tables import vendor_connections, vendor_data_keys

_NOW = text("now()")


def keep_data_key(tx: Tx, vendor_id: str, fresh: str) -> str:
    """The vendor's wrapped data key, locked; ``fresh`` becomes it where there is none."""
    statement = (
        upsert(vendor_data_keys)
        .values(vendor_id=vendor_id, wrapped_key=fresh)
        .on_conflict_do_update(index_elements=["vendor_id"], set_={"vendor_id": vendor_id})
        .returning(vendor_data_keys.c.wrapped_key)
    )
    return str(tx.execute(statement).scalar_one())


def upsert_connection(tx: Tx, vendor_id: str, name: str, ciphertext: str, last4: str) -> Row[Any]:
    """Stores a credential in place of an earlier one; it is unchecked."""
    values = {"ciphertext": ciphertext, "last4": last4}
    statement = (
        upsert(vendor_connections)
        .values(vendor_id=vendor_id, name=name, **values)
        .on_conflict_do_update(
            index_elements=["vendor_id", "name"],
            set_=values | {"status": "unchecked", "checked_at": None, "updated_at": _NOW},
        )
        .returning(vendor_connections)
    )
    return tx.execute(statement).one()


def list_of(tx: Tx, vendor_id: str) -> list[Row[Any]]:
    """A vendor's credentials, by name."""
    table = vendor_connections
    return list(tx.execute(select(table).where(table.c.vendor_id == vendor_id).order_by(table.c.name)))


def find(tx: Tx, vendor_id: str, name: str) -> Row[Any] | None:
    """A credential with the data key that opens it."""
    table, keys = vendor_connections, vendor_data_keys
    statement = (
        select(table, keys.c.wrapped_key)
        .join(keys, keys.c.vendor_id == table.c.vendor_id)
        .where(table.c.vendor_id == vendor_id, table.c.name == name)
    )
    return tx.execute(statement).one_or_none()


def remove(tx: Tx, vendor_id: str, name: str) -> Row[Any] | None:
    """Removes a credential, and with the last one the data key; gives what there was."""
    table, keys = vendor_connections, vendor_data_keys
    tx.execute(select(keys.c.vendor_id).where(keys.c.vendor_id == vendor_id).with_for_update())
    removal = delete(table).where(table.c.vendor_id == vendor_id, table.c.name == name).returning(table)
    gone = tx.execute(removal).one_or_none()
    tx.execute(delete(keys).where(keys.c.vendor_id == vendor_id, ~exists().where(table.c.vendor_id == vendor_id)))
    return gone


def set_status(tx: Tx, vendor_id: str, name: str, ciphertext: str, status: str) -> Row[Any] | None:
    """Notes what the service said of a credential; None when another one has taken its place since."""
    table = vendor_connections
    statement = (
        update(table)
        .where(table.c.vendor_id == vendor_id, table.c.name == name, table.c.ciphertext == ciphertext)
        .values(status=status, checked_at=func.clock_timestamp())
        .returning(table)
    )
    return tx.execute(statement).one_or_none()


def in_use_at_runpod(tx: Tx, vendor_id: str) -> list[Row[Any]]:
    """What a vendor's open runs and wanted servers have, or are about to have, on its RunPod account."""
    return list(tx.execute(text(named("in_use_at_runpod")), {"vendor_id": vendor_id}))

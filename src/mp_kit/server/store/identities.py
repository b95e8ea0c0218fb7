"""Queries about accounts elsewhere, and about visits to their services that have not come back yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, delete, func, select, update

from mp_kit.server.store.engine import Tx
from mp_kit.server.store.tables import sign_in_trips, vendor_identities

ONE_VENDOR = "uq_vendor_identities_provider_subject"
"""What linking an account that is linked already violates."""


def insert(tx: Tx, values: Mapping[str, Any]) -> None:
    """Links an account; one that is linked already violates :data:`ONE_VENDOR`."""
    tx.execute(vendor_identities.insert().values(**values))


def find_account(tx: Tx, provider: str, subject: str) -> Row[Any] | None:
    """The vendor's link to an account, whosever it is."""
    columns = vendor_identities.c
    mine = (columns.provider == provider, columns.subject == subject)
    return tx.execute(select(vendor_identities).where(*mine)).one_or_none()


def list_of(tx: Tx, vendor_id: str) -> Sequence[Row[Any]]:
    """A vendor's accounts, oldest link first."""
    columns = vendor_identities.c
    statement = select(vendor_identities).where(columns.vendor_id == vendor_id)
    return tx.execute(statement.order_by(columns.created_at, columns.id)).all()


def note_use(tx: Tx, identity_id: str, login: str) -> None:
    """Notes that an account signed in, and its name of today."""
    statement = update(vendor_identities).where(vendor_identities.c.id == identity_id)
    tx.execute(statement.values(last_used_at=func.now(), login=login))


def unlink(tx: Tx, vendor_id: str, identity_id: str) -> Row[Any] | None:
    """Takes one of a vendor's links away; None where it has no such one."""
    columns = vendor_identities.c
    statement = delete(vendor_identities).where(columns.vendor_id == vendor_id, columns.id == identity_id)
    return tx.execute(statement.returning(vendor_identities)).one_or_none()


def unlink_all(tx: Tx, vendor_id: str) -> list[str]:
    """Takes all of a vendor's links away; the subjects, for the audit log."""
    statement = delete(vendor_identities).where(vendor_identities.c.vendor_id == vendor_id)
    return list(tx.execute(statement.returning(vendor_identities.c.subject)).scalars())


def insert_trip(tx: Tx, values: Mapping[str, Any]) -> None:
    """Stores that somebody was sent to a service."""
    tx.execute(sign_in_trips.insert().values(**values))


def take_trip(tx: Tx, state_digest: str, holders: Sequence[str]) -> Row[Any] | None:
    """Takes a trip away: of any number that come back with its state, one gets it, and only who began it."""
    columns = sign_in_trips.c
    mine = (columns.state_digest == state_digest, columns.holder_digest.in_(holders), columns.expires_at > func.now())
    return tx.execute(delete(sign_in_trips).where(*mine).returning(sign_in_trips)).one_or_none()


def under_way(tx: Tx, address: str) -> tuple[int, int]:
    """How many trips have not come back yet: from one address, and in all."""
    columns = sign_in_trips.c
    statement = select(func.count().filter(columns.address == address), func.count())
    here, everywhere = tx.execute(statement.where(columns.expires_at > func.now())).one()
    return here, everywhere


def forget_trips(tx: Tx) -> None:
    """Forgets trips that took too long."""
    tx.execute(delete(sign_in_trips).where(sign_in_trips.c.expires_at <= func.now()))

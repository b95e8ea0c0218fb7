"""Queries about rounds and who was granted their files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from mp_kit.contracts import CURRENT
from mp_kit.server.store.engine import Tx
from mp_kit.server.store.tables import dataset_grants, dataset_rounds, signing_keys

_SHOWN = [column for column in dataset_rounds.c if column.name not in {"manifest", "held_back"}]


def find(tx: Tx, round_id: str) -> Row[Any] | None:
    """A round by id; ``current`` is the current one."""
    chosen = dataset_rounds.c.is_current if round_id == CURRENT else dataset_rounds.c.id == round_id
    return tx.execute(select(*_SHOWN).where(chosen)).one_or_none()


def find_by_fingerprint(tx: Tx, fingerprint: str) -> Row[Any] | None:
    """The round that was made of the same input, if there is one."""
    return tx.execute(select(*_SHOWN).where(dataset_rounds.c.fingerprint == fingerprint)).one_or_none()


def find_manifest(tx: Tx, round_id: str) -> Row[Any] | None:
    """A round's manifest bytes and signature."""
    columns = dataset_rounds.c
    chosen = columns.is_current if round_id == CURRENT else columns.id == round_id
    names = ("id", "manifest", "manifest_sha256", "manifest_key_id", "manifest_signature")
    return tx.execute(select(*(columns[name] for name in names)).where(chosen)).one_or_none()


def list_newest(tx: Tx, limit: int, *, retired: bool = False) -> list[Row[Any]]:
    """Published rounds, newest first; without those that were retired, unless they are asked for."""
    statement = select(*_SHOWN) if retired else select(*_SHOWN).where(dataset_rounds.c.retired_at.is_(None))
    return list(tx.execute(statement.order_by(dataset_rounds.c.created_at.desc()).limit(limit)))


def lock(tx: Tx) -> None:
    """Lets one transaction at a time publish, or choose the current round; held until it ends."""
    tx.execute(text("SELECT pg_advisory_xact_lock(hashtext('mp_current_round'))"))


def insert(tx: Tx, values: Mapping[str, Any]) -> None:
    """Stores a round; the same fingerprint violates ``uq_dataset_rounds_fingerprint``."""
    tx.execute(dataset_rounds.insert().values(**values))


def make_current(tx: Tx, round_id: str) -> None:
    """Makes a round the current one, in place of whichever was; a retired one comes back. The caller holds the lock."""
    tx.execute(update(dataset_rounds).where(dataset_rounds.c.is_current).values(is_current=False))
    tx.execute(update(dataset_rounds).where(dataset_rounds.c.id == round_id).values(is_current=True, retired_at=None))


def retire(tx: Tx, round_id: str) -> None:
    """Takes a round out of the lists."""
    tx.execute(
        update(dataset_rounds).where(dataset_rounds.c.id == round_id).values(is_current=False, retired_at=text("now()"))
    )


def keep_key(tx: Tx, key_id: str, public_key: str) -> None:
    """Remembers a public key; one that is there stays."""
    tx.execute(upsert(signing_keys).values(id=key_id, public_key=public_key).on_conflict_do_nothing())


def list_keys(tx: Tx) -> list[Row[Any]]:
    """Every public key that ever signed, oldest first."""
    return list(tx.execute(select(signing_keys).order_by(signing_keys.c.created_at)))


def insert_grant(tx: Tx, values: Mapping[str, Any]) -> None:
    """Notes who was given URLs to what, until when."""
    tx.execute(dataset_grants.insert().values(**values))

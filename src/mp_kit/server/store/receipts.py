"""Queries about receipts; those of a batch run on the driver, because they are on the hot path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import Row, text

from mp_kit.server.store.engine import Tx, driver
from mp_kit.server.store.queries import named


class ChainEnd(NamedTuple):
    """The last receipt of a deployment: its number, its hash, and the key that signed it (None before the first)."""

    seq: int
    head: str
    key_id: str | None


def lock_chain(tx: Tx, deployment_id: str, genesis: str) -> ChainEnd:
    """The end of a deployment's chain, ours alone until commit; a chain that is not there is begun."""
    found = _lock(tx, deployment_id)
    if found is None:
        driver(tx).execute(named("begin_chain").encode(), {"deployment_id": deployment_id, "head": genesis})
        found = _lock(tx, deployment_id)
    if found is None:
        raise LookupError(deployment_id)  # it was there a statement ago, and no statement of ours removes chains
    return found


def _lock(tx: Tx, deployment_id: str) -> ChainEnd | None:
    row = driver(tx).execute(named("lock_chain").encode(), {"deployment_id": deployment_id}, prepare=True).fetchone()
    return None if row is None else ChainEnd(*row)


def extend_chain(tx: Tx, values: Mapping[str, Any]) -> None:
    """Stores a receipt and moves the end of its chain onto it; the caller holds the chain's lock."""
    driver(tx).execute(named("extend_chain").encode(), values, prepare=True)


def list_receipts(tx: Tx, filters: Mapping[str, Any]) -> list[Row[Any]]:
    """A page of receipts, each deployment's from its first one."""
    return list(tx.execute(text(named("list_receipts")), dict(filters)))

"""Checks every chain of receipts against the signals in the database, a page of receipts in memory at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text

from mp_kit.chains import by_batch, read_chain, unlike
from mp_kit.contracts.receipts import BatchReceipt
from mp_kit.contracts.rounds import SigningKey
from mp_kit.receipts import GENESIS, payload_sha256
from mp_kit.server.services import signals
from mp_kit.server.services.receipts import to_wire
from mp_kit.server.services.rounds import keys as signing_keys
from mp_kit.server.store.engine import Tx
from mp_kit.server.store.queries import named

__all__ = ["Chains", "check_all"]

PAGE = 100


@dataclass
class Chains:
    """What checking all chains found: how many held, and a sentence for each thing that is wrong."""

    chains: int = 0
    receipts: int = 0
    signals: int = 0
    problems: list[str] = field(default_factory=list)


def check_all(tx: Tx) -> Chains:
    """Checks signatures, numbers, links and ends of all chains, and each batch's signals field by field.

    The public keys are those of the database: what signed them is for :mod:`~mp_kit.server.services.backup` to prove.
    """
    found, keys = Chains(), {key.key_id: key for key in signing_keys(tx)}
    for end in tx.execute(text(named("list_chains"))).all():
        wrong = _check_one(tx, end, keys, found)
        found.chains += 1
        found.problems += [f"receipts of deployment {end.deployment_id}: {one}" for one in wrong]
    unproved = tx.execute(text(named("count_unproved"))).all()
    found.problems += [
        f"receipts of deployment {row.deployment_id}: {row.signals} signals have no receipt" for row in unproved
    ]
    return found


def _check_one(tx: Tx, end: Any, keys: dict[str, SigningKey], found: Chains) -> list[str]:
    seq, head, problems = 0, GENESIS, []
    while rows := _page(tx, end.deployment_id, seq):
        receipts = [to_wire(row) for row in rows]
        bodies, wrong = read_chain(end.deployment_id, receipts, keys, first=seq + 1, previous=head)
        problems += [*wrong, *_unlike(tx, end.deployment_id, rows, bodies, found)]
        found.receipts += len(bodies)
        if wrong:
            return problems  # behind it nothing can be told
        seq, head = seq + len(bodies), _hash(receipts[-1])
    if (seq, head) != (end.seq, end.head):
        problems.append(f"the chain ends with receipt {seq}, and receipt {end.seq} was the last one")
    return problems


def _page(tx: Tx, deployment_id: str, after: int) -> list[Any]:
    return list(tx.execute(text(named("list_chain")), {"deployment_id": deployment_id, "after": after, "limit": PAGE}))


def _unlike(tx: Tx, deployment_id: str, rows: list[Any], bodies: list[Any], found: Chains) -> list[str]:
    if not bodies:
        return []
    batches = [row.batch_id for row in rows[: len(bodies)]]
    stored = tx.execute(text(named("signals_of_batches")), {"deployment_id": deployment_id, "batches": batches})
    problems: list[str] = []
    by_id = by_batch((signals.to_wire(row) for row in stored), problems)
    for body in bodies:
        covered = by_id.get(body.batch, {})
        wrong = unlike(body, covered)
        problems += [f"receipt {body.seq}: {wrong}"] if wrong else []
        found.signals += 0 if wrong else len(covered)
    return problems


def _hash(receipt: BatchReceipt) -> str:
    return payload_sha256(receipt.payload)

"""What became of a vendor's batches, for the operator who asks why signals are missing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mp_kit.server.services.signal_outcome import Outcome
from mp_kit.server.store import signals as rows
from mp_kit.server.store.engine import Tx

__all__ = ["BatchFacts", "since"]


@dataclass(frozen=True)
class BatchFacts:
    """A batch that was pushed.

    Args:
        received_at: When.
        deployment: The name of who pushed it.
        rows: How many it had.
        accepted: How many of them were new.
        duplicates: How many were stored before; like the next two None where the answer was not kept, which is so of
            batches without an idempotency key.
        conflicts: How many contradict stored ones and were kept out.
        rejected: How many break the contract.
        problems: The first sentences about conflicts and rejected rows.
    """

    received_at: datetime
    deployment: str
    rows: int
    accepted: int
    duplicates: int | None = None
    conflicts: int | None = None
    rejected: int | None = None
    problems: tuple[str, ...] = ()


def since(tx: Tx, vendor_id: str, instant: datetime, *, limit: int = 1_000, problems: int = 3) -> list[BatchFacts]:
    """A vendor's batches since an instant, newest first.

    Args:
        tx: A transaction.
        vendor_id: Whose.
        instant: An aware one.
        limit: Batches at most.
        problems: Sentences of each at most.
    """
    found = []
    for row in rows.list_batches(tx, vendor_id, instant, limit):
        head = (row.received_at, row.deployment, row.rows, row.accepted)
        if row.answer is None:
            found.append(BatchFacts(*head))
            continue
        told = Outcome.unpack(row.answer)
        said = tuple(one["error"] for one in told.problems(0, problems))
        found.append(BatchFacts(*head, told.duplicates, told.conflicts, told.rejected, said))
    return found

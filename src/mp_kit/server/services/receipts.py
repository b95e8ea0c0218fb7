"""Receipts: each stored batch is signed and chained to the deployment's one before it, in the batch's transaction.

1. The chain's lock is the last lock but the batch's own row that a batch takes, and it is held until the commit:
   receipts are numbered in commit order and two batches can't wait for each other.
2. Only what was added has a receipt; a batch of duplicates changes nothing and gets none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mp_kit.contracts.receipts import BatchReceipt, ReceiptBody
from mp_kit.receipts import GENESIS, issue, payload_sha256, rows_sha256
from mp_kit.server.store import receipts as rows
from mp_kit.server.store import rounds
from mp_kit.server.store.engine import Tx
from mp_kit.signing import Signer


@dataclass(frozen=True)
class Stored:
    """What a batch added.

    Args:
        deployment_id: Who sent it.
        vendor_id: Whose deployment that is; None for house signals.
        batch_id: The batch.
        received_at: When it came.
        columns: Its signals, by the names of ``mp_kit.receipts.COLUMNS``.
    """

    deployment_id: str
    vendor_id: str | None
    batch_id: int
    received_at: datetime
    columns: Mapping[str, Sequence[Any]]


def chain(tx: Tx, signer: Signer, stored: Stored) -> BatchReceipt:
    """Signs what a batch added and chains it to what the deployment said before."""
    digest = rows_sha256(stored.columns)  # before the lock: others wait for it
    end = rows.lock_chain(tx, stored.deployment_id, GENESIS)
    body = ReceiptBody(
        deployment_id=stored.deployment_id,
        vendor_id=stored.vendor_id,
        seq=end.seq + 1,
        batch=f"{stored.batch_id:x}",
        rows=len(stored.columns["row_no"]),
        rows_sha256=digest,
        received_at=stored.received_at,
        previous=end.head,
    )
    receipt = issue(signer, body)
    if end.key_id != signer.key_id:
        rounds.keep_key(tx, signer.key_id, signer.public.public_key)
    facts = {"deployment_id": stored.deployment_id, "seq": body.seq, "batch_id": stored.batch_id}
    rows.extend_chain(tx, facts | receipt.model_dump() | {"head": payload_sha256(receipt.payload)})
    return receipt


def list_page(tx: Tx, filters: Mapping[str, Any]) -> list[Any]:
    """A page of receipts, each deployment's from its first one; ``vendor_id`` None means everybody's."""
    return list(rows.list_receipts(tx, filters))


def to_wire(row: Any) -> BatchReceipt:
    """A stored receipt as the wire shows it."""
    return BatchReceipt(payload=row.payload, key_id=row.key_id, signature=row.signature)

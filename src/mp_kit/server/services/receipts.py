"""Receipts: each stored batch is signed and chained to the deployment's one before it, in the batch's transaction.

1. The chain's lock is the last lock but the batch's own row that a batch takes, and it is held until the commit:
   receipts are numbered in commit order and two batches can't wait for each other.
2. Only what was added has a receipt; a batch of duplicates changes nothing and gets none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mp_kit.contracts.receipts import BatchReceipt, ReceiptBody
from mp_kit.receipts import GENESIS, canonical_json, frames_sha256, issue, payload_sha256
from mp_kit.server.store import receipts as rows
from mp_kit.server.store import rounds
from mp_kit.server.store.engine import Tx
from mp_kit.server.store.signal_columns import Columns, Documents
from mp_kit.server.store.signals import Head
from mp_kit.signing import Signer


def chain(tx: Tx, signer: Signer, head: Head, added: Columns) -> BatchReceipt:
    """Signs what a batch added and chains it to what the deployment said before.

    Args:
        tx: The batch's transaction; the chain is locked until it ends.
        signer: Signs.
        head: Where the batch came from and when.
        added: Its new signals, in the order of their numbers; at least one.
    """
    digest = frames_sha256(_frames(added))  # before the lock: others wait for it
    end = rows.lock_chain(tx, head.deployment_id, GENESIS)
    body = ReceiptBody(
        deployment_id=head.deployment_id,
        vendor_id=head.vendor_id,
        seq=end.seq + 1,
        batch=f"{head.batch_id:x}",
        rows=len(added),
        rows_sha256=digest,
        received_at=head.received_at,
        previous=end.head,
    )
    receipt = issue(signer, body)
    if end.key_id != signer.key_id:
        rounds.keep_key(tx, signer.key_id, signer.public.public_key)
    facts = {"deployment_id": head.deployment_id, "seq": body.seq, "batch_id": head.batch_id}
    rows.extend_chain(tx, facts | receipt.model_dump() | {"head": payload_sha256(receipt.payload)})
    return receipt


def _frames(added: Columns) -> dict[str, bytes]:
    numbers = {
        "row_no": added.row_no,
        "event_time": added.event_time,
        "timestamp": added.ts,
        "late": added.late,
    }
    return {
        **{name: values.astype("<i8").tobytes() for name, values in numbers.items()},
        "confidence": added.confidence.astype("<f8").tobytes(),
        **{name: _lines(words.list()) for name, words in added.texts.items()},
        "rationale": _documents(added.rationale, len(added)),
        "metadata": _documents(added.metadata, len(added)),
    }


def _lines(values: Sequence[str | None]) -> bytes:
    return "\n".join([value or "" for value in values]).encode()


def _documents(texts: Documents, count: int) -> bytes:
    if texts is None:
        return b"\n" * (count - 1)
    return _lines([None if text is None else canonical_json(json.loads(text)) for text in texts])


def list_page(tx: Tx, filters: Mapping[str, Any]) -> list[Any]:
    """A page of receipts, each deployment's from its first one; ``vendor_id`` None means everybody's."""
    return list(rows.list_receipts(tx, filters))


def to_wire(row: Any) -> BatchReceipt:
    """A stored receipt as the wire shows it."""
    return BatchReceipt(payload=row.payload, key_id=row.key_id, signature=row.signature)

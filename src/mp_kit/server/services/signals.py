"""Signals, exactly once.

1. A signal's identity is (deployment, symbol, timeframe, event_time, model_version), unique in the database.
2. A batch is one statement, sorted by the key; what was there already is looked up and told apart: ``duplicate``
   (same decision and confidence) or ``conflict`` (another: kept out).
3. The token decides the attribution; a row that claims otherwise fails the whole request.
4. The answer is sent after the commit; sending the batch again is harmless.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from mp_kit.contracts import ReceiptStatus, Signal, SignalWrite, StoreResult, check_idempotency_key
from mp_kit.errors import ForbiddenError, InvalidInputError
from mp_kit.server.services.ids import new_batch_id, signal_id
from mp_kit.server.services.signal_rows import Read, Row, check_claims, read_batch
from mp_kit.server.services.tokens import Principal
from mp_kit.server.store import signals as rows
from mp_kit.server.store.engine import Tx
from mp_kit.server.store.tables import HOUSE

MAX_DETAILS = 100
Receipt: TypeAlias = dict[str, Any]
"""A receipt on its way: thousands become models in one validation, not one by one."""


@dataclass(frozen=True)
class Batch:
    """A batch as it came.

    Args:
        items: Its rows.
        body: The exact bytes, to tell a repeat from another batch under the same key.
        key: The idempotency key, if one was sent.
        atomic: Store all rows or none.
    """

    items: Sequence[Any]
    body: bytes
    key: str | None = None
    atomic: bool = False


def store(tx: Tx, who: Principal, batch: Batch, *, grace: timedelta = timedelta(minutes=5)) -> StoreResult:
    """Stores a batch and says what became of each row.

    Raises:
        ForbiddenError: The bearer may not push signals.
        AttributionError: A row claims another vendor or deployment than the token's.
        InvalidInputError: No batch at all; or ``atomic`` and not every row can be stored.
    """
    deployment_id = _deployment_of(who)
    key = check_idempotency_key(batch.key)
    digest = hashlib.sha256(batch.body).digest()
    before = rows.find_batch(tx, deployment_id, key) if key else None
    if before is not None and bytes(before.body_sha256) == digest:
        return StoreResult.model_validate_json(zlib.decompress(before.answer))
    now = datetime.now(UTC)
    read = read_batch(batch.items, now=now, grace=grace, symbols=who.scope.get("symbols"))
    check_claims(read.good, vendor_id=who.vendor_id, deployment_id=deployment_id)
    batch_id = new_batch_id()
    receipts = _store_rows(tx, who, deployment_id, read, batch_id, now)
    result = _count(receipts, reused=before is not None)
    if batch.atomic:
        _require_all(result)
    return _note(tx, deployment_id, batch_id, read, result, None if before is not None else key, digest, now)


def _deployment_of(who: Principal) -> str:
    if who.kind == "operator":
        return HOUSE
    if who.kind != "deployment" or who.deployment_id is None:
        raise ForbiddenError(
            "Signals are pushed with a deployment's token (sit_…).", hint="Get one: mp link-infra DEPLOYMENT"
        )
    if "signals:store" not in who.scope.get("routes", ()):
        raise ForbiddenError("This token's scope does not cover storing signals.")
    return who.deployment_id


def _store_rows(tx: Tx, who: Principal, deployment_id: str, read: Read, batch_id: int, now: datetime) -> list[Receipt]:
    receipts = {row_no: _rejected(row_no, why) for row_no, why in read.bad.items()}
    if read.good:
        head = {"deployment_id": deployment_id, "vendor_id": who.vendor_id, "batch_id": batch_id, "received_at": now}
        fresh = rows.insert_batch(tx, head | _columns(read.good, who.model_id))
        rest = [row for row in read.good if row.row_no not in fresh]
        receipts |= {row.row_no: _accepted(row, batch_id) for row in read.good if row.row_no in fresh}
        receipts |= _compare(tx, deployment_id, rest)
    return [receipts[row_no] for row_no in sorted(receipts)]


def _columns(good: Sequence[Row], model_id: str | None) -> dict[str, Any]:
    signals = [row.signal for row in good]
    return {
        "event_time": [row.event_time for row in good],
        "ts": [signal.timestamp for signal in signals],
        "confidence": [signal.confidence for signal in signals],
        "row_no": [row.row_no for row in good],
        "late": [row.late for row in good],
        "model_id": [signal.model_id or model_id for signal in signals],
        "symbol": [signal.symbol for signal in signals],
        "timeframe": [signal.timeframe.value for signal in signals],
        "model_version": [signal.model_version for signal in signals],
        "decision": [signal.decision.value for signal in signals],
        "rationale": [row.rationale for row in good],
        "metadata": [row.metadata for row in good],
    }


def _compare(tx: Tx, deployment_id: str, rest: Sequence[Row]) -> dict[int, Receipt]:
    """Tells duplicates from conflicts, among rows whose identity was there before (perhaps in this very batch)."""
    if not rest:
        return {}
    columns = _columns(rest, None)
    wanted = {name: columns[name] for name in ("event_time", "row_no", "symbol", "timeframe", "model_version")}
    sent = {row.row_no: row.signal for row in rest}
    return {
        stored.row_no: _known(stored, sent[stored.row_no])
        for stored in rows.find_stored(tx, wanted | {"deployment_id": deployment_id})
    }


def _known(stored: rows.Stored, signal: SignalWrite) -> Receipt:
    same = (stored.decision, stored.confidence) == (signal.decision.value, signal.confidence)
    return {
        "index": stored.row_no,
        "status": ReceiptStatus.DUPLICATE if same else ReceiptStatus.CONFLICT,
        "signal_id": signal_id(stored.batch_id, stored.stored_row_no),
        "late": stored.late or None,
        "error": None if same else f"{stored.decision} with {stored.confidence} stands: a signal is never rewritten",
    }


def _accepted(row: Row, batch_id: int) -> Receipt:
    return {
        "index": row.row_no,
        "status": ReceiptStatus.ACCEPTED,
        "signal_id": signal_id(batch_id, row.row_no),
        "late": row.late or None,
    }


def _rejected(row_no: int, why: str) -> Receipt:
    return {"index": row_no, "status": ReceiptStatus.REJECTED, "error": why}


def _count(receipts: list[Receipt], *, reused: bool) -> StoreResult:
    counts = Counter(receipt["status"] for receipt in receipts)
    return StoreResult.model_validate(
        {
            "accepted": counts[ReceiptStatus.ACCEPTED],
            "duplicates": counts[ReceiptStatus.DUPLICATE],
            "conflicts": counts[ReceiptStatus.CONFLICT],
            "rejected": counts[ReceiptStatus.REJECTED],
            "receipts": receipts,
            "idempotency_key_reused": True if reused else None,
        }
    )


def _require_all(result: StoreResult) -> None:
    """Raising rolls the whole batch back: duplicates are stored already, so only they may stand beside new rows."""
    failed = [receipt for receipt in result.receipts if receipt.status in {"rejected", "conflict"}]
    if failed:
        details: list[Mapping[str, Any]] = [
            {"loc": [receipt.index], "msg": receipt.error or receipt.status} for receipt in failed[:MAX_DETAILS]
        ]
        raise InvalidInputError(
            f"{len(failed)} of {len(result.receipts)} signals cannot be stored, so none was (atomic=true).",
            details=details,
        )


def _note(
    tx: Tx,
    deployment_id: str,
    batch_id: int,
    read: Read,
    result: StoreResult,
    key: str | None,
    digest: bytes,
    now: datetime,
) -> StoreResult:
    """Notes the batch; returns the answer, which is the first one's where the same batch came twice at once."""
    times = [row.event_time for row in read.good]
    values = {
        "id": batch_id,
        "deployment_id": deployment_id,
        "idempotency_key": key,
        "body_sha256": digest,
        "answer": zlib.compress(result.model_dump_json(exclude_none=True).encode(), 1) if key else None,
        "rows": len(result.receipts),
        "accepted": result.accepted,
        "first_event": min(times, default=None),
        "last_event": max(times, default=None),
        "received_at": now,
    }
    if rows.insert_batch_row(tx, values):
        return result
    # Somebody used the key while we worked: the rows are exactly once by themselves, the key stays theirs.
    first = rows.find_batch(tx, deployment_id, key or "")
    if first is not None and bytes(first.body_sha256) == digest and not result.accepted:
        return StoreResult.model_validate_json(zlib.decompress(first.answer))
    rows.insert_batch_row(tx, values | {"idempotency_key": None, "answer": None})
    return result.model_copy(update={"idempotency_key_reused": True})


def list_page(tx: Tx, filters: Mapping[str, Any]) -> list[Any]:
    """A page of signals as stored, newest bar first; ``vendor_id`` None means everybody's (the operator only)."""
    return list(rows.list_page(tx, filters))


def to_wire(row: Any) -> Signal:
    """A stored signal as the wire shows it."""
    facts = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public way to a row's mapping
    house = row.deployment_id == HOUSE
    return Signal.model_validate(
        facts
        | {
            "signal_id": signal_id(row.batch_id, row.row_no),
            "timestamp": row.ts,
            "deployment_id": None if house else row.deployment_id,
        }
    )

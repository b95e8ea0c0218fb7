"""What vendors' own consensus models say, exactly once: the rules are those of signals.

1. Its identity is (deployment, symbol, timeframe, event_time, model_version), unique in the database; the same again
   is a ``duplicate``, something else under it a ``conflict`` that is kept out.
2. The token decides the attribution, the model too; a row that claims otherwise fails the whole request.
3. The batch's idempotency key is taken before its rows are stored: of two at once one waits and gets the first answer.
4. The answer is sent after the commit. It is shown by the next refresh (:mod:`mp_kit.server.services.consensus`).
"""

from __future__ import annotations

import hashlib
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from mp_kit.contracts import ReceiptStatus, SignalReceipt, StoreResult, check_idempotency_key
from mp_kit.errors import ForbiddenError, InvalidInputError
from mp_kit.server import clock
from mp_kit.server.services.consensus_rows import Row, check_claims, read_rows
from mp_kit.server.services.ids import new_batch_id
from mp_kit.server.services.tokens import Principal
from mp_kit.server.store import consensus as rows
from mp_kit.server.store.engine import Tx
from mp_kit.server.store.tables import HOUSE

MAX_DETAILS = 100


@dataclass(frozen=True)
class Submission:
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


@dataclass(frozen=True)
class _Head:
    batch_id: int
    deployment_id: str
    reused: bool


def store(tx: Tx, who: Principal, sent: Submission, *, grace: timedelta = timedelta(minutes=5)) -> StoreResult:
    """Stores a batch and says what became of each row.

    Raises:
        ForbiddenError: The bearer may not push a consensus.
        AttributionError: A row claims another vendor, deployment or model than the token's.
        InvalidInputError: No batch at all; or ``atomic`` and not every row can be stored.
    """
    deployment_id = _deployment_of(who)
    now = clock.now()
    begun = _begin(tx, deployment_id, sent, now)
    if isinstance(begun, StoreResult):
        return begun
    good, bad = read_rows(sent.items, now=now, grace=grace, symbols=who.scope.get("symbols"))
    check_claims(good, vendor_id=who.vendor_id, deployment_id=deployment_id, model_id=who.model_id)
    receipts = {at: SignalReceipt(index=at, status=ReceiptStatus.REJECTED, error=why) for at, why in bad.items()}
    receipts |= _store_rows(tx, who, begun, good, now)
    result = _count([receipts[at] for at in sorted(receipts)], reused=begun.reused)
    if sent.atomic:
        _require_all(result)
    answer = zlib.compress(result.model_dump_json(exclude_none=True).encode(), 1) if sent.key else None
    rows.finish_batch(tx, begun.batch_id, result.accepted, answer)
    return result


def _deployment_of(who: Principal) -> str:
    if who.kind == "operator":
        return HOUSE
    if who.kind != "deployment" or who.deployment_id is None:
        raise ForbiddenError(
            "A consensus is pushed with a deployment's token (sit_…).", hint="Get one: mp link-infra DEPLOYMENT"
        )
    if "consensus:store" not in who.scope.get("routes", ()):
        raise ForbiddenError("This token's scope does not cover storing a consensus.")
    return who.deployment_id


def _begin(tx: Tx, deployment_id: str, sent: Submission, now: datetime) -> _Head | StoreResult:
    """Takes the idempotency key, or finds the first answer under it."""
    key = check_idempotency_key(sent.key)
    digest = hashlib.sha256(sent.body).digest()
    head = {"deployment_id": deployment_id, "body_sha256": digest, "accepted": 0, "received_at": now}
    batch_id = new_batch_id()
    if rows.insert_batch(tx, head | {"id": batch_id, "idempotency_key": key}):
        return _Head(batch_id, deployment_id, reused=False)
    first = rows.find_batch(tx, deployment_id, key or "")
    if first is not None and bytes(first.body_sha256) == digest:
        return StoreResult.model_validate_json(zlib.decompress(first.answer))
    rows.insert_batch(tx, head | {"id": batch_id, "idempotency_key": None})
    return _Head(batch_id, deployment_id, reused=True)


def _store_rows(tx: Tx, who: Principal, head: _Head, good: Sequence[Row], now: datetime) -> Mapping[int, SignalReceipt]:
    if not good:
        return {}
    facts = {"deployment_id": head.deployment_id, "vendor_id": who.vendor_id, "model_id": who.model_id}
    fresh = rows.insert_rows(tx, facts | {"batch_id": head.batch_id, "received_at": now} | _columns(good))
    rest = [row for row in good if row.row_no not in fresh]
    known = rows.find_stored(tx, {"deployment_id": head.deployment_id} | _columns(rest)) if rest else []
    new = {row.row_no: _accepted(row, head.batch_id) for row in good if row.row_no in fresh}
    return new | {stored.row_no: _known(stored) for stored in known}


def _columns(good: Sequence[Row]) -> dict[str, Any]:
    said = [row.said for row in good]
    return {
        "event_time": [one.bar_time for one in said],
        "ts": [one.timestamp for one in said],
        "confidence": [one.confidence for one in said],
        "row_no": [row.row_no for row in good],
        "late": [row.late for row in good],
        "symbol": [one.symbol for one in said],
        "timeframe": [one.timeframe.value for one in said],
        "model_version": [one.model_version for one in said],
        "decision": [one.decision.value for one in said],
        "contributions": [row.contributions for row in good],
        "rationale": [row.rationale for row in good],
        "metadata": [row.metadata for row in good],
    }


def _accepted(row: Row, batch_id: int) -> SignalReceipt:
    return SignalReceipt(
        index=row.row_no,
        status=ReceiptStatus.ACCEPTED,
        signal_id=_id(batch_id, row.row_no),
        late=row.late or None,
    )


def _known(stored: rows.Stored) -> SignalReceipt:
    said = f"{stored.decision} with {stored.confidence} and its contributions stand"
    return SignalReceipt(
        index=stored.row_no,
        status=ReceiptStatus.DUPLICATE if stored.same else ReceiptStatus.CONFLICT,
        signal_id=_id(stored.batch_id, stored.stored_row_no),
        late=stored.late or None,
        error=None if stored.same else f"{said}: a consensus, once given, is never rewritten",
    )


def _id(batch_id: int, row_no: int) -> str:
    return f"con_{batch_id:x}_{row_no}"


def _count(receipts: list[SignalReceipt], *, reused: bool) -> StoreResult:
    counts = Counter(receipt.status for receipt in receipts)
    return StoreResult(
        accepted=counts[ReceiptStatus.ACCEPTED],
        duplicates=counts[ReceiptStatus.DUPLICATE],
        conflicts=counts[ReceiptStatus.CONFLICT],
        rejected=counts[ReceiptStatus.REJECTED],
        receipts=receipts,
        idempotency_key_reused=True if reused else None,
    )


def _require_all(result: StoreResult) -> None:
    """Raising rolls the whole batch back: duplicates are stored already, so only they may stand beside new rows."""
    failed = [one for one in result.receipts if one.status in {ReceiptStatus.REJECTED, ReceiptStatus.CONFLICT}]
    if failed:
        raise InvalidInputError(
            f"{len(failed)} of {len(result.receipts)} rows cannot be stored, so none was (atomic=true).",
            details=[{"loc": [one.index], "msg": one.error or one.status} for one in failed[:MAX_DETAILS]],
        )

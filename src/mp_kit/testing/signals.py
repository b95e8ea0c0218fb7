"""The fake's signals: stored exactly once by their identity, and proved by a chain of receipts as the real ones."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from mp_kit import errors
from mp_kit.chains import columns_of
from mp_kit.contracts import Decision, ReceiptStatus, Signal, SignalReceipt, SignalWrite, StoreResult, translate
from mp_kit.contracts.receipts import BatchReceipt, ReceiptBody
from mp_kit.contracts.signal_rules import MAX_ROWS, check_future, extra_json
from mp_kit.receipts import GENESIS, issue, payload_sha256, rows_sha256
from mp_kit.signing import Signer

GRACE = timedelta(minutes=5)


class SignalBook:
    """All stored signals by identity.

    Args:
        vendor_id: Whose they are.
        now: The clock.
        signer: Signs the receipts.

    Attributes:
        signals: The stored signals by identity.
        receipts: The chain of each deployment.
    """

    def __init__(self, vendor_id: str, now: Callable[[], datetime], signer: Signer) -> None:
        self._vendor_id = vendor_id
        self._now = now
        self._signer = signer
        self._batches = 0
        self.signals: dict[tuple[Any, ...], Signal] = {}
        self.receipts: dict[str, list[BatchReceipt]] = {}

    def store(self, body: Any, deployment_id: str, *, atomic: bool) -> StoreResult:
        """Stores a batch; atomic: all rows or none."""
        rows = body if isinstance(body, list) else [body]
        if not 1 <= len(rows) <= MAX_ROWS:
            raise errors.InvalidInputError(f"A batch has 1 to {MAX_ROWS} signals; this one has {len(rows)}.")
        self._batches += 1
        before, now = dict(self.signals), self._now()
        try:
            receipts = [self._store_one(index, row, deployment_id, now) for index, row in enumerate(rows)]
            if atomic and any(r.status in {ReceiptStatus.CONFLICT, ReceiptStatus.REJECTED} for r in receipts):
                raise errors.InvalidInputError("Not all rows can be stored, so none was.")
        except errors.MarketplaceError:
            self.signals = before
            raise
        counts = [sum(receipt.status is status for receipt in receipts) for status in ReceiptStatus]
        accepted, duplicates, conflicts, rejected = counts
        return StoreResult(
            accepted=accepted,
            duplicates=duplicates,
            conflicts=conflicts,
            rejected=rejected,
            receipts=receipts,
            batch_receipt=self._sign(deployment_id, now) if accepted else None,
        )

    def _store_one(self, index: int, row: Any, deployment_id: str, now: datetime) -> SignalReceipt:
        try:
            sent = SignalWrite.model_validate(dict(translate(row)))
            check_future(sent.bar_time, now)
            extra_json("rationale", sent.rationale)
            extra_json("metadata", sent.metadata)
        except ValidationError as error:
            return SignalReceipt(index=index, status=ReceiptStatus.REJECTED, error=error.errors()[0]["msg"])
        except (ValueError, TypeError) as error:
            return SignalReceipt(index=index, status=ReceiptStatus.REJECTED, error=str(error))
        claims = {(sent.vendor_id, self._vendor_id), (sent.deployment_id, deployment_id)}
        if any(claim not in {None, truth} for claim, truth in claims):
            raise errors.AttributionError(f"Row {index} claims another vendor or deployment than the token's.")
        key = (deployment_id, sent.symbol, sent.timeframe, sent.bar_time, sent.model_version)
        known = self.signals.get(key)
        if known is not None:
            same = (known.decision, known.confidence) == (Decision(sent.decision), sent.confidence)
            status = ReceiptStatus.DUPLICATE if same else ReceiptStatus.CONFLICT
            return SignalReceipt(index=index, status=status, signal_id=known.signal_id)
        late = now > sent.bar_time + timedelta(seconds=sent.timeframe.seconds) + GRACE
        facts = {"signal_id": f"sig_{self._batches:x}_{index}", "received_at": now, "late": late}
        owner = {"vendor_id": self._vendor_id, "deployment_id": deployment_id, "event_time": sent.bar_time}
        self.signals[key] = Signal.model_validate(sent.model_dump() | facts | owner)
        return SignalReceipt(
            index=index, status=ReceiptStatus.ACCEPTED, signal_id=facts["signal_id"], late=late or None
        )

    def _sign(self, deployment_id: str, now: datetime) -> BatchReceipt:
        batch = f"{self._batches:x}"
        mark = f"sig_{batch}_"
        added = [signal for signal in self.signals.values() if signal.signal_id.startswith(mark)]
        rows = {int(signal.signal_id.removeprefix(mark)): signal for signal in added}
        chain = self.receipts.setdefault(deployment_id, [])
        body = ReceiptBody(
            deployment_id=deployment_id,
            vendor_id=self._vendor_id,
            seq=len(chain) + 1,
            batch=batch,
            rows=len(rows),
            rows_sha256=rows_sha256(columns_of(rows)),
            received_at=now,
            previous=payload_sha256(chain[-1].payload) if chain else GENESIS,
        )
        chain.append(issue(self._signer, body))
        return chain[-1]

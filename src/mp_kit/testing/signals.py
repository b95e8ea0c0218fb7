"""The fake's signals: stored exactly once by their identity."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from mp_kit import errors
from mp_kit.contracts import Decision, ReceiptStatus, Signal, SignalReceipt, SignalWrite, StoreResult, translate


class SignalBook:
    """All stored signals by identity.

    Args:
        vendor_id: Whose they are.
        now: The clock.
    """

    def __init__(self, vendor_id: str, now: Callable[[], datetime]) -> None:
        self._vendor_id = vendor_id
        self._now = now
        self.signals: dict[tuple[Any, ...], Signal] = {}

    def store(self, body: Any, deployment_id: str, *, atomic: bool) -> StoreResult:
        """Stores a batch; atomic: all rows or none."""
        rows = body if isinstance(body, list) else [body]
        before = dict(self.signals)
        receipts = [self._store_one(index, row, deployment_id) for index, row in enumerate(rows)]
        if atomic and any(r.status in {ReceiptStatus.CONFLICT, ReceiptStatus.REJECTED} for r in receipts):
            self.signals = before
            raise errors.InvalidInputError("Not all rows can be stored, so none was.")
        counts = [sum(receipt.status is status for receipt in receipts) for status in ReceiptStatus]
        accepted, duplicates, conflicts, rejected = counts
        return StoreResult(
            accepted=accepted, duplicates=duplicates, conflicts=conflicts, rejected=rejected, receipts=receipts
        )

    def _store_one(self, index: int, row: Any, deployment_id: str) -> SignalReceipt:
        try:
            sent = SignalWrite.model_validate(dict(translate(row)))
        except ValidationError as error:
            return SignalReceipt(index=index, status=ReceiptStatus.REJECTED, error=error.errors()[0]["msg"])
        claims = {(sent.vendor_id, self._vendor_id), (sent.deployment_id, deployment_id)}
        if any(claim not in {None, truth} for claim, truth in claims):
            raise errors.AttributionError(f"Row {index} claims another vendor or deployment than the token's.")
        key = (deployment_id, sent.symbol, sent.timeframe, sent.bar_time, sent.model_version)
        known = self.signals.get(key)
        if known is not None:
            same = (known.decision, known.confidence) == (Decision(sent.decision), sent.confidence)
            status = ReceiptStatus.DUPLICATE if same else ReceiptStatus.CONFLICT
            return SignalReceipt(index=index, status=status, signal_id=known.signal_id)
        facts = {"signal_id": f"sig_{len(self.signals) + 1}", "received_at": self._now(), "late": False}
        owner = {"vendor_id": self._vendor_id, "deployment_id": deployment_id, "event_time": sent.bar_time}
        self.signals[key] = Signal.model_validate(sent.model_dump() | facts | owner)
        return SignalReceipt(index=index, status=ReceiptStatus.ACCEPTED, signal_id=facts["signal_id"])

"""What became of a push or a flush, as a table: what was refused first, with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mp_kit.client import html
from mp_kit.client.results import Shown, counted, plain_table
from mp_kit.contracts.receipts import BatchReceipt
from mp_kit.contracts.signals import ReceiptStatus, SignalReceipt, SignalWrite

COLUMNS = ("row", "status", "symbol", "timeframe", "time", "decision", "confidence", "error")
MOST_SHOWN = 20
_KEPT = {ReceiptStatus.ACCEPTED, ReceiptStatus.DUPLICATE}
_FIRST = {ReceiptStatus.REJECTED: 0, ReceiptStatus.CONFLICT: 1, ReceiptStatus.DUPLICATE: 2, ReceiptStatus.ACCEPTED: 3}


@dataclass(frozen=True, repr=False)
class PushResult(Shown):
    """What became of a push.

    Args:
        accepted: Stored now.
        duplicates: Stored before; harmless.
        conflicts: Another decision or confidence was stored before; kept out.
        rejected: Against the contract; the receipts say how.
        receipts: One per signal that was answered, in order.
        pending: Signals that wait in the outbox, for ``flush`` or the next push.
        reason: Why they wait.
        batch_receipts: The marketplace's signed receipts of what it stored, for ``mp signals verify``.
    """

    accepted: int
    duplicates: int
    conflicts: int
    rejected: int
    receipts: list[SignalReceipt] = field(repr=False)
    pending: int = 0
    reason: str | None = None
    batch_receipts: Sequence[BatchReceipt] = field(default=(), repr=False)
    _writes: Sequence[SignalWrite] = field(default=(), repr=False)

    @property
    def problems(self) -> list[SignalReceipt]:
        """The receipts of what was not stored."""
        return [receipt for receipt in self.receipts if receipt.status not in _KEPT]

    def rows(self) -> list[dict[str, Any]]:
        """One row per answered signal: what was refused first, with its reason."""
        ordered = sorted(self.receipts, key=lambda receipt: (_FIRST[receipt.status], receipt.index))
        return [self._row(receipt) for receipt in ordered]

    def to_pandas(self) -> Any:
        """The same as a pandas frame."""
        import pandas as pd

        return pd.DataFrame(self.rows(), columns=COLUMNS)

    def _row(self, receipt: SignalReceipt) -> dict[str, Any]:
        facts: dict[str, Any] = {"row": receipt.index, "status": receipt.status.value, "error": receipt.error}
        if receipt.index < len(self._writes):
            sent = self._writes[receipt.index]
            facts |= {"symbol": sent.symbol, "timeframe": sent.timeframe.value, "time": sent.bar_time}
            facts |= {"decision": sent.decision.value, "confidence": sent.confidence}
        return facts

    def _shown(self) -> list[dict[str, Any]]:
        return self.rows()[:MOST_SHOWN]

    def _title(self) -> str:
        return f"Pushed {counted(len(self.receipts) + self.pending, 'signal')}"

    def _facts(self) -> Mapping[str, Any]:
        hidden = len(self.receipts) - MOST_SHOWN
        return {
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "conflicts": self.conflicts,
            "rejected": self.rejected,
            "pending": self.pending or None,
            "why pending": self.reason,
            "shown": f"{MOST_SHOWN} rows, refused ones first; {hidden:,} more in .rows()" if hidden > 0 else None,
        }

    def __repr__(self) -> str:
        said = super().__repr__()
        return f"{said}\n{plain_table(self._shown(), COLUMNS)}" if self.receipts else said

    def _repr_html_(self) -> str:
        return html.card(self._title(), self._facts(), html.table(self._shown(), COLUMNS) if self.receipts else "")


@dataclass(frozen=True, repr=False)
class FlushResult(Shown):
    """What became of what waited.

    Args:
        accepted: Stored now.
        duplicates: Stored before; harmless.
        refused: Kept apart with their reasons: ``m.signals.rejected()``.
        pending: Signals that still wait.
        reason: Why.
    """

    accepted: int = 0
    duplicates: int = 0
    refused: int = 0
    pending: int = 0
    reason: str | None = None

    def _title(self) -> str:
        if not self.pending:
            return "The outbox is empty"
        return f"{counted(self.pending, 'signal')} still {'waits' if self.pending == 1 else 'wait'} in the outbox"

    def _facts(self) -> Mapping[str, Any]:
        names = ("accepted", "duplicates", "refused", "pending", "reason")
        return {name: getattr(self, name) for name in names}

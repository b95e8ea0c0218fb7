"""What is stored exactly once, by the house's rules: signals, and what vendors' consensus models say.

1. A statement's identity is (deployment, symbol, timeframe, bar, model version): the same again is a ``duplicate``,
   something else under it a ``conflict`` that is kept out.
2. A bad row is told by its index and takes no good one with it, unless ``atomic`` wants all or none.
3. The token decides the attribution: a row that claims otherwise fails the whole request.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import ValidationError

from mp_kit import errors
from mp_kit.contracts import ReceiptStatus, SignalReceipt, SignalWrite, StoreResult
from mp_kit.contracts.signal_rules import MAX_ROWS, check_future, extra_json
from mp_kit.testing.routing import Bearer

W = TypeVar("W", bound=SignalWrite)
S = TypeVar("S")
GRACE = timedelta(minutes=5)
_KEPT_OUT = frozenset({ReceiptStatus.CONFLICT, ReceiptStatus.REJECTED})


@dataclass(frozen=True)
class Place:
    """Where a row came in.

    Args:
        id: Of what is stored.
        who: Who said it.
        received_at: When.
        late: Too long after its bar.
    """

    id: str
    who: Bearer
    received_at: datetime
    late: bool


class Ledger(ABC, Generic[W, S]):
    """Rows by their identity; subclasses say how a row is read, kept and compared.

    Args:
        now: The clock.

    Attributes:
        stored: What is stored, by identity.
    """

    mark: ClassVar[str]
    claims: ClassVar[tuple[str, ...]] = ("vendor_id", "deployment_id")

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._batches = 0
        self.stored: dict[tuple[Any, ...], S] = {}

    @abstractmethod
    def read(self, row: Any) -> W:
        """A row as its contract has it."""

    @abstractmethod
    def keep(self, said: W, place: Place) -> S:
        """What is stored of it."""

    @abstractmethod
    def known(self, stored: S, said: W) -> tuple[str, bool]:
        """The id of what is stored, and whether it says the same."""

    def store(self, rows: Sequence[Any], who: Bearer, *, atomic: bool = False) -> StoreResult:
        """Stores a batch; atomic: all rows or none."""
        if not 1 <= len(rows) <= MAX_ROWS:
            raise errors.InvalidInputError(f"A batch has 1 to {MAX_ROWS} rows; this one has {len(rows)}.")
        self._batches += 1
        before, now = dict(self.stored), self._now()
        try:
            receipts = [self._store_one(index, row, who, now) for index, row in enumerate(rows)]
            if atomic and any(receipt.status in _KEPT_OUT for receipt in receipts):
                raise errors.InvalidInputError("Not all rows can be stored, so none was.")
        except errors.MarketplaceError:
            self.stored = before
            raise
        counts = Counter(receipt.status for receipt in receipts)
        return StoreResult(
            accepted=counts[ReceiptStatus.ACCEPTED],
            duplicates=counts[ReceiptStatus.DUPLICATE],
            conflicts=counts[ReceiptStatus.CONFLICT],
            rejected=counts[ReceiptStatus.REJECTED],
            receipts=receipts,
        )

    def _store_one(self, index: int, row: Any, who: Bearer, now: datetime) -> SignalReceipt:
        try:
            said = self.read(row)
            _check(said, who, now)
        except ValidationError as error:
            return SignalReceipt(index=index, status=ReceiptStatus.REJECTED, error=error.errors()[0]["msg"])
        except (ValueError, TypeError) as error:
            return SignalReceipt(index=index, status=ReceiptStatus.REJECTED, error=str(error))
        for name in self.claims:
            if getattr(said, name) not in {None, getattr(who, name)}:
                raise errors.AttributionError(
                    f"Row {index} claims another {name.removesuffix('_id')} than the token's."
                )
        key = (who.deployment_id, said.symbol, said.timeframe, said.bar_time, said.model_version)
        if key in self.stored:
            stored_id, same = self.known(self.stored[key], said)
            status = ReceiptStatus.DUPLICATE if same else ReceiptStatus.CONFLICT
            return SignalReceipt(index=index, status=status, signal_id=stored_id)
        late = now > said.bar_time + timedelta(seconds=said.timeframe.seconds) + GRACE
        place = Place(f"{self.mark}_{self._batches:x}_{index}", who, now, late)
        self.stored[key] = self.keep(said, place)
        return SignalReceipt(index=index, status=ReceiptStatus.ACCEPTED, signal_id=place.id, late=late or None)


def _check(said: SignalWrite, who: Bearer, now: datetime) -> None:
    """What else a row must keep to; ValueError says why it does not."""
    check_future(said.bar_time, now)
    extra_json("rationale", said.rationale)
    extra_json("metadata", said.metadata)
    if who.symbols is not None and said.symbol not in who.symbols:
        msg = f"symbol: the token does not cover {said.symbol}"
        raise ValueError(msg)

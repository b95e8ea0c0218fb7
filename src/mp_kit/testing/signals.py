"""The fake's signals: stored exactly once by their identity, and proved by a chain of receipts as the real ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from mp_kit.chains import columns_of
from mp_kit.contracts import Signal, SignalWrite, StoreResult, translate
from mp_kit.contracts.receipts import BatchReceipt, ReceiptBody
from mp_kit.receipts import GENESIS, issue, payload_sha256, rows_sha256
from mp_kit.signing import Signer
from mp_kit.testing.ledger import Ledger, Place
from mp_kit.testing.routing import Bearer


class SignalBook(Ledger[SignalWrite, Signal]):
    """All stored signals by identity.

    Args:
        now: The clock.
        signer: Signs the receipts.

    Attributes:
        receipts: The chain of each deployment.
    """

    mark = "sig"

    def __init__(self, now: Callable[[], datetime], signer: Signer) -> None:
        super().__init__(now)
        self._signer = signer
        self.receipts: dict[str, list[BatchReceipt]] = {}

    @property
    def signals(self) -> dict[tuple[Any, ...], Signal]:
        """The stored signals by identity."""
        return self.stored

    def read(self, row: Any) -> SignalWrite:
        """Any of the three dialects."""
        return SignalWrite.model_validate(dict(translate(row)))

    def keep(self, said: SignalWrite, place: Place) -> Signal:
        """With whose it is; the token's model stands in for one that was not named."""
        facts = {"signal_id": place.id, "received_at": place.received_at, "late": place.late}
        owner = {"vendor_id": place.who.vendor_id, "deployment_id": place.who.deployment_id}
        owner |= {"model_id": said.model_id or place.who.model_id}
        return Signal.model_validate(said.model_dump() | facts | owner | {"event_time": said.bar_time})

    def known(self, stored: Signal, said: SignalWrite) -> tuple[str, bool]:
        """Decision and confidence are what must agree."""
        return stored.signal_id, (stored.decision, stored.confidence) == (said.decision, said.confidence)

    def push(self, rows: Sequence[Any], who: Bearer, *, atomic: bool = False, dry: bool = False) -> StoreResult:
        """Stores a batch and signs what it added; dry: all of it, and takes it back."""
        before = dict(self.stored), {name: list(chain) for name, chain in self.receipts.items()}
        done = self.store(rows, who, atomic=atomic)
        if done.accepted:
            done = done.model_copy(update={"batch_receipt": self._sign(who)})
        if dry:
            self.stored, self.receipts = before
        return done

    def said(self, fits: Callable[[Signal], bool]) -> list[Signal]:
        """Stored signals, the newest bar first."""
        return sorted(filter(fits, self.stored.values()), key=lambda signal: signal.event_time, reverse=True)

    def chains(self, deployment_id: str | None) -> list[BatchReceipt]:
        """Receipts of a deployment, or of all, each from its first one."""
        chains = [chain for name, chain in sorted(self.receipts.items()) if deployment_id in {None, name}]
        return [receipt for chain in chains for receipt in chain]

    def _sign(self, who: Bearer) -> BatchReceipt:
        batch, deployment_id = f"{self._batches:x}", who.deployment_id or ""
        mark = f"sig_{batch}_"
        added = [signal for signal in self.stored.values() if signal.signal_id.startswith(mark)]
        rows = {int(signal.signal_id.removeprefix(mark)): signal for signal in added}
        chain = self.receipts.setdefault(deployment_id, [])
        body = ReceiptBody(
            deployment_id=deployment_id,
            vendor_id=who.vendor_id,
            seq=len(chain) + 1,
            batch=batch,
            rows=len(rows),
            rows_sha256=rows_sha256(columns_of(rows)),
            received_at=added[0].received_at,
            previous=payload_sha256(chain[-1].payload) if chain else GENESIS,
        )
        chain.append(issue(self._signer, body))
        return chain[-1]

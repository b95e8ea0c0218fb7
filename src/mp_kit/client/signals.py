"""Signals: pushed exactly once, and read back with their attribution."""

from __future__ import annotations

import builtins
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from mp_kit.client import html
from mp_kit.client.deployments import Credential, credential
from mp_kit.client.http import Api, Call, read
from mp_kit.client.instants import When, instant
from mp_kit.client.results import Rows, Shown
from mp_kit.client.rows import Signals as Given
from mp_kit.client.rows import signal_writes
from mp_kit.contracts.signals import ReceiptStatus, Signal, SignalReceipt, SignalWrite, StoreResult
from mp_kit.errors import InvalidInputError

STORE = "/api/signals/store"
CHUNK = 2000


@dataclass(frozen=True, repr=False)
class PushResult(Shown):
    """What became of a push.

    Args:
        accepted: Stored now.
        duplicates: Stored before; harmless.
        conflicts: Another decision or confidence was stored before; kept out.
        rejected: Against the contract; the receipts say how.
        receipts: One per signal, in order.
    """

    accepted: int
    duplicates: int
    conflicts: int
    rejected: int
    receipts: list[SignalReceipt] = field(repr=False)

    @property
    def problems(self) -> list[SignalReceipt]:
        """The receipts of what was not stored."""
        kept = {ReceiptStatus.ACCEPTED, ReceiptStatus.DUPLICATE}
        return [receipt for receipt in self.receipts if receipt.status not in kept]

    def _title(self) -> str:
        return f"Pushed {len(self.receipts)} signals"

    def _facts(self) -> Mapping[str, Any]:
        first = self.problems[:1]
        return {
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "conflicts": self.conflicts,
            "rejected": self.rejected,
            "first problem": f"row {first[0].index}: {first[0].error or first[0].status.value}" if first else None,
        }

    def _repr_html_(self) -> str:
        shown = [receipt.model_dump(exclude={"late", "signal_id"}) for receipt in self.problems[:10]]
        return html.card(self._title(), self._facts(), html.table(shown) if shown else "")


class SignalBox:
    """The vendor's signals.

    Example:
        >>> m.signals.push(frame, token=deployment)
        >>> m.signals.list(symbol="EURUSD")
    """

    def __init__(self, api: Api) -> None:
        self._api = api

    def __repr__(self) -> str:
        return f"Signals at {self._api.base_url}: push(frame, token=deployment), list(symbol, timeframe)"

    def push(
        self,
        signals: Given,
        token: Credential | None = None,
        *,
        idempotency_key: str | None = None,
        atomic: bool = False,
        chunk: int = CHUNK,
    ) -> PushResult:
        """Sends signals; sending them again is harmless.

        Args:
            signals: A pandas or polars frame, an Arrow table, or an iterable of SignalWrite or dictionaries.
            token: The deployment's token, or the object that holds it; by default the connection's own.
            idempotency_key: Names this push; a fresh one by default. Chunks after the first get a number added.
            atomic: All or none; then everything goes in one request.
            chunk: Signals per request.

        Raises:
            InvalidInputError: Rows break the contract; nothing was sent, and ``details`` names them all.
            AttributionError: A vendor or deployment named in a row is not the token's.
        """
        if chunk < 1:
            raise InvalidInputError(f"chunk is {chunk}; it must be at least 1.")
        writes, who = signal_writes(signals), credential(token)
        length = max(1, len(writes)) if atomic else chunk
        key = idempotency_key or uuid.uuid4().hex
        results = []
        for start in range(0, len(writes), length):
            named = key if start == 0 else f"{key}:{start // length}"
            results.append((start, self._store(writes[start : start + length], who, named, atomic=atomic)))
        return _sum(results)

    def list(
        self,
        symbol: str | None = None,
        timeframe: str | None = None,
        *,
        deployment_id: str | None = None,
        start: When | None = None,
        end: When | None = None,
        limit: int = 100,
    ) -> Rows[Signal]:
        """The vendor's own stored signals.

        Args:
            symbol: Only this one.
            timeframe: Only this one.
            deployment_id: Only this one.
            start: First instant.
            end: Last instant.
            limit: At most so many.
        """
        span = {"from": start and _text(start), "to": end and _text(end)}
        found = self._api.pages(
            Signal,
            "/api/signals",
            limit,
            symbol=symbol,
            timeframe=timeframe,
            deployment_id=deployment_id,
            **span,
        )
        columns = ("event_time", "symbol", "timeframe", "decision", "confidence", "model_version", "late", "signal_id")
        return Rows(found, "Signals", columns)

    def _store(self, writes: Sequence[SignalWrite], token: SecretStr | None, key: str, *, atomic: bool) -> StoreResult:
        call = Call(
            "POST",
            STORE,
            params={"atomic": "true"} if atomic else None,
            json=[write.model_dump(mode="json", exclude_none=True) for write in writes],
            idempotency_key=key,
            token=token,
        )
        return read(StoreResult, self._api.send(call), STORE)


def _sum(results: Sequence[tuple[int, StoreResult]]) -> PushResult:
    receipts: builtins.list[SignalReceipt] = []
    for start, result in results:
        receipts += [receipt.model_copy(update={"index": receipt.index + start}) for receipt in result.receipts]
    return PushResult(
        accepted=sum(result.accepted for _, result in results),
        duplicates=sum(result.duplicates for _, result in results),
        conflicts=sum(result.conflicts for _, result in results),
        rejected=sum(result.rejected for _, result in results),
        receipts=receipts,
    )


def _text(value: When) -> str:
    return instant(value).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

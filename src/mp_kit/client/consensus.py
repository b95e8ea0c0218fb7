"""The blended view of bars, with who contributed what."""

from __future__ import annotations

import builtins
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from mp_kit.client import html
from mp_kit.client.deployments import Credential, credential
from mp_kit.client.desk import Desk
from mp_kit.client.http import Api, Call, read
from mp_kit.client.instants import When, instant
from mp_kit.client.invalid import findings, one_of
from mp_kit.client.pushes import PushResult
from mp_kit.client.results import Rows, Shown
from mp_kit.contracts.common import Timeframe
from mp_kit.contracts.consensus import Consensus, ConsensusWrite, Contribution
from mp_kit.contracts.signals import StoreResult
from mp_kit.errors import InvalidInputError

STORE = "/api/consensus/store"


class ConsensusView(Shown, Consensus):
    """A consensus, as it shows itself."""

    __repr__ = Shown.__repr__
    __str__ = Shown.__str__

    def _title(self) -> str:
        return f"Consensus {self.symbol} {self.timeframe.value}: {self.decision.value}"

    def _facts(self) -> Mapping[str, Any]:
        return {
            "bar": self.event_time,
            "late": self.late or None,
            "confidence": self.confidence,
            "score": self.score,
            "signals": self.signals,
            "method": self.method,
            "vendor": self.vendor,
            "from": [_voice(name, part) for name, part in self.contributions.items()],
        }

    def _repr_html_(self) -> str:
        parts = [{"model": name, **part.model_dump()} for name, part in self.contributions.items()]
        below = html.table(
            parts, ("model", "vendor", "decision", "weight", "confidence", "value", "without"), "Contributions"
        )
        facts = {name: value for name, value in self._facts().items() if name != "from"}
        return html.card(self._title(), facts, below)


def _voice(name: str, part: Contribution) -> str:
    whose = f"{part.vendor} ({name})" if part.vendor else name
    return f"{whose} {part.weight:.0%} {part.decision.value}"


class ConsensusBox(Desk):
    """The consensus of the marketplace; public. A vendor's own consensus model pushes beside it.

    Example:
        >>> m.consensus.latest("EURUSD", "1h")
        >>> m.consensus.list("EURUSD", "1h", method="confidence", start="2026-01-01")
        >>> m.consensus.push(rows, token=deployment)
    """

    def __init__(self, api: Api) -> None:
        self._api = api

    def __repr__(self) -> str:
        return (
            f"Consensus at {self._api.base_url}: latest(symbol, timeframe), list(symbol, timeframe), "
            "push(rows, token=deployment)"
        )

    def latest(self, symbol: str, timeframe: str | None = None, method: str | None = None) -> ConsensusView:
        """The newest consensus of a symbol.

        Args:
            symbol: Such as EURUSD.
            timeframe: Such as 1h; the newest of any by default.
            method: equal, confidence, confidence_skill, or ``vendor:`` and a model's id; the operator's choice by
                default.

        Raises:
            NotFoundError: There is none yet.
            InvalidInputError: There is no such method.

        Example:
            >>> m.consensus.latest("EURUSD", "1h")
        """
        frame = one_of("timeframe", timeframe, Timeframe)
        return self._api.get(ConsensusView, "/api/consensus/latest", symbol=symbol, timeframe=frame, method=method)

    def list(
        self,
        symbol: str | None = None,
        timeframe: str | None = None,
        limit: int = 100,
        *,
        method: str | None = None,
        start: When | None = None,
        end: When | None = None,
    ) -> Rows[ConsensusView]:
        """Past consensus, newest first.

        Args:
            symbol: Only this one.
            timeframe: Only this one.
            limit: At most so many, 1,000 at the most.
            method: As for :meth:`latest`.
            start: First instant.
            end: The instant before which it ends.

        Example:
            >>> m.consensus.list("EURUSD", "1h", start="2026-01-01")
        """
        frame = one_of("timeframe", timeframe, Timeframe)
        wanted = {"symbol": symbol, "timeframe": frame, "method": method, "limit": min(limit, 1_000)}
        span = {"from": start and _text(start), "to": end and _text(end)}
        reply = self._api.send(Call("GET", "/api/consensus", params={**wanted, **span}))
        columns = ("event_time", "symbol", "timeframe", "decision", "confidence", "score", "signals", "method")
        return Rows(read(builtins.list[ConsensusView], reply, "/api/consensus"), "Consensus", columns)

    def push(
        self,
        rows: Iterable[ConsensusWrite | Mapping[str, Any]],
        token: Credential | None = None,
        *,
        idempotency_key: str | None = None,
        atomic: bool = False,
    ) -> PushResult:
        """Sends what the vendor's own consensus model says, in one request; sending it again is harmless.

        Args:
            rows: ConsensusWrite, or dictionaries with the fields of a signal and
                ``contributions: {name: {decision, weight, confidence?}}``.
            token: The deployment's token, or the object that holds it; by default the connection's own.
            idempotency_key: Names this push; a fresh one by default.
            atomic: All or none.

        Raises:
            InvalidInputError: Rows break the contract; nothing was sent, and ``details`` names them.
            AttributionError: A vendor, deployment or model named in a row is not the token's.

        Example:
            >>> m.consensus.push(rows, token=deployment)
        """
        writes = consensus_writes(rows)
        call = Call(
            "POST",
            STORE,
            params={"atomic": "true"} if atomic else None,
            json=[write.model_dump(mode="json", exclude_none=True) for write in writes],
            idempotency_key=idempotency_key or uuid.uuid4().hex,
            token=credential(token),
        )
        done = read(StoreResult, self._api.send(call), STORE)
        return PushResult(done.accepted, done.duplicates, done.conflicts, done.rejected, done.receipts, _writes=writes)


def consensus_writes(rows: Iterable[ConsensusWrite | Mapping[str, Any]]) -> builtins.list[ConsensusWrite]:
    """Reads and validates all rows by the marketplace's own rules.

    Raises:
        InvalidInputError: There is none, or some break the contract; ``details`` names row, field and reason.
    """
    good: builtins.list[ConsensusWrite] = []
    bad: builtins.list[dict[str, Any]] = []
    for index, row in enumerate(rows):
        try:
            good.append(row if isinstance(row, ConsensusWrite) else ConsensusWrite.model_validate(row))
        except ValidationError as error:
            bad += findings(error, index)
    if bad or not good:
        said = f"{bad[0]['loc']}: {bad[0]['msg']}" if bad else "there is none"
        raise InvalidInputError(
            f"The rows break the contract: {said}.",
            hint="Nothing was sent. A row is a signal with contributions: {name: {decision, weight}}.",
            details=bad[:50],
        )
    return good


def _text(value: When) -> str:
    return instant(value).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

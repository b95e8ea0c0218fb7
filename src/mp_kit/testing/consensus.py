"""The fake's consensus: blended when it is read, by the marketplace's own methods; vendors' own models beside it.

1. One deployment is one voice per bar; only what a version in pilot or prod said counts.
2. A late voice has no weight beside voices in time; where all are late they are blended, and the bar is marked late.
3. The fake knows no past, so every skill is 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from mp_kit import errors
from mp_kit.contracts import Consensus, ConsensusWrite, Contribution, Signal, Timeframe, Vendor
from mp_kit.scoring.consensus import METHOD, Method, Part, Voice, blend
from mp_kit.testing.ledger import Ledger, Place
from mp_kit.testing.signals import SignalBook

VENDOR = "vendor:"
Bar = tuple[str, str, datetime]


@dataclass(frozen=True)
class Said:
    """What a vendor's consensus model said of a bar."""

    place: Place
    said: ConsensusWrite

    @property
    def method(self) -> str:
        """What it is asked for by."""
        return f"{VENDOR}{self.place.who.model_id or self.place.who.deployment_id}"


class Counted(Protocol):
    """Whether a deployment's word counts for the consensus: its version was in pilot or prod when it came."""

    def __call__(self, deployment_id: str, model_version: str, at: datetime) -> bool:
        """Judges one."""


class ConsensusDesk(Ledger[ConsensusWrite, Said]):
    """The consensus of all bars.

    Args:
        now: The clock.
        vendor: Whose signals there are.
        book: The signals.
        counted: Whose word counts.

    Attributes:
        primary: The method that is shown where nobody asks for another.
    """

    mark = "con"
    claims = ("vendor_id", "deployment_id", "model_id")

    def __init__(self, now: Callable[[], datetime], vendor: Vendor, book: SignalBook, counted: Counted) -> None:
        super().__init__(now)
        self.primary = METHOD
        self._vendor = vendor
        self._book = book
        self._counted = counted

    def read(self, row: Any) -> ConsensusWrite:
        """One dialect."""
        return ConsensusWrite.model_validate(row)

    def keep(self, said: ConsensusWrite, place: Place) -> Said:
        """As it was said."""
        return Said(place, said)

    def known(self, stored: Said, said: ConsensusWrite) -> tuple[str, bool]:
        """Decision, confidence and contributions must agree."""
        return stored.place.id, _core(stored.said) == _core(said)

    def latest(self, symbol: str | None, timeframe: str | None, method: str | None) -> Consensus:
        """The newest bar."""
        found = self.history({"symbol": symbol, "timeframe": timeframe}, method, limit=1)
        if not found:
            raise errors.NotFoundError(f"There is no consensus on {symbol or 'any symbol'} {timeframe or ''} yet.")
        return found[0]

    def history(
        self,
        wanted: Mapping[str, str | None],
        method: str | None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
    ) -> list[Consensus]:
        """Bars of a method, newest first; without one, of the primary, and of ours where that is silent."""
        if method is not None and method not in [*Method] and not method.startswith(VENDOR):
            raise errors.InvalidInputError(f"There is no method {method!r}.", hint=f"There are {', '.join(Method)}.")
        if (frame := wanted.get("timeframe")) is not None and frame not in [*Timeframe]:
            raise errors.InvalidInputError(f"There is no timeframe {frame!r}.")
        shown = self._of(METHOD if method is None else method) | self._of(method or self.primary)

        def fits(bar: Consensus) -> bool:
            named = all(value in {None, getattr(bar, name)} for name, value in wanted.items())
            return named and (since is None or bar.event_time >= since) and (until is None or bar.event_time < until)

        return sorted(filter(fits, shown.values()), key=lambda bar: bar.event_time, reverse=True)[:limit]

    def _of(self, method: str) -> dict[Bar, Consensus]:
        return self._own(method) if method.startswith(VENDOR) else self._blended(Method(method))

    def _blended(self, method: Method) -> dict[Bar, Consensus]:
        bars: dict[Bar, dict[str, Signal]] = {}
        for signal in self._book.stored.values():
            deployment_id = signal.deployment_id or ""
            if self._counted(deployment_id, signal.model_version, signal.received_at):
                voices = bars.setdefault((signal.symbol, signal.timeframe.value, signal.event_time), {})
                voices[deployment_id] = _better(voices.get(deployment_id), signal)
        return {bar: self._blend(bar, [*voices.values()], method) for bar, voices in bars.items()}

    def _blend(self, bar: Bar, told: Sequence[Signal], method: Method) -> Consensus:
        spoke = [one for one in told if not one.late] or told
        made = blend([Voice(one.deployment_id or "", one.decision, one.confidence) for one in spoke], method)
        if made is None:
            raise errors.InternalError("A bar without voices was blended.")
        parts = {
            one.deployment_id or "": self._part(one, made.weights, made.parts.get(one.deployment_id or ""))
            for one in told
        }
        return Consensus(
            symbol=bar[0], timeframe=bar[1], event_time=bar[2],
            decision=made.decision, confidence=made.confidence, score=made.score,
            method=method.value, signals=len(spoke), late=spoke[0].late,
            contributions=parts, computed_at=self._now(),
        )  # fmt: skip

    def _part(self, told: Signal, weights: Mapping[str, float], part: Part | None) -> Contribution:
        return Contribution(
            decision=told.decision,
            weight=weights.get(told.deployment_id or "", 0.0),
            confidence=told.confidence,
            vendor=self._vendor.name,
            vendor_id=self._vendor.id,
            deployment_id=told.deployment_id,
            late=told.late or None,
            value=part.value if part else 0.0,
            swing=part.swing if part else 0.0,
            without=part.without if part else None,
        )

    def _own(self, method: str) -> dict[Bar, Consensus]:
        def order(one: Said) -> tuple[bool, datetime]:
            return not one.place.late, one.place.received_at

        said = sorted((one for one in self.stored.values() if one.method == method), key=order)
        return {
            (one.said.symbol, one.said.timeframe.value, one.said.bar_time): self._shown(one) for one in self._good(said)
        }

    def _good(self, said: Iterable[Said]) -> list[Said]:
        return [
            one
            for one in said
            if self._counted(one.place.who.deployment_id or "", one.said.model_version, one.place.received_at)
        ]

    def _shown(self, one: Said) -> Consensus:
        said, place = one.said, one.place
        return Consensus(
            symbol=said.symbol, timeframe=said.timeframe, event_time=said.bar_time,
            decision=said.decision, confidence=said.confidence, score=said.decision.sign * said.confidence,
            method=one.method, signals=len(said.contributions), late=place.late,
            vendor=self._vendor.name, vendor_id=self._vendor.id, deployment_id=place.who.deployment_id,
            contributions=_core(said)[2], computed_at=place.received_at,
        )  # fmt: skip


def _better(known: Signal | None, signal: Signal) -> Signal:
    """In time before late, then the newest."""
    return signal if known is None or not signal.late or known.late else known


def _core(said: ConsensusWrite) -> tuple[str, float, dict[str, Any]]:
    """What it says; whose the parts are, and what they were worth, only the marketplace can say."""
    kept = {"decision", "weight", "confidence"}
    return said.decision, said.confidence, {n: p.model_dump(include=kept) for n, p in said.contributions.items()}

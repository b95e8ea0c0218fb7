"""The blended view of bars, with who contributed what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mp_kit.client import html
from mp_kit.client.http import Api
from mp_kit.client.results import Rows, Shown
from mp_kit.contracts.consensus import Consensus


class ConsensusView(Shown, Consensus):
    """A consensus, as it shows itself."""

    __repr__ = Shown.__repr__
    __str__ = Shown.__str__

    def _title(self) -> str:
        return f"Consensus {self.symbol} {self.timeframe.value}: {self.decision.value}"

    def _facts(self) -> Mapping[str, Any]:
        return {
            "bar": self.event_time,
            "confidence": self.confidence,
            "score": self.score,
            "signals": self.signals,
            "method": self.method,
            "from": [f"{name} {part.weight:.0%} {part.decision.value}" for name, part in self.contributions.items()],
        }

    def _repr_html_(self) -> str:
        parts = [{"model": name, **part.model_dump()} for name, part in self.contributions.items()]
        below = html.table(parts, ("model", "vendor", "decision", "weight", "confidence"), "Contributions")
        facts = {name: value for name, value in self._facts().items() if name != "from"}
        return html.card(self._title(), facts, below)


class ConsensusBox:
    """The consensus of the marketplace; public.

    Example:
        >>> m.consensus.latest("EURUSD", "1h")
    """

    def __init__(self, api: Api) -> None:
        self._api = api

    def __repr__(self) -> str:
        return f"Consensus at {self._api.base_url}: latest(symbol, timeframe), list(symbol, timeframe)"

    def latest(self, symbol: str, timeframe: str) -> ConsensusView:
        """The newest consensus of a symbol.

        Raises:
            NotFoundError: There is none yet.
        """
        return self._api.get(ConsensusView, "/api/consensus/latest", symbol=symbol, timeframe=timeframe)

    def list(self, symbol: str | None = None, timeframe: str | None = None, limit: int = 100) -> Rows[ConsensusView]:
        """Past consensus, newest first."""
        found = self._api.pages(ConsensusView, "/api/consensus", limit, symbol=symbol, timeframe=timeframe)
        columns = ("event_time", "symbol", "timeframe", "decision", "confidence", "score", "signals", "method")
        return Rows(found, "Consensus", columns)

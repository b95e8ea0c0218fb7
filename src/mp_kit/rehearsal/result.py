"""How a rehearsal went: what was replayed, and the leaderboard that came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mp_kit.client import html
from mp_kit.client.results import Rows, Shown
from mp_kit.contracts.scores import LeaderboardEntry

__all__ = ["Rehearsal"]


@dataclass(frozen=True, repr=False)
class Rehearsal(Shown):
    """How a rehearsal went.

    Attributes:
        start: When it began, in the sandbox's time.
        end: When it ended.
        closes: At how many instants bars closed.
        signals: Stored in it, by all who spoke.
        refused: Of one's own model: what was not stored, such as a second word on a bar.
        round_id: The round that judged.
        seconds: That it took.
        url: Where the marketplace can be looked at.
        board: The leaderboard.
    """

    start: datetime
    end: datetime
    closes: int
    signals: int
    refused: int
    round_id: str
    seconds: float
    url: str
    board: Rows[LeaderboardEntry] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values."""
        facts = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "board"}
        times = {"start": self.start.isoformat(), "end": self.end.isoformat()}
        return facts | times | {"board": [entry.model_dump(mode="json") for entry in self.board]}

    def _title(self) -> str:
        return f"{(self.end - self.start).total_seconds() / 86_400:.3g} days in {self.seconds:.1f} s"

    def _facts(self) -> Mapping[str, Any]:
        return {
            "from": self.start,
            "to": self.end,
            "closes": f"{self.closes:,}",
            "signals": f"{self.signals:,}",
            "refused": self.refused or None,
            "judged_by": self.round_id,
            "look_at": self.url,
        }

    def __repr__(self) -> str:
        return f"{super().__repr__()}\n\n{self.board!r}"

    def _repr_html_(self) -> str:
        return html.card(self._title(), self._facts(), self.board._repr_html_())

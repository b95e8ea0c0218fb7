"""The fake's scores: nothing is computed here, a test says what the boards show."""

from __future__ import annotations

from mp_kit.contracts import Stage
from mp_kit.contracts.scores import LeaderboardEntry

_PUBLIC = frozenset({Stage.PILOT, Stage.PROD})


class ScoreDesk:
    """What the boards show.

    Attributes:
        entries: All scores, of models in shadow too; a test fills it.
    """

    def __init__(self) -> None:
        self.entries: list[LeaderboardEntry] = []

    def board(self, timeframe: str | None, limit: int) -> list[LeaderboardEntry]:
        """The public's: models in pilot or prod."""
        return [entry for entry in self.own(timeframe, len(self.entries)) if entry.stage in _PUBLIC][:limit]

    def own(self, timeframe: str | None, limit: int) -> list[LeaderboardEntry]:
        """The vendor's."""
        return [entry for entry in self.entries if timeframe in {None, entry.card.basis.timeframe}][:limit]

    def is_enough(self, deployment_id: str) -> bool:
        """Whether a deployment has said enough for the gate."""
        return any(entry.enough_data and entry.deployment_id == deployment_id for entry in self.entries)

"""An entry of a run's history with its reason in one cell."""

from __future__ import annotations

from mp_kit.client import run_words as words
from mp_kit.contracts.training import RunEvent

__all__ = ["COLUMNS", "EventView"]

COLUMNS = ("at", "letter", "means", "to_state", "why")


class EventView(RunEvent):
    """An entry of a run's history."""

    @property
    def why(self) -> str:
        """The reason, or what it was about: a machine and its price, an outcome."""
        told = self.detail
        if reason := told.get("failure") or told.get("error"):
            return str(reason)
        price = told.get("price_per_hour_usd")
        exit_code = told.get("exit_code")
        parts = [
            str(told.get("gpu") or ""),
            f"{words.money(price)} an hour" if isinstance(price, int | float) and price > 0 else "",
            str(told.get("outcome") or ""),
            f"exit code {exit_code}" if exit_code is not None else "",
            f"attempt {told['attempt']}" if self.kind == "launched" and told.get("attempt", 1) != 1 else "",
        ]
        return ", ".join(part for part in parts if part)

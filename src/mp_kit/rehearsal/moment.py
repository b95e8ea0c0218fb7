"""What a model of one's own is told at a close, and how its answer is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from mp_kit.errors import InvalidInputError
from mp_kit.rehearsal.tape import Tape

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Answer", "Moment", "rows_of"]

Answer: TypeAlias = "Mapping[str, str | tuple[str, float]] | Iterable[Mapping[str, Any]] | None"
"""Symbol to decision, or to (decision, confidence); or rows as ``m.signals.push`` takes them; or nothing to say."""

_CONFIDENCE = 0.5


@dataclass(frozen=True)
class Moment:
    """An instant at which bars have just closed.

    Attributes:
        now: The sandbox's time.
        symbols: Those whose bar has just closed, with the bar's open.
        timeframe: Of the bars.
    """

    now: datetime
    symbols: Mapping[str, datetime]
    timeframe: str
    _tape: Tape = field(repr=False)

    def bars(self, symbol: str, last: int | None = None) -> pd.DataFrame:
        """A symbol's bars up to now, indexed by their open: nothing that a live model could not have.

        Args:
            symbol: Whose.
            last: Only so many, the newest.
        """
        return frame_of(self._tape, symbol, self.now, last)


def frame_of(tape: Tape, symbol: str, now: datetime, last: int | None) -> pd.DataFrame:
    """What has closed, as a frame indexed by the bars' open."""
    frame: pd.DataFrame = tape.until(symbol, now, last).to_pandas()
    return frame.set_index("timestamp")


def rows_of(answer: Answer, moment: Moment) -> list[dict[str, Any]]:
    """A model's answer as rows to push.

    Raises:
        InvalidInputError: It speaks of a symbol whose bar has not just closed, or is nothing of the kind.
    """
    if answer is None:
        return []
    if isinstance(answer, Mapping):
        answer = [_row(symbol, said) for symbol, said in answer.items()]
    if isinstance(answer, str) or not isinstance(answer, Iterable):
        raise InvalidInputError(
            f"The model answered {type(answer).__name__}.", hint="Return {symbol: (decision, confidence)}, or None."
        )
    rows = [dict(row) for row in answer]
    for row in rows:
        symbol = str(row.get("symbol"))
        if "event_time" not in row:
            if symbol not in moment.symbols:
                raise InvalidInputError(
                    f"No bar of {symbol} closes at {moment.now:%Y-%m-%d %H:%M}Z.",
                    hint=f"Speak of {', '.join(moment.symbols)}, or name the bar's event_time.",
                )
            row["event_time"] = moment.symbols[symbol]
    return rows


def _row(symbol: str, said: Any) -> dict[str, Any]:
    decision, confidence = said if isinstance(said, tuple) else (said, _CONFIDENCE)
    return {"symbol": symbol, "decision": decision, "confidence": confidence}

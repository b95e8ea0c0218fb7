"""Opening a sandbox: everything that can be refused is refused before anything starts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from mp_kit.client.instants import When, instant
from mp_kit.errors import InvalidInputError
from mp_kit.rehearsal.box import Sandbox, midnight
from mp_kit.rehearsal.process import require_server
from mp_kit.rehearsal.rules import RULES
from mp_kit.rehearsal.spans import Span, days_of, span, usual_days
from mp_kit.rehearsal.tape import Tape

__all__ = ["ECB", "sandbox"]

ECB = "ecb"
"""The bars that ship offline: the European Central Bank's daily fixings."""


def sandbox(
    bars: Path | str | None = None,
    *,
    start: When | None = None,
    vendors: int = 3,
    days: float | None = None,
    symbols: Sequence[str] | None = None,
    timeframe: str | None = None,
    round_every: Span = "7d",
    home: Path | str | None = None,
) -> Sandbox:
    """Opens a whole marketplace to rehearse in, on this machine and offline, at a time of its own.

    Args:
        bars: A file, folder or glob of OHLCV bars; by default the ECB's daily fixings, which ship offline.
        start: What time it is when it opens; so many ``days`` before the bars' end by default.
        vendors: So many of the house's vendors speak at each close.
        days: Used where no start is given: 30 by default, 60 of daily bars, for a score needs 30 bars.
        symbols: Only these.
        timeframe: Resample the bars to it.
        round_every: How often a round of what happened is published and everybody is scored.
        home: An empty folder for all its state, which stays; by default a temporary one, which goes with it.

    Raises:
        MissingExtraError: ``mp-kit[server]`` is not installed.
        BarsError: There are no such bars, or none around the start.
        InvalidInputError: The start is in the future, or there are not so many house vendors.

    Example:
        >>> with mp_kit.sandbox("data/fx/1h", start="2018-05-01") as box:
        ...     box.run(days=30, model=lambda now: {"EURUSD": ("BUY", 0.6)})
    """
    require_server()
    if not 0 <= vendors <= len(RULES):
        raise InvalidInputError(f"The house has 0 to {len(RULES)} vendors, not {vendors}.")
    wanted = None if start is None else instant(start)
    if wanted is not None and wanted > datetime.now(UTC):
        raise InvalidInputError(
            f"{wanted:%Y-%m-%dT%H:%MZ} is in the future, of which there are no bars.", hint="Start in the past."
        )
    tape = Tape.read(ECB if bars is None else str(bars), symbols, timeframe)
    opens = wanted or midnight(tape.last - days_of(usual_days(tape.timeframe) if days is None else days))
    tape.check_start(opens)
    return Sandbox(tape, opens, RULES[:vendors], span(round_every), None if home is None else Path(home))

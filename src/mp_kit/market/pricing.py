"""When a bar's close was a price: what its stamp does not say.

A bar is stamped with its open. Its close is usually the price at its end; a bar that bears a date alone may close hours
before that date is over. Whoever entered it at the date's end would trade at a price that has become history.
"""

from __future__ import annotations

from mp_kit.contracts.rounds import Manifest
from mp_kit.errors import BarsError
from mp_kit.market.timeframes import Timeframe, seconds

__all__ = ["ECB_PRICED_AFTER", "check_priced_after", "priced_after"]

ECB_PRICED_AFTER = 12 * 3_600 + 10 * 60
"""The ECB's rates are made in a concertation "around 14:10 CET" (ecb.europa.eu, Euro foreign exchange reference rates),
before in a snapshot at 14:15 (press release of 7 December 2015): 13:10 UTC in winter, 12:10 UTC in summer. The earliest
counts all year: nobody is then entered at a rate that was made before the signal came."""


def priced_after(manifest: Manifest) -> int:
    """Seconds from the open of a round's bars to the instant of their close.

    Rounds from before the manifest told it are the ECB's by their source's kind, else closed at their bars' end.
    """
    if manifest.priced_after is not None:
        return manifest.priced_after
    return ECB_PRICED_AFTER if manifest.source.get("kind") == "ecb" else manifest.timeframe.seconds


def check_priced_after(told: int | None, timeframe: Timeframe) -> None:
    """Refuses an instant that is not within the bar.

    Raises:
        BarsError: It is at or before the bar's open, or after its end.
    """
    if told is not None and not 0 < told <= seconds(timeframe):
        raise BarsError(
            f"A {timeframe} bar has no price {told} s after its open.",
            hint=f"priced_after is from 1 to {seconds(timeframe)} s; leave it out where bars close at their end.",
        )

"""The bar lengths of the wire and their arithmetic."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mp_kit.contracts.common import TIMEFRAME_SECONDS
from mp_kit.errors import BarsError

__all__ = ["TIMEFRAME_SECONDS", "Timeframe", "distinct", "seconds", "sniff_timeframe"]

Timeframe = str
"""One of the keys of :data:`TIMEFRAME_SECONDS`: a plain string; the enum of the wire is one too."""

_SMALLEST_SAMPLE = 3


def seconds(timeframe: Timeframe) -> int:
    """The length of one bar.

    Args:
        timeframe: One of 1m 5m 15m 1h 4h 1d.

    Returns:
        Seconds.

    Raises:
        BarsError: The wire has no such timeframe.
    """
    try:
        return TIMEFRAME_SECONDS[timeframe]
    except KeyError:
        known = " ".join(TIMEFRAME_SECONDS)
        raise BarsError(f"Timeframe {timeframe!r} is unknown.", hint=f"Use one of {known}.") from None


def distinct(times: NDArray[np.int64]) -> NDArray[np.int64]:
    """The different instants, ascending.

    Times come nearly in order, which a merge sort takes in one pass; numpy's ``unique`` hashes them, 50 times slower.
    """
    if np.all(times[1:] > times[:-1]):
        return times
    ordered = np.sort(times, kind="stable")
    first = np.ones(ordered.size, dtype=np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first]


def sniff_timeframe(times: NDArray[np.int64], where: str) -> Timeframe:
    """Tells the timeframe from the median spacing of bars.

    Args:
        times: Bar opens in microseconds, in any order.
        where: What to call the data in an error.

    Returns:
        The timeframe whose length is the median distance of neighbours.

    Raises:
        BarsError: Fewer than three bars, or a spacing that is no timeframe of the wire.
    """
    opens = distinct(times)
    if opens.size < _SMALLEST_SAMPLE:
        raise BarsError(f"{where}: {opens.size} bars are too few to tell their timeframe.", hint="Name it: timeframe=…")
    spacing = _median(np.diff(opens)) / 1e6
    for name, length in TIMEFRAME_SECONDS.items():
        if spacing == length:
            return name
    raise BarsError(
        f"{where}: bars are {spacing:g} s apart, which is no timeframe of the wire.",
        hint=f"Resample the source to one of {' '.join(TIMEFRAME_SECONDS)}.",
    )


def _median(gaps: NDArray[np.int64]) -> float:
    """The median, without sorting if more than half of the values are the same, as bars' distances are."""
    likely = gaps[gaps.size // 2]
    return float(likely) if 2 * np.count_nonzero(gaps == likely) > gaps.size else float(np.median(gaps))

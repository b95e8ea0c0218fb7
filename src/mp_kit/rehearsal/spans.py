"""Lengths of time as people write them."""

from __future__ import annotations

import re
from datetime import timedelta

from mp_kit.contracts.common import Timeframe
from mp_kit.errors import InvalidInputError

__all__ = ["Span", "days_of", "span", "usual_days"]

Span = str | timedelta
"""A length of time: a timedelta, or text such as 90m, 12h, 1d or 2w."""

_TEXT = re.compile(r"(\d{1,6})\s*([mhdw])")
_CENTURY = 36_525
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def span(given: Span) -> timedelta:
    """Reads a length of time.

    Raises:
        InvalidInputError: Unreadable text, or not positive.
    """
    if isinstance(given, str):
        match = _TEXT.fullmatch(given.strip().lower())
        found = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else None
    else:
        found = given
    if found is None or found <= timedelta(0):
        raise InvalidInputError(f"{given!r} is no length of time to go on by.", hint="Write 90m, 12h, 1d or 2w.")
    return found


def usual_days(timeframe: Timeframe) -> float:
    """So many days that scores come of them: a month has some 22 daily bars, and a score needs 30."""
    return 60 if timeframe is Timeframe.D1 else 30


def days_of(count: float) -> timedelta:
    """So many days.

    Raises:
        InvalidInputError: Not positive, or more than a century.
    """
    if not 0 < count < _CENTURY:
        raise InvalidInputError(f"{count} days cannot be rehearsed.", hint="Say a positive number of days.")
    return timedelta(days=count)

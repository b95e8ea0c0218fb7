"""How things are shown: numbers with their intervals, money, times, decisions. All are template filters."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from markupsafe import Markup, escape

from mp_kit.contracts.measured import Measured
from mp_kit.server import clock

__all__ = ["amount", "badge", "day", "decision", "figure", "instant", "interval", "lasted", "many", "measured", "money",
           "named", "number", "share", "ticks"]  # fmt: skip

UNKNOWN = Markup('<span class="unknown">not enough data yet</span>')
_STEPS = ((60, 1, "second"), (3_600, 60, "minute"), (86_400, 3_600, "hour"), (2_592_000, 86_400, "day"))
_GOOD = {"ready": "good", "online": "good", "succeeded": "good", "prod": "good", "active": "good", "pilot": "info"}
_BAD = {"error": "bad", "failed": "bad", "offline": "bad", "suspended": "bad", "refused": "bad"}
_BUSY = {"running": "info", "launching": "info", "queued": "wait", "pending": "wait", "degraded": "wait"}
_KINDS = _GOOD | _BAD | _BUSY
_MINUS, _NARROW, _UNTOLD = "\N{MINUS SIGN}", "\N{NARROW NO-BREAK SPACE}", "\N{EN DASH}"
_UNITS = {"_bytes": "MiB", "_percent": "%", "_ms": "ms", "_seconds": ""}
_MIB = 2**20
_MANY = 100
_BIG, _WHOLE, _MOST_CHARS, _MOST_SECONDS = 1e5, 1e15, 200, 1e9
_MARKS = {"BUY": "▲", "SELL": "▼", "HOLD": "■"}


def number(value: float | None, digits: int = 2) -> Markup | str:
    """A number with a true minus sign; an unknown one says so."""
    return UNKNOWN if value is None else f"{value:,.{digits}f}".replace("-", "\N{MINUS SIGN}")


def amount(value: int | None) -> Markup | str:
    """How many."""
    return UNKNOWN if value is None else f"{value:,}"


def many(value: int, name: str) -> str:
    """How many of something: 1 signal, 2 signals."""
    return f"{value:,} {name}{'' if value == 1 else 's'}"


def figure(value: Any, name: str = "") -> str:
    """What a program told of itself, as people write it: whole numbers whole, of others what matters.

    Args:
        value: Anything that JSON knows.
        name: What it was told under, which may end in its unit, such as ``_bytes``.
    """
    if value is None:
        return _UNTOLD
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return _text(value)
    if name.endswith("_seconds"):
        return lasted(timedelta(seconds=min(max(value, 0), _MOST_SECONDS)))
    unit = next((unit for end, unit in _UNITS.items() if name.endswith(end)), "")
    if name.endswith("_bytes"):
        value /= _MIB
    rough = f"{value:,.0f}" if abs(value) >= _MANY else f"{value:.3g}"
    return f"{rough if unit else _plain(value)}{_NARROW if unit else ''}{unit}".replace("-", _MINUS)


def named(name: str) -> str:
    """The name of a figure in words, without the unit that stands beside its value."""
    bare = next((name.removesuffix(end) for end in _UNITS if name.endswith(end)), name)
    return bare.replace("_", " ").strip() or name


def share(value: float | None, digits: int = 1) -> Markup | str:
    """A share as a percentage."""
    return UNKNOWN if value is None else f"{number(value * 100, digits)}\N{NARROW NO-BREAK SPACE}%"


def money(value: Decimal | float | None) -> Markup | str:
    """US dollars."""
    if value is None:
        return Markup('<span class="unknown">not known yet</span>')
    sign = "\N{MINUS SIGN}" if value < 0 else ""
    return f"{sign}${abs(value):,.2f}"


def measured(found: Measured | None, digits: int = 2, percent: bool = False) -> Markup:
    """A measured number with its interval; else that it is unknown, and why."""
    if found is None or found.value is None:
        reason = found.reason if found is not None else None
        return Markup('<span class="unknown" title="{}">not enough data yet</span>').format(
            reason or "Nothing measured"
        )
    show = share if percent else number
    return Markup('<span class="measured"><b>{}</b>{}</span>').format(
        show(found.value, digits), interval(found, digits, percent)
    )


def interval(found: Measured, digits: int = 2, percent: bool = False) -> Markup:
    """The 95 % interval of a measured number, or nothing."""
    if found.low is None or found.high is None:
        return Markup("")
    scale = 100 if percent else 1
    low, high = number(found.low * scale, digits), number(found.high * scale, digits)
    return Markup(' <span class="interval" title="95 % interval">{} to {}</span>').format(low, high)


def instant(value: datetime | None, absent: str = "never") -> Markup:
    """A time as people say it, with the exact instant in the element."""
    if value is None:
        return Markup('<span class="unknown">{}</span>').format(absent)
    at = value.astimezone(UTC)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        f"{at:%Y-%m-%dT%H:%M:%SZ}", f"{at:%Y-%m-%d %H:%M:%S} UTC", _relative(at, clock.now())
    )


def day(value: datetime | None, absent: str = "never") -> Markup:
    """The minute itself, in UTC: for bars, whose exact time matters more than how long ago it was."""
    if value is None:
        return Markup('<span class="unknown">{}</span>').format(absent)
    at = value.astimezone(UTC)
    return Markup('<time datetime="{}">{}</time>').format(f"{at:%Y-%m-%dT%H:%M:%SZ}", f"{at:%Y-%m-%d %H:%M} UTC")


def badge(text: str | None, kind: str = "") -> Markup:
    """A word in a coloured box; its colour follows its meaning, and the word itself says it too."""
    if not text:
        return Markup('<span class="badge">unknown</span>')
    return Markup('<span class="badge {}">{}</span>').format(kind or _KINDS.get(text, "plain"), text)


def lasted(value: timedelta) -> str:
    """How long something took, in its two largest units: 2 h 5 min."""
    left, said = max(0, round(value.total_seconds())), []
    for seconds, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        units, left = divmod(left, seconds)
        if units:
            said.append(f"{units:,} {unit}")
        elif said:
            break
    return " ".join(said[:2]) or "less than a second"


def decision(value: str) -> Markup:
    """BUY, SELL or HOLD with a mark that needs no colour."""
    said = str(value)
    return Markup('<span class="decision {}"><span aria-hidden="true">{}</span> {}</span>').format(
        said.lower(), _MARKS.get(said, ""), said
    )


def ticks(text: str) -> Markup:
    """A sentence whose `commands` between backticks become code."""
    parts = str(text).split("`")
    return Markup("").join(Markup("<code>{}</code>").format(p) if n % 2 else escape(p) for n, p in enumerate(parts))


def _plain(value: float) -> str:
    if float(value).is_integer() and abs(value) < _WHOLE:
        return f"{int(value):,}"
    return f"{value:,.1f}" if _BIG <= abs(value) < _WHOLE else f"{value:,.6g}"


def _text(value: Any) -> str:
    said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return said if len(said) <= _MOST_CHARS else f"{said[:_MOST_CHARS]}…"


def _relative(at: datetime, now: datetime) -> str:
    seconds = (now - at).total_seconds()
    for limit, unit, name in _STEPS:
        if abs(seconds) < limit:
            units = int(abs(seconds) // unit)
            if name == "second" and units < 10:  # noqa: PLR2004 - nobody counts those
                return "just now"
            said = f"{units} {name}{'' if units == 1 else 's'}"
            return f"{said} ago" if seconds >= 0 else f"in {said}"
    return f"{at:%Y-%m-%d}"

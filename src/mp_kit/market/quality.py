"""Checks bars before anybody learns from them.

1. What leaves :func:`check` is in order of time, unique, finite, and has positive prices, whatever the policy.
2. Nothing is repaired silently: every finding is counted and its first offenders are named.
3. Zero volume is legal (currency quotes carry none); a weekend is no gap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from mp_kit.errors import BarsError
from mp_kit.market.bars import BAR_SCHEMA, PRICES, Bars, column, instant
from mp_kit.market.timeframes import seconds

__all__ = ["KINDS", "Checked", "Finding", "Policy", "QualityReport", "check", "missing_bars"]

KINDS = ("unsorted", "duplicate", "non_finite", "non_positive", "ohlc_inconsistent", "off_grid", "gap")
"""In the order in which they are looked for: each check sees what the ones before it left."""

_OFFENDERS = 5
_DAY = 86_400
_WEEK = 7 * _DAY
# 1970-01-01 was a Thursday. The currency week closes on Friday at 21:00 or 22:00 UTC and opens on Sunday at 21:00
# or 22:00, by New York's summer time; an hour of tolerance on each side keeps both out of the gaps.
_CLOSES = 1 * _DAY + 20 * 3600
_OPENS = 3 * _DAY + 23 * 3600


class Policy(BaseModel):
    """What to do about each kind of finding: reject the symbol, drop the rows, or only flag them.

    A kind offers only what leaves usable bars: a duplicate or a NaN cannot stay, a gap cannot be dropped.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    unsorted: Literal["reject", "drop", "flag"] = Field(
        "flag", description="Rows earlier than one before them; `flag` puts them in order."
    )
    duplicate: Literal["reject", "drop"] = Field(
        "drop", description="Rows whose timestamp was there already; `drop` keeps the first."
    )
    non_finite: Literal["reject", "drop"] = Field("reject", description="NaN, null or infinite values.")
    non_positive: Literal["reject", "drop"] = Field(
        "reject", description="Prices of zero or less, or a negative volume."
    )
    ohlc_inconsistent: Literal["reject", "drop", "flag"] = Field(
        "reject", description="High below, or low above, the open or the close."
    )
    off_grid: Literal["reject", "drop", "flag"] = Field(
        "flag", description="Timestamps off the timeframe's grid (its most common offset)."
    )
    gap: Literal["reject", "flag"] = Field("flag", description="Missing bars outside the weekend.")


@dataclass(frozen=True)
class Finding:
    """One kind of finding: how often, what was done, and the first offenders as (timestamp, what)."""

    count: int
    policy: str
    offenders: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class QualityReport:
    """What was found in one symbol's bars, and what reading them had to assume."""

    symbol: str
    timeframe: str
    input_rows: int
    kept_rows: int
    first: str | None
    last: str | None
    findings: dict[str, Finding] = field(default_factory=dict)
    assumptions: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values; every kind is there, also those that were not found."""
        findings = {
            kind: {
                "count": found.count,
                "policy": found.policy,
                "offenders": [{"timestamp": when, "what": what} for when, what in found.offenders],
            }
            for kind, found in self.findings.items()
        }
        return {
            "symbol": self.symbol,
            "timeframe": self.timeframe,
            "input_rows": self.input_rows,
            "kept_rows": self.kept_rows,
            "first": self.first,
            "last": self.last,
            "findings": findings,
            "assumptions": list(self.assumptions),
        }


@dataclass(frozen=True)
class Checked:
    """Bars that passed, and what was found on the way."""

    bars: Bars
    report: QualityReport


Rows = dict[str, NDArray[Any]]
Mask = NDArray[np.bool_]


def check(bars: Bars, policy: Policy | None = None) -> Checked:
    """Validates bars.

    Args:
        bars: Any order, any quality.
        policy: What to do per kind; the default rejects values that cannot be true and flags the rest.

    Returns:
        The bars in order and the report.

    Raises:
        BarsError: A finding whose policy is ``reject``, or no bar is left.
    """
    policy = policy or Policy()
    rows: Rows = {"timestamp": bars.times(), **{name: column(bars.table, name) for name in BAR_SCHEMA.names[1:]}}
    findings: dict[str, Finding] = {}
    for kind in KINDS:
        rule = str(getattr(policy, kind))
        offending = _LOOK[kind](rows, seconds(bars.timeframe))
        findings[kind] = _finding(kind, rule, rows, offending, bars)
        if rule == "reject" and findings[kind].count:
            raise _rejection(bars, kind, findings[kind])
        if rule == "drop" and findings[kind].count:
            rows = {name: values[~offending] for name, values in rows.items()}
        if kind == "unsorted":
            rows = _in_order(rows)
    return _checked(bars, rows, findings)


def missing_bars(times: NDArray[np.int64], step: int) -> NDArray[np.int64]:
    """Counts the bars missing before each bar, leaving weekends out.

    Args:
        times: Bar opens in microseconds, ascending; shape (n,).
        step: Length of a bar in seconds.

    Returns:
        Shape (n,): open-market bars between this bar and the one before; 0 for the first.
    """
    opens = times // 1_000_000
    missing = np.zeros(opens.size, dtype=np.int64)
    apart = 1 + np.flatnonzero(np.diff(opens) != step)  # the others follow at once: nothing can be missing there
    expected = _market_seconds(opens[apart], step) - _market_seconds(opens[apart - 1] + step, step)
    missing[apart] = np.maximum(expected, 0) // step
    return missing


def _market_seconds(opens: NDArray[np.int64], step: int) -> NDArray[np.int64]:
    """Seconds since 1970 during which the currency market is open."""
    closes, reopens = (2 * _DAY, 4 * _DAY) if step >= _DAY else (_CLOSES, _OPENS)
    weeks, offset = np.divmod(opens, _WEEK)
    in_week = np.minimum(offset, closes) + np.maximum(offset - reopens, 0)
    open_time: NDArray[np.int64] = weeks * (_WEEK - (reopens - closes)) + in_week
    return open_time


def _unsorted(rows: Rows, _step: int) -> Mask:
    times = rows["timestamp"]
    late: Mask = np.zeros(times.size, dtype=np.bool_)
    if not np.all(times[1:] >= times[:-1]):
        late[1:] = times[1:] < np.maximum.accumulate(times)[:-1]
    return late


def _duplicate(rows: Rows, _step: int) -> Mask:
    again: Mask = np.r_[False, np.diff(rows["timestamp"]) == 0][: rows["timestamp"].size]
    return again


def _non_finite(rows: Rows, _step: int) -> Mask:
    bad: Mask = rows["timestamp"] == np.iinfo(np.int64).min
    for name in (*PRICES, "volume"):
        bad = bad | ~np.isfinite(rows[name])
    return bad


def _non_positive(rows: Rows, _step: int) -> Mask:
    bad: Mask = rows["volume"] < 0
    for name in PRICES:
        bad = bad | (rows[name] <= 0)
    return bad


def _ohlc_inconsistent(rows: Rows, _step: int) -> Mask:
    top = np.maximum(rows["open"], rows["close"])
    bottom = np.minimum(rows["open"], rows["close"])
    bad: Mask = (rows["high"] < top) | (rows["low"] > bottom)
    return bad


def _off_grid(rows: Rows, step: int) -> Mask:
    offsets = rows["timestamp"] % (step * 1_000_000)
    if np.all(offsets == offsets[:1]):
        return np.zeros(offsets.size, dtype=np.bool_)
    values, counts = np.unique(offsets, return_counts=True)
    off: Mask = offsets != values[np.argmax(counts)]
    return off


def _gap(rows: Rows, step: int) -> Mask:
    gaps: Mask = missing_bars(rows["timestamp"], step) > 0
    return gaps


_LOOK: dict[str, Callable[[Rows, int], Mask]] = {
    "unsorted": _unsorted,
    "duplicate": _duplicate,
    "non_finite": _non_finite,
    "non_positive": _non_positive,
    "ohlc_inconsistent": _ohlc_inconsistent,
    "off_grid": _off_grid,
    "gap": _gap,
}


def _in_order(rows: Rows) -> Rows:
    if np.all(np.diff(rows["timestamp"]) >= 0):
        return rows
    order = np.argsort(rows["timestamp"], kind="stable")
    return {name: values[order] for name, values in rows.items()}


def _finding(kind: str, rule: str, rows: Rows, offending: Mask, bars: Bars) -> Finding:
    where = np.flatnonzero(offending)
    offenders = tuple(
        (_when(rows, int(i)), _what(kind, rows, int(i), seconds(bars.timeframe))) for i in where[:_OFFENDERS]
    )
    return Finding(count=int(where.size), policy=rule, offenders=offenders)


def _when(rows: Rows, i: int) -> str:
    stamp = int(rows["timestamp"][i])
    return "no timestamp" if stamp == np.iinfo(np.int64).min else instant(stamp)


def _what(kind: str, rows: Rows, i: int, step: int) -> str:
    if kind == "unsorted":
        return f"row {i} is earlier than row {i - 1} or one before it"
    if kind == "duplicate":
        same = all(rows[name][i] == rows[name][i - 1] for name in (*PRICES, "volume"))
        return "the same bar again" if same else "another bar with the same timestamp"
    if kind == "off_grid":
        return f"not on the grid of {step} s"
    if kind == "gap":
        missing = int(missing_bars(rows["timestamp"][i - 1 : i + 1], step)[1])
        return f"{missing} bars missing since {_when(rows, i - 1)}"
    return " ".join(f"{name}={float(rows[name][i])!r}" for name in (*PRICES, "volume"))


def _rejection(bars: Bars, kind: str, found: Finding) -> BarsError:
    when, what = found.offenders[0]
    offers = Policy.model_json_schema()["properties"][kind]["enum"]
    others = " or ".join(offer for offer in offers if offer != "reject")
    return BarsError(
        f"{bars.symbol}: {found.count} of {bars.rows} {bars.timeframe} bars are {kind}; first {when}: {what}.",
        hint=f"Mend the source, or set the round's policy {kind} to {others}.",
        details=[{"loc": [bars.symbol, at], "msg": message} for at, message in found.offenders],
    )


def _checked(bars: Bars, rows: Rows, findings: dict[str, Finding]) -> Checked:
    times = rows["timestamp"]
    if not times.size:
        raise BarsError(f"{bars.symbol}: no usable bar is left of {bars.rows}.")
    arrays = [pa.array(times, type=pa.int64()).cast(BAR_SCHEMA.field(0).type)]
    arrays += [pa.array(rows[name], type=pa.float64()) for name in BAR_SCHEMA.names[1:]]
    report = QualityReport(
        symbol=bars.symbol,
        timeframe=bars.timeframe,
        input_rows=bars.rows,
        kept_rows=int(times.size),
        first=instant(int(times[0])),
        last=instant(int(times[-1])),
        findings=findings,
    )
    return Checked(Bars(bars.symbol, bars.timeframe, pa.table(arrays, schema=BAR_SCHEMA)), report)

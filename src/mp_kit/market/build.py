"""From a source to a round's files, one symbol at a time: check, plan, build.

1. :func:`prepare` and :func:`build_symbol` know one symbol: their memory is bounded by it, and a flow maps over them.
2. :func:`plan_round` is the only step that sees all symbols, and it sees their timestamps alone.
3. A symbol that gives any role no row is refused by name; nothing is published in its place.
4. The train rows of each symbol are audited for features that know their label (``leakage.audit``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from mp_kit.errors import BarsError
from mp_kit.market import splits
from mp_kit.market.bars import Bars, column, resample
from mp_kit.market.indicators import FEATURE_NAMES, WARM_UP, compute
from mp_kit.market.labels import direction, forward_return
from mp_kit.market.leakage import SMALLEST, LeakageReport, audit
from mp_kit.market.parquet import Written, write
from mp_kit.market.quality import Checked, Policy, QualityReport, check
from mp_kit.market.sources import Source

__all__ = [
    "RoundSpec",
    "SymbolFiles",
    "build_symbol",
    "featured",
    "file_name",
    "plan_round",
    "prepare",
    "rows_needed",
]

_AUDITED = 10_000  # rows: a leak of any use to a model stands out of the noise of these


class RoundSpec(splits.SplitSpec):
    """What a round is made of, besides its source."""

    timeframe: Literal["1m", "5m", "15m", "1h", "4h", "1d"] | None = Field(
        None, description="Length of the round's bars; the source's own where it is left out."
    )
    barrier_width: float = Field(
        0.7,
        gt=0,
        le=10,
        description="Distance of the label's barriers, in standard deviations over the horizon; "
        "0.7 makes SELL, HOLD and BUY about equally frequent on daily currency bars.",
    )
    policy: Policy = Field(default_factory=Policy, description="What to do about faulty bars, by kind.")
    leakage: Literal["reject", "flag"] = Field(
        "reject", description="What to do about features that know their label: publish nothing, or only say so."
    )


@dataclass(frozen=True)
class SymbolFiles:
    """One symbol's files.

    Attributes:
        symbol: Whose.
        report: What the check of its bars found.
        files: Role (train, validation, test, features) to the published file.
        held_back: The test's labels: for the operator's scoring, never published.
        directions: Role to the count of SELL, HOLD and BUY among its labels.
        leakage: What the audit said; None where train has too few rows for a verdict.
    """

    symbol: str
    report: QualityReport
    files: dict[str, Written]
    held_back: Written
    directions: dict[str, dict[str, int]]
    leakage: LeakageReport | None = None


def rows_needed(spec: RoundSpec) -> int:
    """The fewest bars of a symbol that give every role a row: warm-up, and then the splits."""
    return WARM_UP + splits.usable_needed(spec)


def prepare(source: Source, symbol: str, spec: RoundSpec) -> Checked:
    """Loads and checks one symbol.

    Args:
        source: Where the bars are.
        symbol: One of ``source.symbols()``.
        spec: Its timeframe and policy are used; shorter bars are resampled after the check.

    Returns:
        Ordered, valid bars of the round's timeframe, and the report on the source's.

    Raises:
        BarsError: The bars are faulty, or too few.
    """
    loaded = source.load(symbol)
    checked = check(loaded.bars, spec.policy)
    bars = checked.bars if spec.timeframe is None else resample(checked.bars, spec.timeframe)
    _require_rows(symbol, bars.rows, spec)
    return Checked(bars, replace(checked.report, assumptions=tuple(loaded.assumptions)))


def plan_round(times: Mapping[str, NDArray[np.int64]], spec: RoundSpec) -> splits.Cuts:
    """Chooses the round's cuts.

    Args:
        times: Per symbol ``Checked.bars.times()``: all its bars, the warm-up among them.
        spec: Shares, horizon and embargo.

    Returns:
        Instants that hold for all symbols.

    Raises:
        BarsError: No symbol at all, one that is too short, or two whose files would have the same name.
    """
    if not times:
        raise BarsError("A round needs at least one symbol.", hint="Look at the source's symbols.")
    if len({file_name("", symbol) for symbol in times}) < len(times):
        raise BarsError(f"Two of the symbols {', '.join(sorted(times))} would share a file name.")
    for symbol, opens in times.items():
        _require_rows(symbol, opens.size, spec)
    return splits.plan({symbol: opens[WARM_UP:] for symbol, opens in times.items()}, spec)


def build_symbol(given: Bars | Checked, cuts: splits.Cuts, spec: RoundSpec, folder: Path) -> SymbolFiles:
    """Computes and writes one symbol's files.

    Args:
        given: What :func:`prepare` gave; bare bars are checked here, so that no others can be built from.
        cuts: From :func:`plan_round`.
        spec: The same as there.
        folder: Where the files go; made if it is not there.

    Returns:
        The files ``train-SYMBOL.parquet`` and so on.

    Raises:
        BarsError: The bars are faulty, a role has no row, or a feature knows its label.
        MissingExtraError: TA-Lib is not installed.
    """
    checked = given if isinstance(given, Checked) else check(given, spec.policy)
    bars = checked.bars
    _require_rows(bars.symbol, bars.rows, spec)
    parts = splits.assign(featured(bars, spec), cuts, horizon=spec.horizon, warm_up=WARM_UP)
    _require_roles(bars.symbol, parts, cuts)
    audited = _audited(bars.symbol, parts["train"], spec)
    folder.mkdir(parents=True, exist_ok=True)
    written = {role: _write(part, role, bars, spec, folder) for role, part in parts.items()}
    held_back = written.pop(splits.HELD_BACK)
    labelled = {role: parts[role] for role in ("train", "validation", splits.HELD_BACK)}
    counts = {role: _directions(part) for role, part in labelled.items()}
    return SymbolFiles(bars.symbol, checked.report, written, held_back, counts, audited)


def featured(bars: Bars, spec: RoundSpec) -> pa.Table:
    """The symbol's whole table: bars, features as files keep them, and labels, nothing divided yet."""
    table = compute(bars.table, bars.timeframe, narrow=True)
    high, low, close = (column(table, name) for name in ("high", "low", "close"))
    labels = direction(high, low, close, spec.horizon, volatility=column(table, "vol_20"), width=spec.barrier_width)
    table = table.append_column("label_return", pa.array(forward_return(close, spec.horizon), type=pa.float64()))
    return table.append_column("label_direction", pa.array(labels, type=pa.int8()))


def file_name(role: str, symbol: str) -> str:
    """``role-SYMBOL.parquet``, with what a flat file name cannot carry replaced by ``-``."""
    return f"{role}-{symbol.replace('/', '-').replace(':', '-')}.parquet"


def _write(part: pa.Table, role: str, bars: Bars, spec: RoundSpec, folder: Path) -> Written:
    facts: dict[str, Any] = {"role": role, "symbol": bars.symbol, "timeframe": str(bars.timeframe)}
    facts |= {"horizon": spec.horizon, "embargo": spec.embargo}
    return write(part, folder / file_name(role, bars.symbol), metadata=facts)


def _audited(symbol: str, train: pa.Table, spec: RoundSpec) -> LeakageReport | None:
    """Audits the newest train rows."""
    rows = train.slice(max(train.num_rows - _AUDITED, 0))
    if rows.num_rows < SMALLEST:
        return None
    report = audit(rows.select(FEATURE_NAMES), column(rows, "label_return"), horizon=spec.horizon)
    if report.leaks and spec.leakage == "reject":
        raise _leak(symbol, report)
    return report


def _leak(symbol: str, report: LeakageReport) -> BarsError:
    named = [one for one in report.features if one.leaks]
    told = ", ".join(f"{one.name} (rank correlation {one.correlation:.2f})" for one in named) or (
        f"together in a regression (rank correlation {report.model:.2f} out of sample)"
    )
    return BarsError(
        f"{symbol}: features know the label that they are to foretell: {told}.",
        hint="Look for a column that is ahead of its bar; set the round's leakage to flag if you know better.",
        details=[{"loc": [symbol, one.name], "msg": f"rank correlation {one.correlation:.3f}"} for one in named],
    )


def _directions(part: pa.Table) -> dict[str, int]:
    values = part.column("label_direction").to_numpy()
    return {name: int(np.sum(values == sign)) for name, sign in (("SELL", -1), ("HOLD", 0), ("BUY", 1))}


def _require_rows(symbol: str, rows: int, spec: RoundSpec) -> None:
    if rows < rows_needed(spec):
        raise BarsError(
            f"{symbol}: {rows} bars are too few; warm-up and splits need {rows_needed(spec)}.",
            hint="Take a longer history or a shorter timeframe, or leave the symbol out.",
        )


def _require_roles(symbol: str, parts: dict[str, pa.Table], cuts: splits.Cuts) -> None:
    empty = [role for role, part in parts.items() if not part.num_rows]
    if empty:
        raise BarsError(
            f"{symbol}: no row for {', '.join(empty)} between the round's cuts {cuts.to_json()}.",
            hint="Leave the symbol out, or take the same span of time for all symbols.",
        )

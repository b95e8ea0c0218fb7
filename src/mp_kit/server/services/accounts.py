"""What flows show to people: tables and paragraphs made of results. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mp_kit.contracts import Consensus
from mp_kit.market.build import SymbolFiles
from mp_kit.market.leakage import LeakageReport
from mp_kit.server.services.publication import Inspected, Publication, sentence

__all__ = ["consensus", "leakage", "publication", "quality"]


def quality(inspected: Iterable[Inspected]) -> list[dict[str, Any]]:
    """One row per symbol: bars read and kept, span, and how often each kind of fault was found."""
    rows = []
    for one in inspected:
        report = one.report.to_json()
        row = {name: report[name] for name in ("symbol", "timeframe", "input_rows", "kept_rows", "first", "last")}
        rows.append(row | {kind: found["count"] for kind, found in report["findings"].items()})
    return rows


def leakage(built: Iterable[SymbolFiles]) -> list[dict[str, Any]]:
    """One row per symbol: what the audit looked at, the strongest feature, the model against noise, and the verdict."""
    return [_canaries(one.symbol, one.leakage) for one in built]


def _canaries(symbol: str, report: LeakageReport | None) -> dict[str, Any]:
    if report is None:
        return {"symbol": symbol, "rows": 0, "leaks": "too few rows for a verdict"}
    strongest = max(report.features, key=lambda one: abs(one.correlation))
    return {
        "symbol": symbol,
        "rows": report.rows,
        "leaks": report.leaks,
        "strongest": strongest.name,
        "correlation": strongest.correlation,
        "model": report.model,
    }


def publication(done: Publication) -> str:
    """A published round as Markdown; its first line is the sentence for the log."""
    listed = [f"| {role} | {rows:,} | {_span(done, role)} |" for role, rows in sorted(done.rows.items())]
    return "\n".join(
        [
            sentence(vars(done)),
            "",
            f"{done.input_bars:,} input bars, {done.stored} new files in the object store.",
            "",
            "| role | rows | from, to |",
            "|---|---:|---|",
            *listed,
            "",
            f"Labels of train end before {done.splits['train_ends']}.",
            f"Validation begins at {done.splits['validation_begins']}.",
        ]
    )


def consensus(blended: Iterable[Consensus]) -> list[dict[str, Any]]:
    """One row per bar and voice: what was blended, and which vendor said what with which weight."""
    return [
        {
            "symbol": bar.symbol,
            "timeframe": str(bar.timeframe),
            "bar": bar.event_time.isoformat(),
            "method": bar.method,
            "decision": str(bar.decision),
            "score": bar.score,
            "vendor": voice.vendor,
            "deployment": deployment,
            "said": str(voice.decision),
            "confidence": voice.confidence,
            "weight": voice.weight,
            "value": voice.value,
            "without": str(voice.without) if voice.without else None,
        }
        for bar in blended
        for deployment, voice in bar.contributions.items()
    ]


def _span(done: Publication, role: str) -> str:
    return f"{done.splits[f'{role}_start']} to {done.splits[f'{role}_end']}"

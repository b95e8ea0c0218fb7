"""Consensus: blended per bar, with attribution kept; blended again whenever signals about the bar are admitted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Row

from mp_kit.contracts import Consensus, Contribution, Decision, Timeframe
from mp_kit.errors import NotFoundError
from mp_kit.scoring.consensus import METHOD, Voice, blend
from mp_kit.server.store import signals as rows
from mp_kit.server.store.engine import Tx

_CONTRIBUTIONS = TypeAdapter(dict[str, Contribution])


def refresh(tx: Tx, *, batches: int = 500) -> int:
    """Blends every bar that batches brought signals about since it was last blended.

    The batches stay locked until the transaction ends: two refreshes at once share the work, and one that dies
    leaves its batches to the next.

    Returns:
        Bars blended; 0 means that nothing is left to do.
    """
    bars = rows.unblended_bars(tx, batches)
    if not bars:
        return 0
    told = rows.voices(tx, bars)
    blended = [_blend_bar(list(group)) for _, group in groupby(told, key=_bar)]
    rows.put_consensus(tx, blended)
    return len(blended)


def latest(tx: Tx, symbol: str | None = None, timeframe: Timeframe | None = None) -> Consensus:
    """The newest blended bar.

    Raises:
        NotFoundError: Nothing was blended yet.
    """
    found = history(tx, symbol=symbol, timeframe=timeframe, limit=1)
    if not found:
        raise NotFoundError(f"There is no consensus on {symbol or 'any symbol'} {timeframe or ''}".rstrip() + " yet.")
    return found[0]


def history(
    tx: Tx,
    *,
    symbol: str | None = None,
    timeframe: Timeframe | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = 500,
) -> list[Consensus]:
    """Blended bars, newest first."""
    filters = {"symbol": symbol, "timeframe": timeframe, "since": since, "until": until, "limit": limit}
    return [to_wire(row) for row in rows.list_consensus(tx, filters)]


def to_wire(row: Row[Any]) -> Consensus:
    """A blended bar as the wire shows it."""
    return Consensus.model_validate(dict(row._mapping))  # noqa: SLF001 - SQLAlchemy's public way to a row's mapping


def _bar(row: Row[Any]) -> tuple[str, str, datetime]:
    return row.symbol, row.timeframe, row.event_time


def _blend_bar(voices: Sequence[Row[Any]]) -> dict[str, Any]:
    symbol, timeframe, event_time = _bar(voices[0])
    result = blend([Voice(row.deployment_id, Decision(row.decision), row.confidence) for row in voices])
    return {
        "event_time": event_time,
        "symbol": symbol,
        "timeframe": timeframe,
        "method": METHOD,
        "decision": result.decision.value,
        "confidence": result.confidence,
        "score": result.score,
        "signals": len(voices),
        "contributions": _contributions(voices, result.weights),
    }


def _contributions(voices: Iterable[Row[Any]], weights: Mapping[str, float]) -> str:
    told = {
        row.deployment_id: Contribution(
            decision=Decision(row.decision),
            weight=weights[row.deployment_id],
            confidence=row.confidence,
            vendor=row.vendor,
            vendor_id=row.vendor_id,
            deployment_id=row.deployment_id,
        )
        for row in voices
    }
    return _CONTRIBUTIONS.dump_json(told, exclude_none=True).decode()

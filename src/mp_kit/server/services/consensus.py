"""Consensus: blended per bar by each method, with attribution kept; again whenever signals about the bar are admitted.

1. One deployment is one voice per bar. Versions in shadow have none; a signal counts if the version that its deployment
   ran when it was received was in pilot or prod then, so that blending a bar again gives the same voices.
2. A late voice has no weight beside voices in time. Where all are late they are blended, and the bar is marked late.
3. Weights use only what was known before the bar.
4. What vendors' own consensus models say stands beside the marketplace's methods as ``vendor:`` and the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from mp_kit.contracts import Consensus, Timeframe
from mp_kit.errors import InvalidInputError, NotFoundError
from mp_kit.scoring.consensus import METHOD, Method
from mp_kit.server.services import audit, webhook_events
from mp_kit.server.services.consensus_bars import blended, vendors_own
from mp_kit.server.services.skills import Skills, nobody_known
from mp_kit.server.store import consensus as rows
from mp_kit.server.store.engine import Tx

VENDOR = "vendor:"
"""What the methods of vendors' models begin with."""


@dataclass(frozen=True)
class MethodInUse:
    """A method that blended anything.

    Args:
        method: Its name.
        bars: How many bars.
        newest: The newest of them.
        vendor: Whose model it is; None for the marketplace's.
        primary: Whether it is shown where nobody asks for another.
    """

    method: str
    bars: int
    newest: datetime | None
    vendor: str | None
    primary: bool


def refresh(tx: Tx, *, batches: int = 500, skills: Skills = nobody_known) -> int:
    """Blends every bar that batches brought signals about since it was last blended, and shows vendors' own.

    Refreshes wait for one another, so that none replaces a bar by what it saw before another admitted more. One that
    dies leaves its batches to the next.

    Args:
        tx: An open transaction.
        batches: Pushed batches of each kind at most.
        skills: What was known of deployments before a bar.

    Returns:
        Bars looked at; 0 means that nothing is left to do.
    """
    rows.lock(tx)
    bars = rows.changed_bars(tx, batches)
    if bars:
        told = rows.voices(tx, bars)
        for method in Method:
            rows.put(tx, blended(tx, told, method, skills))
    own, any_batch = rows.unshown(tx, batches)
    if own:
        rows.put(tx, vendors_own(own))
    webhook_events.consensus_updated(tx, [*bars, *own])
    return len(bars) + max(len(own), int(any_batch))


def latest(
    tx: Tx, symbol: str | None = None, timeframe: Timeframe | None = None, method: str | None = None
) -> Consensus:
    """The newest blended bar of a method, the operator's choice by default.

    Raises:
        NotFoundError: Nothing was blended yet.
        InvalidInputError: There is no such method.
    """
    found = history(tx, symbol=symbol, timeframe=timeframe, method=method, limit=1)
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
    method: str | None = None,
    limit: int = 500,
) -> list[Consensus]:
    """Blended bars, newest first; without ``method``, the operator's choice, and the house's own where that is silent.

    Raises:
        InvalidInputError: There is no such method.
    """
    filters: dict[str, Any] = {"symbol": symbol, "timeframe": timeframe, "since": since, "until": until, "limit": limit}
    found = rows.list_bars(tx, filters | _chosen(tx, method))
    names = rows.vendor_names(tx, {part["vendor_id"] for row in found for part in _attributed(row)})
    return [_to_wire(row, names) for row in found]


def primary(tx: Tx) -> str:
    """The method that is shown where nobody asks for another."""
    return rows.primary(tx) or METHOD


def methods(tx: Tx) -> list[MethodInUse]:
    """The methods that blended anything, and the primary one in any case."""
    shown = primary(tx)
    found = {
        row.method: MethodInUse(row.method, row.bars, row.newest, row.vendor, row.method == shown)
        for row in rows.methods(tx)
    }
    return list(({shown: MethodInUse(shown, 0, None, None, primary=True)} | found).values())


def choose(tx: Tx, method: str, *, actor: str) -> str:
    """Makes a method the primary one; choosing it again changes nothing.

    Returns:
        The one before.

    Raises:
        InvalidInputError: There is no such method.
        NotFoundError: No model of that name has a consensus that counts.
    """
    _check(method)
    before = primary(tx)
    if method.startswith(VENDOR) and method not in {row.method for row in rows.methods(tx)}:
        raise NotFoundError(
            f"No bar was blended by {method!r} yet.", hint="See what there is: mp admin consensus methods"
        )
    if method != before:
        rows.set_primary(tx, method)
        audit.record(tx, actor, "consensus.method", method, before=before)
    return before


def _attributed(row: Row[Any]) -> list[dict[str, Any]]:
    """The contributions of vendors; the house's own name none."""
    return [part for part in row.contributions.values() if part.get("vendor_id") is not None]


def _to_wire(row: Row[Any], names: Mapping[str, str]) -> Consensus:
    """A blended bar as the wire shows it, with the names that vendors have today: they are stored nowhere else."""
    for part in _attributed(row):
        part["vendor"] = names.get(part["vendor_id"])
    return Consensus.model_validate(dict(row._mapping))  # noqa: SLF001 - SQLAlchemy's public way to a row's mapping


def _chosen(tx: Tx, method: str | None) -> dict[str, Any]:
    if method is None:
        return {"method": primary(tx), "fallback": METHOD}
    _check(method)
    return {"method": method, "fallback": None}


def _check(method: str) -> None:
    if method not in set(Method) and not method.startswith(VENDOR):
        known = ", ".join(Method)
        raise InvalidInputError(
            f"There is no method {method[:80]!r}.",
            hint=f"It is one of {known}, or vendor: and a model's id.",
            details=[{"loc": ["query", "method"], "msg": "unknown method"}],
        )

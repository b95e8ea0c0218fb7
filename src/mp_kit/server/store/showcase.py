"""Queries about what the public may see of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, text

from mp_kit.server.store.engine import Tx
from mp_kit.server.store.queries import named


def find(tx: Tx, model_id: str, viewer: str | None) -> Row[Any] | None:
    """A model that the viewer may see."""
    return tx.execute(text(named("shown_model")), {"model_id": model_id, "viewer": viewer}).one_or_none()


def versions(tx: Tx, model_id: str, *, everything: bool) -> list[Row[Any]]:
    """Its versions with where they came from, newest first."""
    return list(tx.execute(text(named("shown_versions")), {"model_id": model_id, "everything": everything}))


def deployments(tx: Tx, model_id: str, *, everything: bool) -> list[Row[Any]]:
    """Its deployments with what they said in all."""
    return list(tx.execute(text(named("shown_deployments")), {"model_id": model_id, "everything": everything}))


def heard(tx: Tx, ids: Sequence[str]) -> list[Row[Any]]:
    """Which share of each hour of the last day was covered by signs of life."""
    return list(tx.execute(text(named("shown_hours")), {"ids": list(ids)}))


def spoken(tx: Tx, ids: Sequence[str]) -> list[Row[Any]]:
    """Signals by symbol and timeframe."""
    return list(tx.execute(text(named("shown_symbols")), {"ids": list(ids)}))


def days(tx: Tx, ids: Sequence[str]) -> list[Row[Any]]:
    """Signals by day of arrival, the last thirty."""
    return list(tx.execute(text(named("shown_days")), {"ids": list(ids)}))


def history(tx: Tx, model_id: str, *, everything: bool) -> list[Row[Any]]:
    """Changes of stage, newest first."""
    return list(tx.execute(text(named("shown_history")), {"model_id": model_id, "everything": everything}))


def newest_bars(tx: Tx, method: str, fallback: str, limit: int) -> list[Row[Any]]:
    """The newest blended bar of each symbol and timeframe."""
    given = {"method": method, "fallback": fallback, "limit": limit}
    return list(tx.execute(text(named("newest_bars")), given))


def course(tx: Tx, symbol: str, timeframe: str, method: str, fallback: str, limit: int) -> list[Row[Any]]:
    """Decisions and scores of a symbol's last bars, newest first."""
    given = {"symbol": symbol, "timeframe": timeframe, "method": method, "fallback": fallback, "limit": limit}
    return list(tx.execute(text(named("consensus_course")), given))


def catalog(tx: Tx, wanted: Mapping[str, Any]) -> list[Row[Any]]:
    """A page of the catalogue."""
    return list(tx.execute(text(named("catalog_page")), dict(wanted)))


def facets(tx: Tx) -> Row[Any]:
    """How many models there are, and the symbols and timeframes to choose from."""
    return tx.execute(text(named("catalog_facets"))).one()


def measured(tx: Tx, ids: Sequence[str]) -> list[Row[Any]]:
    """Sharpe ratio and hit rate of models, with their intervals."""
    return list(tx.execute(text(named("catalog_scores")), {"ids": list(ids)}))

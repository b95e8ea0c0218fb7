"""The catalogue, and a model's page."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Any
from urllib.parse import urlencode

from litestar import Response, get
from litestar.params import FromPath

from mp_kit.contracts import Stage, Task
from mp_kit.errors import NotFoundError
from mp_kit.server.console.charts import Bar
from mp_kit.server.console.pages import page
from mp_kit.server.console.shown import many
from mp_kit.server.console.uptime import heard
from mp_kit.server.console.visits import HOME, AnyRequest, TheHouse, TheVisit
from mp_kit.server.house import House
from mp_kit.server.services import showcase
from mp_kit.server.services.showcase import Shown, Wanted
from mp_kit.server.store.scope import of_vendor, within

_ON_A_PAGE = 50
_MAX_TEXT = 200
_MAX_OFFSET = 1_000_000
SORT_NAMES = {
    "sharpe": "Sharpe ratio",
    "hit_rate": "Hit rate",
    "signals": "Most signals",
    "newest": "Newest",
    "name": "Name",
}


@get(HOME, sync_to_thread=True, include_in_schema=False)
def catalog(house: TheHouse, visit: TheVisit, request: AnyRequest) -> Response[bytes]:
    """Models in pilot or prod, filtered and sorted; what a filter does not know finds nothing."""
    said = {name: value[:_MAX_TEXT].replace("\0", "") for name, value in request.query_params.items()}
    wanted = Wanted(text=said.get("q", ""), **{name: said.get(name, "") for name in asdict(Wanted()) if name != "text"})
    offset = _offset(request.query_params.get("offset", ""))
    with house.db.begin() as tx:
        found = showcase.search(tx, wanted, offset=offset, limit=_ON_A_PAGE)
    return page(
        visit,
        "catalog.html",
        title="Catalogue",
        found=found,
        wanted=wanted,
        offset=offset,
        limit=_ON_A_PAGE,
        query=_query(wanted),
        tasks=list(Task),
        stages=[Stage.PILOT, Stage.PROD],
        sorts=SORT_NAMES,
    )


@get("/marketplace/models/{model_id:str}", sync_to_thread=True, include_in_schema=False)
def model(house: TheHouse, visit: TheVisit, model_id: FromPath[str]) -> Response[bytes]:
    """A model with its scores, uptime and lineage; of its signals only counts."""
    shown = _find(house, visit.vendor_id, model_id)
    return page(
        visit,
        "model.html",
        title=shown.model.name,
        shown=shown,
        uptime={one.id: heard(shown.heard.get(one.id, ()), one.created_at) for one in shown.deployments},
        days=_days(shown),
        reliability=_reliability(shown),
    )


def _find(house: House, viewer: str | None, model_id: str) -> Shown:
    """The viewer's own model whole, any other one as everybody sees it."""
    if viewer is not None:
        with suppress(NotFoundError), within(of_vendor(viewer)), house.db.begin() as tx:
            return showcase.find(tx, model_id, viewer=viewer)
    with house.db.begin() as tx:
        return showcase.find(tx, model_id)


def _query(wanted: Wanted) -> Callable[..., str]:
    """Makes the query of another page of the same search."""
    asked = asdict(wanted)
    asked["q"] = asked.pop("text")

    def query(**changes: Any) -> str:
        return urlencode({name: value for name, value in {**asked, **changes}.items() if value})

    return query


def _days(shown: Shown) -> list[Bar]:
    return [Bar(f"{at:%m-%d}", float(signals)) for at, signals in shown.days] if any(n for _, n in shown.days) else []


def _reliability(shown: Shown) -> list[tuple[float, Bar]]:
    """Of the best score with enough data."""
    card = next((one.card for one in shown.scores if one.enough_data), None)
    return [
        (part.confidence, Bar(many(part.calls, "call"), part.hit_rate.value, part.hit_rate.low, part.hit_rate.high))
        for part in (card.reliability if card is not None else [])
    ]


def _offset(said: str) -> int:
    return min(int(said), _MAX_OFFSET) if said.isascii() and said.isdecimal() and len(said) < 9 else 0  # noqa: PLR2004 - digits


HANDLERS = [catalog, model]

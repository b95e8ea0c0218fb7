"""The leaderboard."""

from __future__ import annotations

from litestar import Response, get

from mp_kit.contracts import Timeframe
from mp_kit.server.console.pages import page
from mp_kit.server.console.visits import AnyRequest, TheHouse, TheVisit
from mp_kit.server.services import scores

PATH = "/marketplace/leaderboard"
_LIMIT = 50


@get(PATH, sync_to_thread=True, include_in_schema=False)
def leaderboard(house: TheHouse, visit: TheVisit, request: AnyRequest) -> Response[bytes]:
    """Deployments of models in pilot or prod; those without enough data after those with."""
    said = request.query_params.get("timeframe", "")
    timeframe = Timeframe(said) if said in set(Timeframe) else None
    with house.db.begin() as tx:
        entries = scores.leaderboard(tx, timeframe=timeframe, limit=_LIMIT)
    return page(
        visit,
        "leaderboard.html",
        title="Leaderboard",
        entries=entries,
        timeframe=timeframe,
        timeframes=[("", "All timeframes"), *((one.value, one.value) for one in Timeframe)],
        limit=_LIMIT,
    )


HANDLERS = [leaderboard]

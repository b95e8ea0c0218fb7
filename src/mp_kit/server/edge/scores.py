"""Scores: the public leaderboard, and a vendor's own."""

from __future__ import annotations

from typing import Annotated

from litestar import get
from litestar.params import FromQuery, QueryParameter

from mp_kit.contracts import Listing, Timeframe
from mp_kit.contracts.scores import LeaderboardEntry
from mp_kit.server.edge.auth import allow
from mp_kit.server.edge.parts import Caller, TheHouse, listing
from mp_kit.server.services import scores

_Limit = Annotated[int, QueryParameter(ge=1, le=1000)]


@get("/api/leaderboard", sync_to_thread=True, tags=["scores"])
def leaderboard(
    house: TheHouse, *, timeframe: FromQuery[Timeframe | None] = None, limit: _Limit = 100
) -> Listing[list[LeaderboardEntry]]:
    """Deployments of models in pilot or prod by deflated Sharpe ratio; what is unknown is null, with a reason."""
    with house.db.begin() as tx:
        return listing(scores.leaderboard(tx, timeframe=timeframe, limit=limit))


@get("/api/vendors/scores", guards=[allow("vendor")], sync_to_thread=True, tags=["scores"])
def own(
    house: TheHouse, who: Caller, *, timeframe: FromQuery[Timeframe | None] = None, limit: _Limit = 100
) -> Listing[list[LeaderboardEntry]]:
    """The vendor's own scores, those of models in shadow among them."""
    with house.db.begin() as tx:
        return listing(scores.leaderboard(tx, vendor_id=who.vendor_id or "", timeframe=timeframe, limit=limit))


HANDLERS = [leaderboard, own]

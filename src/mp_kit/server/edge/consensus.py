"""The consensus, for everybody."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from litestar import get
from litestar.params import FromQuery, QueryParameter

from mp_kit.contracts import Consensus, Listing, Success, Timeframe
from mp_kit.server.edge.parts import TheHouse, aware, listing, ok
from mp_kit.server.services import consensus


@get("/api/consensus/latest", sync_to_thread=True, tags=["consensus"])
def latest(
    house: TheHouse, symbol: FromQuery[str | None] = None, timeframe: FromQuery[Timeframe | None] = None
) -> Success[Consensus]:
    """The newest blended bar of a symbol and timeframe (of any, where one is left out), with who contributed what."""
    with house.db.begin() as tx:
        return ok(consensus.latest(tx, symbol, timeframe))


@get("/api/consensus", sync_to_thread=True, tags=["consensus"])
def history(
    house: TheHouse,
    symbol: FromQuery[str | None] = None,
    timeframe: FromQuery[Timeframe | None] = None,
    since: Annotated[datetime | None, QueryParameter(name="from")] = None,
    until: Annotated[datetime | None, QueryParameter(name="to")] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 100,
) -> Listing[list[Consensus]]:
    """Blended bars, newest first."""
    with house.db.begin() as tx:
        return listing(
            consensus.history(
                tx,
                symbol=symbol,
                timeframe=timeframe,
                since=aware("from", since),
                until=aware("to", until),
                limit=limit,
            )
        )

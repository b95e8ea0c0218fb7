"""The consensus, for everybody."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from litestar import get
from litestar.params import Parameter

from mp_kit.contracts import Consensus, Listing, Timeframe
from mp_kit.server.edge.parts import aware, listing
from mp_kit.server.house import House
from mp_kit.server.services import consensus


@get("/api/consensus/latest", sync_to_thread=True, tags=["consensus"])
def latest(house: House, symbol: str | None = None, timeframe: Timeframe | None = None) -> Listing[list[Consensus]]:
    """The newest blended bar of each symbol and timeframe, with who contributed what."""
    with house.db.begin() as tx:
        return listing(consensus.latest(tx, symbol, timeframe))


@get("/api/consensus", sync_to_thread=True, tags=["consensus"])
def history(
    house: House,
    symbol: str | None = None,
    timeframe: Timeframe | None = None,
    since: Annotated[datetime | None, Parameter(query="from")] = None,
    until: Annotated[datetime | None, Parameter(query="to")] = None,
    limit: Annotated[int, Parameter(ge=1, le=1000)] = 100,
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

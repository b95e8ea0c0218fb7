"""The consensus: read by everybody, and vendors' own models' stored."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from litestar import get, post
from litestar.datastructures import CacheControlHeader
from litestar.params import FromQuery, QueryParameter, RawBody

from mp_kit.contracts import IDEMPOTENCY_KEY_HEADER, Consensus, Listing, StoreResult, Success, Timeframe
from mp_kit.server.edge.auth import allow
from mp_kit.server.edge.bodies import read_json_rows
from mp_kit.server.edge.parts import AnyRequest, Caller, TheHouse, aware, content_type, listing, ok
from mp_kit.server.services import consensus, vendor_consensus

_FRESH = CacheControlHeader(public=True, max_age=5)
"""A bar is blended again whenever somebody speaks about it: nobody may keep an answer for long."""

_Method = Annotated[str | None, QueryParameter(max_length=160)]


@get("/api/consensus/latest", sync_to_thread=True, tags=["consensus"], cache_control=_FRESH)
def latest(
    house: TheHouse,
    symbol: FromQuery[str | None] = None,
    timeframe: FromQuery[Timeframe | None] = None,
    method: _Method = None,
) -> Success[Consensus]:
    """The newest blended bar of a symbol and timeframe (of any, where one is left out), with who contributed what."""
    with house.db.begin() as tx:
        return ok(consensus.latest(tx, symbol, timeframe, method))


@get("/api/consensus", sync_to_thread=True, tags=["consensus"], cache_control=_FRESH)
def history(
    house: TheHouse,
    *,
    symbol: FromQuery[str | None] = None,
    timeframe: FromQuery[Timeframe | None] = None,
    method: _Method = None,
    since: Annotated[datetime | None, QueryParameter(name="from")] = None,
    until: Annotated[datetime | None, QueryParameter(name="to")] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 100,
) -> Listing[list[Consensus]]:
    """Blended bars of a method, newest first; without one, of the operator's choice."""
    with house.db.begin() as tx:
        return listing(
            consensus.history(
                tx,
                symbol=symbol,
                timeframe=timeframe,
                method=method,
                since=aware("from", since),
                until=aware("to", until),
                limit=limit,
            )
        )


@post(
    "/api/consensus/store",
    guards=[allow("deployment", "operator", route="consensus:store")],
    status_code=200,
    sync_to_thread=True,
    tags=["consensus"],
)
def store(
    house: TheHouse, who: Caller, request: AnyRequest, body: RawBody, atomic: FromQuery[bool] = False
) -> Success[StoreResult]:
    """Stores what a vendor's consensus model says, exactly once, by the rules of signals; 200 only after the commit.

    The body is a list of ConsensusWrite as JSON, or one JSON document a line.
    """
    sent = vendor_consensus.Submission(
        items=read_json_rows(body, content_type(request)),
        body=body,
        key=request.headers.get(IDEMPOTENCY_KEY_HEADER.lower()),
        atomic=atomic,
    )
    grace = timedelta(seconds=house.settings.late_grace_seconds)
    with house.db.begin() as tx:
        return ok(vendor_consensus.store(tx, who, sent, grace=grace))


HANDLERS = [latest, history]
"""All but the store, whose bodies may be large."""

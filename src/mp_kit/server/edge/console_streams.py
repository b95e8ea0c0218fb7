"""A run's log as it grows, for the console's page of that run: the session in the cookie opens it."""

from __future__ import annotations

from typing import Any

from litestar import Response, get
from litestar.params import FromPath, FromQuery
from litestar.response import ServerSentEvent

from mp_kit.server.console.vendor.training import TRAINING
from mp_kit.server.console.visits import SESSION_COOKIE, open_visit, signed_in, vendor_of, visit_of
from mp_kit.server.edge import log_streams
from mp_kit.server.edge.limits import by_visit
from mp_kit.server.edge.parts import AnyRequest, TheHouse
from mp_kit.server.services import runs

_MAX_DIGITS = 12


@get(
    f"{TRAINING}/{{run_id:str}}/stream",
    guards=[open_visit, by_visit, signed_in],
    opt={"limit": "visit"},
    sync_to_thread=True,
    include_in_schema=False,
)
def follow(house: TheHouse, request: AnyRequest, run_id: FromPath[str], after: FromQuery[str] = "0") -> Response[Any]:
    """The log from line ``after`` on; a browser that lost the stream resumes by Last-Event-ID."""
    vendor_id, streams = vendor_of(visit_of(request)), request.app.state.streams
    streams.check(vendor_id)
    with house.db.begin() as tx:
        runs.log_head(tx, vendor_id, run_id)  # an unknown run is a 404, not a stream that dies
    said = request.headers.get("last-event-id", "") or after
    start = int(said) if said.isascii() and said.isdecimal() and len(said) <= _MAX_DIGITS else 0
    session = request.cookies.get(SESSION_COOKIE, "")
    return ServerSentEvent(log_streams.follow(house, streams, vendor_id, run_id, start, session))


HANDLERS = [follow]

"""Training runs: what vendors order and see, and what jobs report from inside."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Response, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.response import ServerSentEvent

from mp_kit.contracts import (
    IDEMPOTENCY_KEY_HEADER,
    ArtifactAnnouncement,
    ArtifactTarget,
    Listing,
    LogChunk,
    RunEnvironment,
    RunEvent,
    RunHeartbeat,
    RunLogs,
    RunOrders,
    RunOutcome,
    RunStatus,
    Success,
    TrainingRequest,
    TrainingRun,
    check_idempotency_key,
)
from mp_kit.server import clock
from mp_kit.server.edge import log_streams
from mp_kit.server.edge.auth import allow, bearer, own_run
from mp_kit.server.edge.parts import AnyRequest, Caller, TheHouse, listing, ok, require_json
from mp_kit.server.house import House
from mp_kit.server.services import runs, runs_environment, runs_reports
from mp_kit.server.services.tokens import Principal

RUN = "/api/training/runs/{run_id:str}"
_MAX_ID_CHARS = 12
_OPTIONS: dict[str, Any] = {"sync_to_thread": True, "status_code": 200, "tags": ["training"]}


def _view(house: House) -> runs.View:
    return runs.View(base_url=house.settings.base_url, store=house.store)


@post("/api/training/runs", guards=[allow("vendor")], before_request=require_json, **_OPTIONS)
def create(house: TheHouse, who: Caller, request: AnyRequest, data: JSONBody[TrainingRequest]) -> Success[TrainingRun]:
    """Orders a training run. The same idempotency key and body give the same run again."""
    key = check_idempotency_key(request.headers.get(IDEMPOTENCY_KEY_HEADER.lower()))
    with house.db.begin() as tx:
        run = runs.create(
            tx,
            who.vendor_id or "",
            data,
            idempotency_key=key,
            now=clock.now(),
            providers=house.providers,
            view=_view(house),
        )
    return ok(run)


@get("/api/training/runs", guards=[allow("vendor")], **_OPTIONS)
def list_own(
    house: TheHouse,
    who: Caller,
    status: FromQuery[RunStatus | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 50,
    cursor: FromQuery[str | None] = None,
) -> Listing[list[TrainingRun]]:
    """The vendor's runs, newest first."""
    with house.db.begin() as tx:
        found, following = runs.list_runs(
            tx, who.vendor_id or "", status=status, limit=limit, cursor=cursor, view=_view(house)
        )
    return listing(found, following)


@get(RUN, guards=[allow("vendor")], **_OPTIONS)
def get_one(house: TheHouse, who: Caller, run_id: FromPath[str]) -> Success[TrainingRun]:
    """A run of the vendor's."""
    with house.db.begin() as tx:
        return ok(runs.get(tx, who.vendor_id or "", run_id, view=_view(house)))


@post(f"{RUN}/cancel", guards=[allow("vendor")], **_OPTIONS)
def cancel(house: TheHouse, who: Caller, run_id: FromPath[str]) -> Success[TrainingRun]:
    """Ends a run; may be repeated."""
    with house.db.begin() as tx:
        return ok(runs.cancel(tx, who.vendor_id or "", run_id, now=clock.now(), view=_view(house)))


@post(f"{RUN}/environment", guards=[allow("vendor")], **_OPTIONS)
def environment(house: TheHouse, who: Caller, run_id: FromPath[str]) -> Success[RunEnvironment]:
    """What a byoc run's job needs in its environment, with a fresh run token; each handing out is on record."""
    with house.db.begin() as tx:
        made = runs_environment.hand_out(
            tx,
            who.vendor_id or "",
            run_id,
            store=house.store,
            mint=house.tokens.run_token,
            api_url=house.settings.base_url,
            vault=house.vault,
            now=clock.now(),
        )
    return ok(made)


@get(f"{RUN}/logs", guards=[allow("vendor")], **_OPTIONS)
def logs(
    house: TheHouse,
    who: Caller,
    request: AnyRequest,
    run_id: FromPath[str],
    after: Annotated[int, QueryParameter(ge=0)] = 0,
) -> Response[Any]:
    """A page of the run's log; with ``Accept: text/event-stream`` a live stream that resumes by Last-Event-ID."""
    if "text/event-stream" not in request.headers.get("accept", ""):
        return Response(ok(_read_logs(house, who, run_id, after)))
    vendor_id, streams = who.vendor_id or "", request.app.state.streams
    streams.check(vendor_id)
    with house.db.begin() as tx:
        runs.log_head(tx, vendor_id, run_id)  # an unknown run is a 404, not a stream that dies
    last = request.headers.get("last-event-id", "")[:_MAX_ID_CHARS]
    start = int(last) if last.isascii() and last.isdigit() else after
    return ServerSentEvent(log_streams.follow(house, streams, vendor_id, run_id, start, bearer(request)))


@get(f"{RUN}/events", guards=[allow("vendor")], **_OPTIONS)
def events(house: TheHouse, who: Caller, run_id: FromPath[str]) -> Success[list[RunEvent]]:
    """The run's history, oldest first: its arrows of docs/runs.md, and what else happened to it."""
    with house.db.begin() as tx:
        return ok(runs.events(tx, who.vendor_id or "", run_id))


@post(f"{RUN}/heartbeat", guards=[allow("run")], before_request=require_json, **_OPTIONS)
def heartbeat(house: TheHouse, who: Caller, run_id: FromPath[str], data: JSONBody[RunHeartbeat]) -> Success[RunOrders]:
    """Progress from inside the job; the answer says whether to go on."""
    own_run(who, run_id)
    with house.db.begin() as tx:
        return ok(runs_reports.heartbeat(tx, run_id, data, now=clock.now(), store=house.store, attempt=who.attempt))


@post(f"{RUN}/logs", guards=[allow("run")], before_request=require_json, **_OPTIONS)
def append_logs(
    house: TheHouse, who: Caller, run_id: FromPath[str], data: JSONBody[LogChunk]
) -> Success[dict[str, int]]:
    """Numbered log lines, stored exactly once; ``next`` is the number wanted next."""
    own_run(who, run_id)
    with house.db.begin() as tx:
        return ok({"next": runs_reports.append_logs(tx, run_id, data, now=clock.now(), attempt=who.attempt)})


@post(f"{RUN}/artifacts", guards=[allow("run")], before_request=require_json, **_OPTIONS)
def register_artifact(
    house: TheHouse, who: Caller, run_id: FromPath[str], data: JSONBody[ArtifactAnnouncement]
) -> Success[ArtifactTarget]:
    """Where to PUT an artifact's bytes, in parts where they are many; asked again, what is still missing."""
    own_run(who, run_id)
    with house.db.begin() as tx:
        now = clock.now()
        return ok(runs_reports.register_artifact(tx, run_id, data, store=house.store, now=now, attempt=who.attempt))


@post(f"{RUN}/finish", guards=[allow("run")], before_request=require_json, **_OPTIONS)
def finish(house: TheHouse, who: Caller, run_id: FromPath[str], data: JSONBody[RunOutcome]) -> Success[dict[str, str]]:
    """The job's outcome; a second one changes nothing."""
    own_run(who, run_id)
    with house.db.begin() as tx:
        runs_reports.finish(tx, run_id, data, store=house.store, now=clock.now(), attempt=who.attempt)
    return ok({"run_id": run_id})


def _read_logs(house: House, who: Principal, run_id: str, after: int) -> RunLogs:
    with house.db.begin() as tx:
        return runs.logs(tx, who.vendor_id or "", run_id, after=after, view=_view(house))


HANDLERS = [
    create,
    list_own,
    get_one,
    cancel,
    environment,
    logs,
    events,
    heartbeat,
    append_logs,
    register_artifact,
    finish,
]

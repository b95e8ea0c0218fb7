"""The vendor's deployments: their list, and each one's page with its signs of life, its tokens, and its server.

1. A token is on the page that made it and on no later one; the servers' own tokens are on none.
2. A server's log is asked for by its own link, while no transaction is open: its provider may be slow, or down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from litestar import Response, get, post
from litestar.params import FromPath
from pydantic import ValidationError

from mp_kit.contracts import DeploymentChange, HostingState, TokenRequest
from mp_kit.errors import ConflictError, InvalidInputError, MarketplaceError, RouteNotFoundError
from mp_kit.server.console.pages import page, redirect
from mp_kit.server.console.shown import figure, named
from mp_kit.server.console.uptime import heard
from mp_kit.server.console.vendor.forms import blamed, faults, typed
from mp_kit.server.console.visits import AnyRequest, TheForm, TheHouse, TheVisit, Visit, signed_in, vendor_of
from mp_kit.server.house import House
from mp_kit.server.redaction import redact
from mp_kit.server.services import deployments as service
from mp_kit.server.services import desk, hostings

DEPLOYMENTS = "/marketplace/vendor/deployments"
STATES: Mapping[HostingState, str] = {
    HostingState.QUEUED: "It is to be launched.",
    HostingState.LAUNCHING: "Its provider was asked for it, and has not shown it yet.",
    HostingState.RUNNING: "It is there.",
    HostingState.ENDING: "It was asked to end, and is not gone yet.",
    HostingState.STOPPED: "It is gone, and can be started again.",
    HostingState.FAILED: "It was given up. Mend what is said below, then start it again.",
    HostingState.REMOVED: "It is gone for good.",
}
"""The states of docs/deployments.md, for people."""

_ONE = f"{DEPLOYMENTS}/{{deployment_id:str}}"
_LINES = 200
_COLUMNS = 9
_NAME_CHARS = 60
_CHARS = 2_000
_LIMITS = ("workers_min", "workers_max")
_LIMIT_PLACES = {name: name for name in _LIMITS} | {"": "workers_max"}
_VERBS = {
    "start": ("running", "It is being started."),
    "stop": ("stopped", "It is being stopped."),
    "remove": ("removed", "It is being removed."),
}
_OPTIONS: dict[str, Any] = {
    "guards": [signed_in], "sync_to_thread": True, "include_in_schema": False, "status_code": 200,
}  # fmt: skip


@get(DEPLOYMENTS, **_OPTIONS)
def show(house: TheHouse, visit: TheVisit) -> Response[bytes]:
    """The vendor's deployments."""
    with house.db.begin() as tx:
        shown = desk.overview(tx, vendor_of(visit))
    names = {model.id: model.name for model in shown.models}
    return page(visit, "vendor/deployments.html", title="Deployments", deployments=shown.deployments, names=names)


@get(_ONE, **_OPTIONS)
def one(house: TheHouse, visit: TheVisit, request: AnyRequest, deployment_id: FromPath[str]) -> Response[bytes]:
    """A deployment with its last day; with ``?log=on`` what its server wrote last."""
    return deployment_page(house, visit, deployment_id, with_log="log" in request.query_params)


@post(f"{_ONE}/tokens", **_OPTIONS)
def issue(house: TheHouse, visit: TheVisit, deployment_id: FromPath[str]) -> Response[bytes]:
    """A further token, on this page alone."""
    with house.db.begin() as tx:
        made = service.issue_token(tx, house.tokens, vendor_of(visit), deployment_id, actor=visit.actor)
    return deployment_page(house, visit, deployment_id, token=made.infra_token)


@post(f"{_ONE}/tokens/rotate", **_OPTIONS)
def rotate(house: TheHouse, visit: TheVisit, form: TheForm, deployment_id: FromPath[str]) -> Response[bytes]:
    """A token in place of the earlier ones, which live on for the overlap."""
    said = typed(form, ("overlap",))
    try:
        wanted = TokenRequest.model_validate({"rotate": True, "overlap_seconds": said["overlap"].strip() or 0})
    except ValidationError as error:
        errors = faults(error, {"": "overlap"})
        return deployment_page(house, visit, deployment_id, typed=said, errors=errors, status=422)
    overlap = timedelta(seconds=wanted.overlap_seconds)
    with house.db.begin() as tx:
        made = service.issue_token(
            tx, house.tokens, vendor_of(visit), deployment_id, actor=visit.actor, rotate=True, overlap=overlap
        )
    return deployment_page(house, visit, deployment_id, token=made.infra_token, typed=said)


@post(f"{_ONE}/tokens/revoke", **_OPTIONS)
def revoke(house: TheHouse, visit: TheVisit, deployment_id: FromPath[str]) -> Response[bytes]:
    """Ends every token but the server's own."""
    with house.db.begin() as tx:
        ended = service.revoke_tokens(tx, vendor_of(visit), deployment_id, actor=visit.actor)
    return redirect(visit, path_of(deployment_id), say=f"{ended} token{'' if ended == 1 else 's'} ended.")


@post(f"{_ONE}/server/scale", **_OPTIONS)
def scale(house: TheHouse, visit: TheVisit, form: TheForm, deployment_id: FromPath[str]) -> Response[bytes]:
    """Sets the fewest and the most workers."""
    said = typed(form, _LIMITS)
    try:
        wanted = DeploymentChange.model_validate({name: text.strip() for name, text in said.items() if text.strip()})
        with house.db.begin() as tx:
            hostings.change(tx, vendor_of(visit), deployment_id, wanted, actor=visit.actor)
    except ValidationError as error:
        errors = faults(error, _LIMIT_PLACES)
        return deployment_page(house, visit, deployment_id, typed=said, errors=errors, status=422)
    except (InvalidInputError, ConflictError) as error:
        errors = blamed(error, _LIMIT_PLACES)
        return deployment_page(house, visit, deployment_id, typed=said, errors=errors, status=error.http)
    return redirect(visit, path_of(deployment_id), say="Its provider is told at the keeper's next look.")


@post(f"{_ONE}/server/{{verb:str}}", **_OPTIONS)
def change(house: TheHouse, visit: TheVisit, deployment_id: FromPath[str], verb: FromPath[str]) -> Response[bytes]:
    """Starts, stops or removes the server; the keeper makes it so."""
    if verb not in _VERBS:
        raise RouteNotFoundError("A server is started, stopped, scaled or removed.")
    wanted, say = _VERBS[verb]
    try:
        with house.db.begin() as tx:
            order = DeploymentChange.model_validate({"wanted": wanted})
            hostings.change(tx, vendor_of(visit), deployment_id, order, actor=visit.actor)
    except ConflictError as error:
        return deployment_page(house, visit, deployment_id, problem=error.message, status=error.http)
    return redirect(visit, DEPLOYMENTS if verb == "remove" else path_of(deployment_id), say=say)


def path_of(deployment_id: str) -> str:
    """Where a deployment's page is."""
    return f"{DEPLOYMENTS}/{quote(deployment_id, safe='')}"


def deployment_page(
    house: House, visit: Visit, deployment_id: str, *, status: int = 200, with_log: bool = False, **more: Any
) -> Response[bytes]:
    """A deployment's page.

    Args:
        house: The marketplace.
        visit: Who looks.
        deployment_id: At which.
        status: HTTP status.
        with_log: Ask its provider for the last lines too.
        **more: What a form left: ``token``, ``typed``, ``errors``, ``problem``.

    Raises:
        NotFoundError: The deployment is not the vendor's.
    """
    with house.db.begin() as tx:
        shown = desk.deployment(tx, vendor_of(visit), deployment_id)
    facts: dict[str, Any] = {"token": "", "typed": {}, "errors": {}, "problem": "", **more}
    hosting = shown.deployment.hosting
    asked = with_log and hosting is not None
    facts |= _log(house, visit, deployment_id) if asked else {"log": None, "log_problem": ""}
    return page(
        visit,
        "vendor/deployment.html",
        status=status,
        title=shown.deployment.name,
        shown=shown,
        columns=_columns(shown.beats),
        uptime=heard(shown.hours, shown.deployment.created_at) if shown.beats else None,
        state=STATES[hosting.state] if hosting is not None else "",
        **facts,
    )


def _columns(beats: Sequence[Any]) -> Sequence[tuple[str, Sequence[Any]]]:
    """The figures of heartbeats, one column for each that any of them has; of the rest the last column tells.

    Args:
        beats: With ``metrics``, which a server may fill with whatever it likes.
    """
    told = [_flat(beat.metrics) for beat in beats]
    names = sorted({name for one in told for name in one})
    columns: list[tuple[str, Sequence[Any]]] = [(name, [one.get(name) for one in told]) for name in names[:_COLUMNS]]
    if len(names) > _COLUMNS:
        rest = [", ".join(f"{named(n)} {figure(one[n], n)}" for n in names[_COLUMNS:] if n in one) for one in told]
        columns.append(("more", [said or None for said in rest]))
    return columns


def _flat(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Figures that are known, those within another beside it."""
    found: dict[str, Any] = {}
    for name, value in metrics.items():
        inner = {f"{name}_{key}": part for key, part in value.items()} if isinstance(value, Mapping) else {name: value}
        found |= {key[:_NAME_CHARS]: part for key, part in inner.items() if part is not None}
    return found


def _log(house: House, visit: Visit, deployment_id: str) -> dict[str, Any]:
    """The last lines, or why there are none: a provider that does not answer spoils no page."""
    try:
        lines = hostings.logs(house.db.begin, house.hosts, vendor_of(visit), deployment_id, _LINES)
    except MarketplaceError as error:
        return {"log": None, "log_problem": f"Its log cannot be had at the moment. {error.message}"}
    return {"log": [redact(line)[:_CHARS] for line in lines[-_LINES:]], "log_problem": ""}


HANDLERS = [show, one, issue, rotate, revoke, scale, change]

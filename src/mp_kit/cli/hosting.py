"""``mp deploy`` and ``mp deployments``: models on servers that the marketplace runs for their vendor."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mp_kit.cli.output import DryRun, Json, RoundOption, emit, listed, say, table
from mp_kit.cli.session import session
from mp_kit.errors import (
    AuthError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    SetupError,
    TimeoutExceededError,
    UnavailableError,
)

if TYPE_CHECKING:
    from mp_kit.client.deployments import DeploymentView
    from mp_kit.client.marketplace import Marketplace
    from mp_kit.client.models import OwnModel
    from mp_kit.errors import MarketplaceError
    from mp_kit.serving.caller import Answer

app = typer.Typer(help="Deployments.", no_args_is_help=True, rich_markup_mode=None)

DeploymentId = Annotated[str, typer.Argument(help="Id or name of the deployment.")]
_ID = "dep_"  # a list shows the newest only: what looks like an id may be an older one
_POLL_SECONDS = 1.0
_COLUMNS = ("deployment_id", "name", "provider", "stands")
_POLL_COLUMNS = ("event_time", "symbol", "timeframe", "outcome", "late", "http_status", "milliseconds", "reason")
_BARS = 700  # what the round's longest indicator needs, and some
_RUNPOD_KEY = "RUNPOD_API_KEY"


def deploy(  # noqa: PLR0913, PLR0917 - a command has as many options as its users need
    model: Annotated[
        str | None, typer.Option("--model", help="MODEL or MODEL:VERSION, by name or id; your only model by default.")
    ] = None,
    provider: Annotated[str, typer.Option("--provider", help="runpod (your account) or local.")] = "runpod",
    kind: Annotated[
        str, typer.Option("--kind", help="On RunPod: endpoint (workers by request) or pod (one, at all hours).")
    ] = "endpoint",
    max_price: Annotated[
        float | None, typer.Option("--max-price", help="US dollars per hour that a pod may cost; a pod needs it.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="The deployment's name; the model's by default.")] = None,
    image: Annotated[str | None, typer.Option("--image", help="Your own image, on RunPod.")] = None,
    gpu: Annotated[str | None, typer.Option("--gpu", help="A GPU, on RunPod; CPUs alone by default.")] = None,
    cpu: Annotated[int, typer.Option("--cpu", help="Virtual CPUs.", min=1)] = 2,
    memory: Annotated[int, typer.Option("--memory", help="GB of a pod without a GPU.", min=1)] = 4,
    workers_min: Annotated[int, typer.Option("--min", help="Fewest workers; 0 lets an endpoint sleep.")] = 0,
    workers_max: Annotated[int, typer.Option("--max", help="Most workers.")] = 1,
    timeout: Annotated[int, typer.Option("--timeout", help="Longest answer of an endpoint, in seconds.")] = 120,
    idle: Annotated[int, typer.Option("--idle", help="Seconds after which an idle worker goes.")] = 60,
    poll: Annotated[bool, typer.Option("--poll", help="Have it asked at each bar's close.")] = False,
    wait: Annotated[float, typer.Option("--wait", help="Seconds to wait until it runs; 0 does not.", min=0)] = 120.0,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Launches a model's server, on your RunPod account or on the marketplace's machine."""
    market = session()
    model_name, _, version = (model or "").partition(":")
    known = _model(market, model_name, image)
    order: dict[str, Any] = {"provider": provider, "cpu": cpu, "memory": memory, "gpu": gpu, "image": image}
    order |= {"kind": kind, "max_price_per_hour": max_price}
    order |= {"workers_min": workers_min, "workers_max": workers_max, "timeout_seconds": timeout, "idle_seconds": idle}
    order |= {"model_id": known.id if known else None, "version": version or None, "poll": poll or None}
    called = name or (known.name if known else "default")
    if dry_run:
        emit({"name": called, **order}, as_json=json, text=f"would deploy {model or image} as {called} on {provider}")
        return
    made = market.deployments.create(called, **order)
    say(f"{made.deployment_id} is ordered; its own token is the server's, yours comes by mp link-infra.")
    seen = _until_running(market, made.deployment_id, wait) if wait else made.model_copy(update={"infra_token": None})
    emit(seen, as_json=json, text=f"{seen.deployment_id}\n{seen.words}\n{seen.endpoint or ''}".rstrip())


def _model(market: Marketplace, name: str, image: str | None) -> OwnModel | None:
    """The named model; without a name the project's own or the only one, unless an image brings its own."""
    if name:
        return market.models.find(name)
    if image is not None:
        return None
    found = list(market.models.list())
    if not found:
        raise InvalidInputError(
            "You have no model to deploy yet.",
            hint="Train and register one: mp train start --wait, mp register --name NAME --run-id RUN.",
        )
    here = [one for one in found if one.name == Path.cwd().name]
    if len(found) > 1 and not here:
        names = ", ".join(one.name for one in found[:5])
        hint = "Name one: mp deploy --model NAME. In a project's folder, the model of the folder's name is taken."
        raise InvalidInputError(f"You have {len(found)} models: {names}.", hint=hint)
    return (here or found)[0]


def _until_running(market: Marketplace, deployment_id: str, seconds: float) -> DeploymentView:
    until, told = time.monotonic() + seconds, ""
    while True:
        seen = market.deployments.get(deployment_id)
        state = seen.hosting.state.value if seen.hosting else "running"
        if state == "failed":
            raise ConflictError(f"{deployment_id} failed: {seen.hosting.failure if seen.hosting else ''}")
        asleep = seen.hosting is not None and seen.hosting.workers_min == 0 and seen.hosting.kind == "endpoint"
        if state == "running" and (asleep or seen.status.value == "ready"):
            return seen
        if seen.words and seen.words != told:
            told = seen.words
            say(told)
        if time.monotonic() > until:
            raise TimeoutExceededError(
                f"{deployment_id} is not ready after {seconds:g} s: {seen.words}",
                hint=f"See: mp deployments status {deployment_id}; mp deployments logs {deployment_id}",
            )
        time.sleep(_POLL_SECONDS)


def find(market: Marketplace, wanted: str) -> str:
    """The id of a deployment that was named by id or name.

    Raises:
        ConflictError: Several bear the name.
        NotFoundError: None does, and it is no id.
    """
    named = [one.deployment_id for one in market.deployments.list() if wanted in {one.deployment_id, one.name}]
    if len(named) > 1:
        raise ConflictError(f"{len(named)} deployments are named {wanted!r}.", hint="Name one by its id.")
    if not named and not wanted.startswith(_ID):
        raise NotFoundError(f"You have no deployment {wanted!r}.", hint="See yours: mp deployments list")
    return named[0] if named else wanted


@app.command("list")
def list_(json: Json = False) -> None:
    """Your deployments, and how they stand."""
    found = session().deployments.list()
    rows = [one.model_dump(mode="json", exclude={"infra_token"}) | {"stands": one.words} for one in found]
    emit(rows, as_json=json, text=lambda: table(rows, _COLUMNS))


@app.command("status")
def status(deployment: DeploymentId, json: Json = False) -> None:
    """How a deployment stands, in words."""
    market = session()
    seen = market.deployments.get(find(market, deployment))
    emit(seen, as_json=json, text=lambda: repr(seen))


@app.command("logs")
def logs(
    deployment: DeploymentId,
    tail: Annotated[int, typer.Option("--tail", help="How many lines.", min=1, max=5000)] = 100,
    json: Json = False,
) -> None:
    """The last lines of its server."""
    market = session()
    lines = market.deployments.logs(find(market, deployment), tail)
    emit({"lines": lines}, as_json=json, text="\n".join(lines))


@app.command("poll")
def poll(
    deployment: DeploymentId,
    off: Annotated[bool, typer.Option("--off", help="Ask it no more.")] = False,
    url: Annotated[str | None, typer.Option("--url", help="Where its /infer answers, https, if you run it.")] = None,
    symbol: Annotated[
        list[str] | None,
        typer.Option("--symbol", help="Ask about these alone; repeatable, or comma-separated; all: every one."),
    ] = None,
    timeframe: Annotated[
        list[str] | None, typer.Option("--timeframe", help="Ask about bars of these lengths alone; likewise.")
    ] = None,
    json: Json = False,
) -> None:
    """Has the marketplace ask it at each bar's close, or not any more; asking anew closes an open breaker."""
    bounds = {"poll_symbols": listed(symbol), "poll_timeframes": listed(timeframe)}
    chosen = {name: [] if given == ["all"] else given for name, given in bounds.items() if given}
    _change(deployment, json, poll=not off, infer_url=url, **chosen)


@app.command("polls")
def polls(
    deployment: DeploymentId,
    limit: Annotated[int, typer.Option("--limit", help="How many.", min=1, max=1000)] = 20,
    json: Json = False,
) -> None:
    """The bars that the marketplace asked it about, and what became of each call."""
    market = session()
    found = market.deployments.polls(find(market, deployment), limit)
    rows = [one.model_dump(mode="json") for one in found]
    emit(rows, as_json=json, text=lambda: table(rows, _POLL_COLUMNS))


@app.command("ask")
def ask(
    deployment: DeploymentId,
    symbol: Annotated[str, typer.Option("--symbol", help="Whose bars it gets: those of the round's live window.")],
    round: RoundOption = "current",  # noqa: A002 - the option's name
    bearer_env: Annotated[
        str | None, typer.Option("--bearer-env", help="Variable with the host's token; RUNPOD_API_KEY on RunPod.")
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds; a sleeping worker starts first.")] = 120.0,
    json: Json = False,
) -> None:
    """Asks its server with the newest bars, as a trader would; its answer becomes a signal of the newest bar."""
    from mp_kit.cli.fitting import fitting_round
    from mp_kit.serving.caller import Caller
    from mp_kit.serving.window import window_of_round

    market = session()
    seen = market.deployments.get(find(market, deployment))
    if seen.endpoint is None:
        raise ConflictError(
            f"{seen.name} has no address that the marketplace knows: {seen.words}",
            hint="It asks servers that it runs: mp deploy. Your own: POST bars to its /infer.",
        )
    bearer = _pass(market, seen) if _is_pod(seen) and not bearer_env else _bearer(bearer_env or _host_key(seen))
    window = window_of_round(market, fitting_round(market, seen, round), [symbol])
    question = {"symbol": symbol, "timeframe": window.timeframe, "ohlcv": window.rows(symbol, _BARS)}
    caller = Caller(seen.endpoint, seconds=timeout, bearer=bearer, dry_run=False)
    try:
        answer = caller.infer(question)
    finally:
        caller.close()
    if answer.status != 200:  # noqa: PLR2004 - HTTP's
        raise _refused(seen.name, answer)
    emit(answer.document, as_json=json, text=answer.text)
    say(f"Its signal: mp signals list --deployment {seen.deployment_id}")


def _is_pod(seen: DeploymentView) -> bool:
    return seen.hosting is not None and seen.hosting.kind == "pod"


def _host_key(seen: DeploymentView) -> str | None:
    return _RUNPOD_KEY if seen.provider == "runpod" else None


def _pass(market: Marketplace, seen: DeploymentView) -> str:
    """A pod's address is anybody's: its server asks for a token of the deployment."""
    from mp_kit.cli.deployments import linked  # here: that module takes names of deployments from this one

    _, token = linked(market, seen.deployment_id)
    if token is None:
        raise SetupError(
            f"{seen.name} asks its callers for a token of the deployment, and none is linked here.",
            hint=f"mp link-infra --deployment {seen.name}",
        )
    return token.get_secret_value()


def _bearer(variable: str | None) -> str | None:
    if variable is None:
        return None
    found = os.environ.get(variable, "")
    if not found:
        raise SetupError(
            f"{variable} is not set, and the server's host asks for a token.", hint=f"Export {variable}, and try again."
        )
    return found


def _refused(name: str, answer: Answer) -> MarketplaceError:
    said = f"{name} answered {answer.told}"
    if answer.status in {401, 403}:
        return AuthError(said, hint="Its host does not take this token.")
    if answer.is_refusal:
        return InvalidInputError(said)
    return UnavailableError(said, hint=f"See: mp deployments logs {name}")


@app.command("scale")
def scale(
    deployment: DeploymentId,
    workers_min: Annotated[int | None, typer.Option("--min", help="Fewest workers.", min=0)] = None,
    workers_max: Annotated[int | None, typer.Option("--max", help="Most workers.", min=1)] = None,
    json: Json = False,
) -> None:
    """Sets its number of workers."""
    _change(deployment, json, workers_min=workers_min, workers_max=workers_max)


@app.command("start")
def start(deployment: DeploymentId, json: Json = False) -> None:
    """Starts one that was stopped, or has failed."""
    _change(deployment, json, wanted="running")


@app.command("stop")
def stop(deployment: DeploymentId, json: Json = False) -> None:
    """Ends its server, and keeps the deployment."""
    _change(deployment, json, wanted="stopped")


@app.command("remove")
def remove(deployment: DeploymentId, json: Json = False) -> None:
    """Ends its server for good."""
    _change(deployment, json, wanted="removed")


def _change(deployment: str, json: bool, **change: Any) -> None:
    market = session()
    seen = market.deployments.change(find(market, deployment), **change)
    wanted = change.get("wanted")
    ordered = f"{seen.name} is to be {wanted}. Now: " if wanted else ""  # the words tell what is, not what will be
    emit(seen, as_json=json, text=lambda: f"{ordered}{seen.words}")

"""``mp deploy`` and ``mp deployments``: models on servers that the marketplace runs for their vendor."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mp_kit.cli.output import DryRun, Json, emit, say, table
from mp_kit.cli.session import session
from mp_kit.errors import ConflictError, TimeoutExceededError

if TYPE_CHECKING:
    from mp_kit.client.deployments import DeploymentView
    from mp_kit.client.marketplace import Marketplace

app = typer.Typer(help="Deployments.", no_args_is_help=True, rich_markup_mode=None)

DeploymentId = Annotated[str, typer.Argument(help="Id or name of the deployment.")]
_POLL_SECONDS = 1.0
_COLUMNS = ("deployment_id", "name", "provider", "stands")
_POLL_COLUMNS = ("event_time", "symbol", "timeframe", "outcome", "late", "http_status", "milliseconds", "reason")


def deploy(  # noqa: PLR0913, PLR0917 - a command has as many options as its users need
    model: Annotated[str | None, typer.Option("--model", help="MODEL or MODEL:VERSION, by name or id.")] = None,
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
    known = market.models.find(model_name) if model_name else None
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
    """
    named = [one.deployment_id for one in market.deployments.list() if wanted in {one.deployment_id, one.name}]
    if len(named) > 1:
        raise ConflictError(f"{len(named)} deployments are named {wanted!r}.", hint="Name one by its id.")
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
    emit(seen, as_json=json, text=lambda: f"{seen.words}\n{seen!r}")


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
        list[str] | None, typer.Option("--symbol", help="Ask about this symbol alone; repeatable; all: every one.")
    ] = None,
    timeframe: Annotated[
        list[str] | None, typer.Option("--timeframe", help="Ask about bars of this length alone; repeatable; all.")
    ] = None,
    json: Json = False,
) -> None:
    """Has the marketplace ask it at each bar's close, or not any more; asking anew closes an open breaker."""
    bounds = {"poll_symbols": symbol, "poll_timeframes": timeframe}
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
    emit(seen, as_json=json, text=lambda: str(seen.words))

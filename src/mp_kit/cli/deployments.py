"""``mp link-infra`` and ``mp heartbeat``: where a model runs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mp_kit.cli.hosting import find
from mp_kit.cli.output import DryRun, IdempotencyKey, Json, emit, pairs, say
from mp_kit.cli.session import session
from mp_kit.errors import InvalidInputError, NetworkError, SetupError, TimeoutExceededError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import SecretStr

    from mp_kit.client.deployments import DeploymentView
    from mp_kit.client.marketplace import Marketplace

_DEFAULT = "default"
DeploymentOption = Annotated[
    str | None, typer.Option("--deployment", help="Id or name of the deployment; the linked one by default.")
]


def link_infra(  # noqa: PLR0913, PLR0917 - a command has as many options as its users need
    deployment: Annotated[str | None, typer.Option(help="An existing deployment's id or name.")] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of a new one; without it the only one that you have, else 'default'.")
    ] = None,
    model_id: Annotated[str | None, typer.Option("--model-id", help="The model that it serves.")] = None,
    provider: Annotated[str, typer.Option(help="byoc (you run it); others are launched by mp deploy.")] = "byoc",
    rotate: Annotated[bool, typer.Option("--rotate", help="Revoke the deployment's earlier tokens.")] = False,
    overlap: Annotated[int, typer.Option("--overlap", help="With --rotate: seconds that they live on.", min=0)] = 0,
    revoke: Annotated[
        bool, typer.Option("--revoke", help="End every token of the deployment, and issue none.")
    ] = False,
    poll: Annotated[
        str | None, typer.Option("--poll", help="URL of its /infer: the marketplace asks it at each bar's close.")
    ] = None,
    test: Annotated[bool, typer.Option("--test", help="Push a dry run with the token: nothing stays.")] = False,
    print_token: Annotated[bool, typer.Option("--print-token", help="Print the token on stdout, this once.")] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Makes a deployment, or takes an existing one, and keeps its token in the profile."""
    market = session()
    known, name = _existing(market, deployment, name), name or _DEFAULT
    if dry_run:
        what = f"issue a token for {known.deployment_id}" if known else f"create a deployment named {name}"
        emit({"would": what}, as_json=json, text=f"would {what}")
        return
    if revoke:
        _revoke(market, known, json)
        return
    if known is None:
        made = market.deployments.create(name, provider=provider, model_id=model_id)
        deployment_id, token = made.deployment_id, made.infra_token
    else:
        deployment_id = known.deployment_id
        say(f"{known.name} is there already: it gets a further token.")
        token = market.deployments.token(deployment_id, rotate=rotate, overlap_seconds=overlap).infra_token
    _keep(market.api_url, deployment_id, token or "")
    if poll is not None:
        say(str(market.deployments.change(deployment_id, poll=True, infer_url=poll).words))
    facts: dict[str, Any] = {"deployment_id": deployment_id} | ({"infra_token": token} if print_token else {})
    if test:
        facts["test"] = market.deployments.try_token(deployment_id, token or "")
    emit(facts, as_json=json, text="\n".join(str(value) for value in facts.values()))


def _revoke(market: Marketplace, known: DeploymentView | None, json: bool) -> None:
    if known is None:
        raise InvalidInputError("There is no such deployment.", hint="Name one: --deployment ID.")
    ended = market.deployments.revoke_tokens(known.deployment_id)
    emit({"deployment_id": known.deployment_id, "revoked": ended}, as_json=json, text=f"tokens revoked: {ended}")


def _existing(market: Marketplace, deployment: str | None, name: str | None) -> DeploymentView | None:
    """The deployment that is meant; None where it is to be made."""
    if deployment is not None:
        return market.deployments.get(find(market, deployment))
    there = list(market.deployments.list())
    if name is None and len(there) == 1:
        return there[0]
    return next((one for one in there if one.name == (name or _DEFAULT)), None)


def _keep(api_url: str, deployment_id: str, token: str) -> None:
    from pydantic import SecretStr

    from mp_kit.client import config

    def with_token(profile: config.Profile) -> config.Profile:
        moved = config.moved(profile, api_url)
        return replace(moved, deployments={**moved.deployments, deployment_id: SecretStr(token)})

    stored = config.change(with_token)
    say(f"The deployment's token is stored in {stored}.")


def linked(market: Marketplace, deployment_id: str | None) -> tuple[str | None, SecretStr | None]:
    """The deployment to speak for and its token, as environment or profile know them.

    Args:
        market: The connection; tokens of another marketplace are not taken.
        deployment_id: The chosen one, by id or name; without it ``DEPLOYMENT_ID``, else the only linked one.

    Raises:
        InvalidInputError: Several are linked and none was chosen.
        NotFoundError: None is named so.
        SetupError: It was named by its name, and the marketplace does not answer whose it is.
    """
    import os

    from pydantic import SecretStr

    from mp_kit.client import config

    profile = config.moved(config.load(), market.api_url)
    chosen = deployment_id or os.environ.get("DEPLOYMENT_ID")
    if token := os.environ.get("MARKETPLACE_TOKEN"):
        return chosen, SecretStr(token)
    if chosen is None and len(profile.deployments) > 1:
        raise InvalidInputError(
            "Several deployments are linked.", hint=f"Choose one: --deployment {min(profile.deployments)} …"
        )
    if chosen is not None and chosen not in profile.deployments:
        chosen = _by_name(market, chosen, profile.deployments)
    chosen = chosen or next(iter(profile.deployments), None)
    return chosen, profile.deployments.get(chosen or "")


def _by_name(market: Marketplace, name: str, kept: Iterable[str]) -> str:
    if name.startswith("dep_"):  # an id needs no answer, and so no network
        return name
    try:
        return find(market, name)
    except (NetworkError, TimeoutExceededError, UnavailableError) as error:
        raise SetupError(
            f"Whose name {name!r} is cannot be asked now, and nothing was kept. {error.message}",
            hint=f"Name it by its id: {', '.join(sorted(kept)) or 'dep_…'}.",
        ) from error


def speaker(market: Marketplace, deployment: str | None) -> tuple[str | None, SecretStr | None]:
    """As :func:`linked`, for what a deployment alone may say.

    Raises:
        SetupError: A deployment was named whose token is not kept here, and the connection has none of its own.
    """
    chosen, token = linked(market, deployment)
    if deployment is not None and token is None and not market.signals.has_token:
        raise SetupError(
            f"No token of {deployment!r} is kept here.", hint=f"Get one: mp link-infra --deployment {deployment}"
        )
    return chosen, token


def heartbeat(
    deployment: DeploymentOption = None,
    status: Annotated[str, typer.Option(help="pending, ready, error, maintenance or offline.")] = "ready",
    metric: Annotated[list[str] | None, typer.Option("--metric", help="name=value; repeatable.")] = None,
    message: Annotated[str | None, typer.Option(help="A word to the operator.")] = None,
    idempotency_key: IdempotencyKey = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Sends a deployment's sign of life."""
    market = session()
    deployment_id, token = linked(market, deployment)
    if deployment_id is None:
        raise InvalidInputError("No deployment is linked.", hint="Run `mp link-infra`, or pass --deployment ID.")
    metrics: dict[str, Any] | None = pairs(metric, "--metric") if metric else None
    if dry_run:
        facts = {"deployment_id": deployment_id, "status": status, "metrics": metrics, "message": message}
        emit(facts, as_json=json, text=f"would send {status} for {deployment_id}")
        return
    said: dict[str, Any] = {"metrics": metrics, "message": message, "token": token}
    receipt = market.deployments.heartbeat(deployment_id, status, idempotency_key=idempotency_key, **said)
    emit(receipt, as_json=json, text=receipt.heartbeat_id)

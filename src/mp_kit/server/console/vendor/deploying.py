"""A new deployment, by a form: a server of the vendor's own, or one that the marketplace runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from litestar import Response, get, post
from pydantic import ValidationError

from mp_kit.contracts import DeploymentRequest
from mp_kit.errors import ConflictError, InvalidInputError, NotFoundError
from mp_kit.server.console.pages import page, redirect
from mp_kit.server.console.vendor.deployments import DEPLOYMENTS, deployment_page, path_of
from mp_kit.server.console.vendor.forms import blamed, faults, typed
from mp_kit.server.console.visits import AnyRequest, TheForm, TheHouse, TheVisit, Visit, signed_in, vendor_of
from mp_kit.server.house import House
from mp_kit.server.services import connections, deployments, desk, hostings

NEW = f"{DEPLOYMENTS}/new"
PROVIDERS = ("local", "byoc", "runpod")
MACHINE = (
    *("kind", "max_price_per_hour", "cpu", "memory", "gpu", "image"),
    *("workers_min", "workers_max", "timeout_seconds", "idle_seconds"),
)
"""What RunPod is told, by the contract's own names; an empty field leaves the contract's default.

A further choice is a name here and a line in ``deploy.html``."""

FIELDS = ("name", "provider", "model", *MACHINE)
_PLACES = {name: name for name in FIELDS} | {
    "model_id": "model", "version": "model", "base_image": "image", "": "provider",
}  # fmt: skip
_OPTIONS: dict[str, Any] = {
    "guards": [signed_in], "sync_to_thread": True, "include_in_schema": False, "status_code": 200,
}  # fmt: skip


@get(NEW, **_OPTIONS)
def new_deployment(house: TheHouse, visit: TheVisit, request: AnyRequest) -> Response[bytes]:
    """The form; fields may be given in the address, as `Deploy` beside a version does."""
    said = {name: request.query_params.get(name, "")[:200].replace("\0", "") for name in FIELDS}
    return _form(house, visit, said | {"provider": said["provider"] or _offered(house)[0]})


@post(NEW, **_OPTIONS)
def deploy(house: TheHouse, visit: TheVisit, form: TheForm) -> Response[bytes]:
    """Makes it; a server of one's own gets its token on this page alone, of any other the keeper takes care."""
    said = typed(form, FIELDS)
    try:
        wanted = _read(said, _offered(house))
        hosted = hostings.wants_hosting(wanted)
        with house.db.begin() as tx:
            made = deployments.create(
                tx, house.tokens, vendor_of(visit), wanted, actor=visit.actor, hosts=house.hosts, with_token=not hosted
            )
    except ValidationError as error:
        return _form(house, visit, said, errors=faults(error, _PLACES), status=422)
    except (NotFoundError, ConflictError, InvalidInputError) as error:
        return _form(house, visit, said, errors=blamed(error, _PLACES | _found(error)), status=error.http)
    if hosted:
        return redirect(visit, path_of(made.deployment_id), say="It is ordered: the keeper launches it.")
    return deployment_page(house, visit, made.deployment_id, token=made.infra_token)


def _read(said: Mapping[str, str], offered: list[str]) -> DeploymentRequest:
    """The contract out of the form: a choice names a model and its version, what is empty has its default.

    Raises:
        InvalidInputError: The provider is none of this marketplace's, or would have no model to run.
        ValidationError: Anything else that breaks the contract.
    """
    told = {name: text.strip() for name, text in said.items()}
    if told["provider"] not in offered:
        raise _wrong("provider", f"This marketplace runs no servers on {told['provider'] or 'nothing'}.")
    if told["provider"] == "local" and not told["model"]:
        raise _wrong("model", "Choose the version that the marketplace is to run.")
    model_id, _, version = told.pop("model").partition("/")
    machine = MACHINE if told["provider"] == "runpod" else ()
    if machine and told["kind"] == "pod" and not told["max_price_per_hour"]:
        raise _wrong("max_price_per_hour", "A pod costs at all hours: say what an hour of it may cost.")
    if machine and told["kind"] != "pod" and told["max_price_per_hour"]:
        raise _wrong("max_price_per_hour", "It bounds a pod, and this is an endpoint: leave it empty.")
    facts = {name: told[name] for name in machine if told[name]} | {"name": told["name"], "provider": told["provider"]}
    return DeploymentRequest.model_validate(facts | {"model_id": model_id or None, "version": version or None})


def _wrong(field: str, said: str) -> InvalidInputError:
    return InvalidInputError(said, details=[{"loc": [field], "msg": said}])


def _found(error: Exception) -> dict[str, str]:
    """Only a model or a version can be absent here."""
    return {"": "model"} if isinstance(error, NotFoundError | ConflictError) else {}


def _offered(house: House) -> list[str]:
    """Where servers may run: a vendor's own machine always, the others where the operator allows them."""
    run_here = {provider for provider, _ in house.hosts}
    return [name for name in PROVIDERS if name == "byoc" or name in run_here]


def _form(house: House, visit: Visit, said: Mapping[str, str], *, status: int = 200, **more: Any) -> Response[bytes]:
    with house.db.begin() as tx:
        versions = desk.deployable(tx, vendor_of(visit))
        connected = {one.name for one in connections.list_of(tx, vendor_of(visit))}
    offered = [(f"{one.model_id}/{one.version_id}", f"{one.name} {one.version} ({one.stage})") for one in versions]
    if said["model"] and said["model"] not in {value for value, _ in offered}:
        offered.append((said["model"], said["model"]))
    defaults = {name: field.default for name, field in DeploymentRequest.model_fields.items()}
    facts: dict[str, Any] = {"errors": {}, **more}
    return page(
        visit, "vendor/deploy.html", status=status, title="New deployment", typed=said, versions=offered,
        providers=_offered(house), connected=connected, defaults=defaults, **facts,
    )  # fmt: skip


HANDLERS = [new_deployment, deploy]

"""Hosted deployments: ordered, changed, shown. What is wanted is stored here; the keeper makes it so.

1. A server is launched by the marketplace, on the vendor's own account, with a token of its own that is minted for
   that launch and shown to nobody.
2. A model comes from the run of the version that is deployed; a vendor's own image on RunPod may bring its own.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row

from mp_kit.contracts import DeploymentChange, DeploymentRequest, Hosting, HostingState, ModelFile, ServedModel, Stage
from mp_kit.errors import ConflictError, InvalidInputError, NotFoundError
from mp_kit.server import clock
from mp_kit.server.providers.hosting import Hosted, Hosts
from mp_kit.server.services import audit
from mp_kit.server.services.runs_artifacts import artifact_key
from mp_kit.server.storage import ObjectStore
from mp_kit.server.store import gates as gate_rows
from mp_kit.server.store import hostings as rows
from mp_kit.server.store import runs as run_rows
from mp_kit.server.store.engine import Tx
from mp_kit.server.store.vendors import now as stored_now

__all__ = ["change", "choose_version", "hosted_of", "logs", "order", "served_model", "to_wire", "wants_hosting"]

MODEL_TTL = timedelta(minutes=15)
_FILES = frozenset({"model.onnx", "model_card.json"})
_SPEC = (
    *("cpu", "memory", "gpu", "image", "workers_min", "workers_max"),
    *("timeout_seconds", "idle_seconds", "max_price_per_hour"),
)
_ONE_POD = {"workers_min": 1, "workers_max": 1}
_RESTING = frozenset({HostingState.STOPPED, HostingState.FAILED})


def wants_hosting(wanted: DeploymentRequest) -> bool:
    """Whether the marketplace runs the server: on RunPod always, here where there is a model to run."""
    return wanted.provider == "runpod" or (wanted.provider == "local" and wanted.model_id is not None)


def choose_version(tx: Tx, wanted: DeploymentRequest) -> Row[Any] | None:
    """The version that is deployed: the named one, else the newest that is not retired.

    Raises:
        NotFoundError: The model has no such version.
        ConflictError: All its versions are retired.
    """
    if wanted.model_id is None:
        return None
    versions = gate_rows.versions_of(tx, wanted.model_id)
    if wanted.version is not None:
        named = [row for row in versions if wanted.version in {row.version, row.id}]
        if not named:
            raise NotFoundError(f"There is no version {wanted.version!r} of model {wanted.model_id}.")
        return named[0]
    alive = [row for row in versions if row.stage != Stage.RETIRED.value]
    if not alive:
        raise ConflictError(f"Every version of model {wanted.model_id} is retired.", hint="Register a new one.")
    return alive[0]


def order(
    tx: Tx,
    hosts: Hosts,
    deployment: Row[Any],
    version: Row[Any] | None,
    wanted: DeploymentRequest,
    *,
    actor: str,
) -> Row[Any]:
    """Orders the server of a deployment.

    Raises:
        InvalidInputError: The provider is not offered here, the order could never be carried out, or there is no model
            to run.
    """
    kind = wanted.kind if wanted.provider == "runpod" else "process"
    host = hosts.get((wanted.provider, kind))
    if host is None:
        said = f"This marketplace runs no servers on {wanted.provider} as {kind}."
        hint = f"It runs them on: {', '.join(f'{provider} as {known}' for provider, known in hosts) or '-'}."
        raise InvalidInputError(said, hint=hint, details=[{"loc": ["provider"], "msg": said}])
    spec = wanted.model_dump(mode="json", include=set(_SPEC), exclude_none=True)
    spec |= _ONE_POD if kind == "pod" else {}
    host.check(spec)
    if wanted.image is None or wanted.provider == "local":
        _require_model(tx, version)
    values = {"deployment_id": deployment.id, "vendor_id": deployment.vendor_id, "provider": wanted.provider}
    row = rows.insert(tx, {**values, "kind": kind, "spec": spec})
    audit.record(tx, actor, "deployment.launch", deployment.id, provider=wanted.provider, kind=kind)
    return row


def _require_model(tx: Tx, version: Row[Any] | None) -> None:
    if version is None or version.run_id is None:
        said = "There is no model to run: the version must come from a training run here."
        hint = (
            "Train one (mp train start --wait), register it with its run (mp register --name NAME --run-id RUN); "
            "or bring an image of your own."
        )
        raise InvalidInputError(said, hint=hint, details=[{"loc": ["model_id"], "msg": said}])
    if missing := _FILES - {row.name for row in gate_rows.artifacts_of(tx, [version.run_id])}:
        said = f"Run {version.run_id} has no {', '.join(sorted(missing))} among its artifacts."
        raise InvalidInputError(said, details=[{"loc": ["model_id"], "msg": said}])


def change(tx: Tx, vendor_id: str, deployment_id: str, wanted: DeploymentChange, *, actor: str) -> Row[Any]:
    """Says what is wanted from now on; the keeper makes it so.

    Raises:
        NotFoundError: It is not the vendor's, or the marketplace does not run it.
        ConflictError: It is removed, or is to be.
        InvalidInputError: Fewest workers above most, or it is a pod, which has none.
    """
    row = _require(tx, vendor_id, deployment_id, lock=True)
    if row.wanted == "removed" and wanted.wanted != "removed":
        raise ConflictError(f"Deployment {deployment_id} is removed.", hint="Deploy anew: mp deploy.")
    limits = {"workers_min": wanted.workers_min, "workers_max": wanted.workers_max}
    if row.kind == "pod" and limits != dict.fromkeys(limits):
        raise InvalidInputError("A pod is one worker, always.", hint="Deploy an endpoint to scale: --kind endpoint.")
    spec = row.spec | {name: value for name, value in limits.items() if value is not None}
    if spec.get("workers_min", 0) > spec.get("workers_max", 1):
        raise InvalidInputError(f"workers_min {spec['workers_min']} is above workers_max {spec.get('workers_max', 1)}.")
    values: dict[str, Any] = {"spec": spec, "next_look_at": stored_now(tx)}
    if wanted.wanted is not None:
        values |= {"wanted": wanted.wanted}
    if HostingState(row.state) in _RESTING and wanted.wanted == "running":
        values |= {"state": "queued", "failures": 0, "failure": None}
    if HostingState(row.state) in _RESTING and wanted.wanted == "removed":
        values |= {"state": "removed"}
    rows.change(tx, deployment_id, values)
    audit.record(tx, actor, "deployment.change", deployment_id, **wanted.model_dump(mode="json", exclude_none=True))
    return _require(tx, vendor_id, deployment_id)


def logs(
    begin: Callable[[], AbstractContextManager[Tx]],
    hosts: Hosts,
    vendor_id: str,
    deployment_id: str,
    tail: int,
) -> list[str]:
    """The last lines of a hosted server; no transaction is open while its provider is asked.

    Raises:
        NotFoundError: It is not the vendor's, or the marketplace does not run it.
    """
    with begin() as tx:
        row = _require(tx, vendor_id, deployment_id)
    hosted, host = hosted_of(row), hosts.get((row.provider, row.kind))
    return list(host.logs(hosted, tail)) if hosted is not None and host is not None else []


def served_model(tx: Tx, store: ObjectStore, vendor_id: str, deployment_id: str, now: datetime) -> ServedModel:
    """What a deployment serves, with URLs for a quarter of an hour.

    Raises:
        NotFoundError: It is not the vendor's, or serves no version of a run.
    """
    row = rows.served_model(tx, deployment_id, vendor_id)
    if row is None or row.run_id is None:
        raise NotFoundError(f"Deployment {deployment_id!r} serves no model of a training run.")
    run = run_rows.find(tx, row.run_id, vendor_id)
    artifacts = [one for one in gate_rows.artifacts_of(tx, [row.run_id]) if one.name in _FILES] if run else []
    expires_at = now.replace(microsecond=0) + MODEL_TTL
    files = [
        ModelFile(
            name=one.name,
            url=store.presign("GET", artifact_key(one.run_id, one.name), expires_at),
            size_bytes=one.size_bytes,
            sha256=one.sha256,
        )
        for one in artifacts
    ]
    return ServedModel(
        deployment_id=row.deployment_id, model_id=row.model_id, version=row.version, task=row.task, files=files
    )


def hosted_of(row: Row[Any]) -> Hosted | None:
    """What a start gave, as it was stored."""
    if row.provider_ref is None:
        return None
    data = dict(row.provider_data)
    return Hosted(row.provider_ref, row.vendor_id, str(data.pop("endpoint", "")), data)


def to_wire(row: Row[Any]) -> Hosting:
    """A hosting as the wire shows it."""
    seen, price = row.seen or {}, _price(row)
    return Hosting(
        kind=row.kind,
        state=row.state,
        wanted=row.wanted,
        workers_min=row.spec.get("workers_min", 0),
        workers_max=row.spec.get("workers_max", 1),
        workers=seen.get("workers", {}),
        attempt=row.attempt,
        detail=seen.get("detail") or None,
        failure=row.failure,
        launched_at=row.launched_at,
        price_per_hour=price,
        max_price_per_hour=row.spec.get("max_price_per_hour"),
        cost=None if price is None else _cost(price, row.launched_at),
    )


def _price(row: Row[Any]) -> float | None:
    """US dollars per hour of what is there: as last seen, else as it was at its launch."""
    if row.provider_ref is None:
        return None
    price = (row.seen or {}).get("price_per_hour", row.provider_data.get("price_per_hour"))
    return None if price is None else float(price)


def _cost(price: float, since: datetime) -> float:
    return round(price * max(0.0, (clock.now() - since).total_seconds()) / 3_600, 4)


def _require(tx: Tx, vendor_id: str, deployment_id: str, *, lock: bool = False) -> Row[Any]:
    row = rows.find(tx, deployment_id, vendor_id, lock=lock)
    if row is None:
        raise NotFoundError(
            f"The marketplace runs no deployment {deployment_id!r} of yours.",
            hint="byoc deployments are run by yourself; see mp deployments list.",
        )
    return row

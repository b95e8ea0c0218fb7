"""Serverless endpoints: the operations of the contract, for endpoints of type LOAD_BALANCER."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mp_kit.testing.fake_runpod.api import Call, read_body, refuse, resolve
from mp_kit.testing.fake_runpod.billing import serverless_bill
from mp_kit.testing.fake_runpod.cloud import Cloud
from mp_kit.testing.fake_runpod.endpoints import Endpoint, Fleet, Worker
from mp_kit.testing.fake_runpod.faults import Fault
from mp_kit.testing.fake_runpod.logs import stamp
from mp_kit.testing.fake_runpod.pods import Status
from mp_kit.testing.fake_runpod.replies import Reply, ok, problem
from mp_kit.testing.fake_runpod.requests import CreateEndpoint, UpdateEndpoint, rule_broken
from mp_kit.testing.fake_runpod.streams import Stream, stream

__all__ = ["EndpointRoutes"]

_RELEASE = {"image", "args", "env", "disk", "ports", "registry", "entrypoint", "cmd", "gpu", "cpu"}


class EndpointRoutes:
    """Operations on endpoints.

    Args:
        cloud: The state.
        fleet: The endpoints.
        root: Tells the server's address.
        later: Whether keys are known that came after the published contract.
    """

    def __init__(self, cloud: Cloud, fleet: Fleet, root: Callable[[], str], *, later: bool) -> None:
        self._cloud = cloud
        self._fleet = fleet
        self._root = root
        self._later = later

    def routes(self, route: Callable[..., Any]) -> list[Any]:
        """The routes of this room."""
        one = r"/serverless/([^/]+)"
        return [
            route("POST", r"/serverless", "endpoint_create", self.create),
            route("GET", r"/serverless", "endpoint", self.list),
            route("GET", one, "endpoint", self.get),
            route("PATCH", one, "endpoint", self.update),
            route("DELETE", one, "endpoint", self.delete),
            route("GET", one + r"/workers", "endpoint", self.workers),
            route("GET", one + r"/workers/([^/]+)/logs", "logs", self.logs),
            route("GET", r"/billing/serverless", "billing", self.bill),
        ]

    def create(self, call: Call) -> Reply:
        """``POST /v2/serverless``."""
        wanted = read_body(call, CreateEndpoint, later=self._later)
        if isinstance(wanted, Reply):
            return wanted
        template = self._cloud.templates.get(wanted.templateId) if wanted.templateId else None
        refusal = self._refused(call, wanted, missing=bool(wanted.templateId) and template is None)
        if refusal:
            return refusal
        endpoint = self._fleet.create(call.owner, _spec(wanted, resolve(wanted, template)), call.troubles)
        return ok(self._view(endpoint), 201)

    def list(self, call: Call) -> Reply:
        """``GET /v2/serverless``."""
        mine = [self._fleet.find(call.owner, endpoint_id) for endpoint_id in self._fleet.endpoints]
        return ok({"endpoints": [self._view(endpoint) for endpoint in mine if endpoint]})

    def get(self, call: Call, endpoint_id: str) -> Reply:
        """``GET /v2/serverless/{id}``."""
        endpoint = self._fleet.find(call.owner, endpoint_id)
        return ok(self._view(endpoint)) if endpoint else _absent()

    def update(self, call: Call, endpoint_id: str) -> Reply:
        """``PATCH /v2/serverless/{id}``."""
        wanted = read_body(call, UpdateEndpoint, later=self._later)
        if isinstance(wanted, Reply):
            return wanted
        endpoint = self._fleet.find(call.owner, endpoint_id)
        if not endpoint:
            return _absent()
        sent = wanted.model_dump(exclude_unset=True)
        if {"gpu", "cpu"} & set(sent) - set(endpoint.spec):
            return problem(400, "the compute family of an endpoint is immutable")
        self._fleet.change(endpoint, sent, release=bool(_RELEASE & set(sent)))
        return ok(self._view(endpoint))

    def delete(self, call: Call, endpoint_id: str) -> Reply:
        """``DELETE /v2/serverless/{id}``."""
        endpoint = self._fleet.find(call.owner, endpoint_id)
        if not endpoint or call.met(Fault.DELETE_404):
            return _absent()
        self._fleet.delete(endpoint)
        return ok(status=204)

    def workers(self, call: Call, endpoint_id: str) -> Reply:
        """``GET /v2/serverless/{id}/workers``."""
        endpoint = self._fleet.find(call.owner, endpoint_id)
        if not endpoint:
            return _absent()
        now = self._cloud.clock.now()
        alive = endpoint.alive(now)
        statuses = [worker.status(now).lower() for worker in alive]
        names = ("running", "idle", "initializing", "throttled", "unhealthy")
        summary = {name: statuses.count(name) for name in names} | {"total": len(alive)}
        told = [self._worker(endpoint, worker) for worker in alive]
        return ok({"workers": told, "summary": summary, "endpointVersion": endpoint.version})

    def logs(self, call: Call, endpoint_id: str, worker_id: str) -> Reply | Stream:
        """``GET /v2/serverless/{id}/workers/{workerId}/logs``; lines of a worker that is gone are gone."""
        endpoint = self._fleet.find(call.owner, endpoint_id)
        alive = endpoint.alive(self._cloud.clock.now()) if endpoint else []
        found = next((worker for worker in alive if worker.pod.id == worker_id), None)
        return stream(call, found.pod.log) if found else problem(404, "worker not found")

    def bill(self, call: Call) -> Reply:
        """``GET /v2/billing/serverless``."""
        return serverless_bill(self._cloud, call, self._fleet)

    def _refused(self, call: Call, wanted: CreateEndpoint, *, missing: bool) -> Reply | None:
        if missing:
            return problem(404, "template not found")
        if call.met(Fault.NO_BALANCE):
            return problem(402, "insufficient balance")
        shape = _wrong_shape(wanted)
        if shape:
            return refuse(call, [shape])
        rule = self._broken_rule(wanted)
        return problem(400, rule) if rule else None

    def _broken_rule(self, wanted: CreateEndpoint) -> str | None:
        pools = {kind.pool for kind in self._cloud.catalogue.kinds.values()}
        if wanted.type != "LOAD_BALANCER":
            return "this stand-in serves endpoints of type LOAD_BALANCER only"
        if "gpu" in wanted.model_fields_set and not set(wanted.gpu.pools) <= pools:
            return "unknown GPU pool"
        return rule_broken(wanted)

    def _view(self, endpoint: Endpoint) -> dict[str, Any]:
        return endpoint.view(self._root(), self._cloud.clock.now())

    def _worker(self, endpoint: Endpoint, worker: Worker) -> dict[str, Any]:
        now = self._cloud.clock.now()
        started = worker.pod.started_at(now)
        placed = worker.pod.status(now) is not Status.PROVISIONING
        return {
            "id": worker.pod.id,
            "status": worker.status(now),
            "isStale": worker.version != endpoint.version,
            "version": worker.version,
            "gpuCount": endpoint.spec["gpu"]["count"] if endpoint.gpu else 0,
            "image": worker.pod.spec["image"],
            "uptimeSeconds": int((now - started).total_seconds()) if started else None,
            "gpuTypeId": endpoint.gpu if placed else None,
            "dataCenterId": worker.pod.place if placed else None,
            "startedAt": stamp(started) if started else None,
        }


def _wrong_shape(wanted: CreateEndpoint) -> str | None:
    if not wanted.image and not wanted.templateId:
        return "image: Field required"
    if wanted.type == "LOAD_BALANCER" and wanted.scaling.type != "REQUEST_COUNT":
        return "scaling: LOAD_BALANCER endpoints scale by REQUEST_COUNT"
    return None


def _absent() -> Reply:
    return problem(404, "endpoint not found")


def _spec(wanted: CreateEndpoint, container: dict[str, Any]) -> dict[str, Any]:
    """The endpoint's fields as they are kept and told."""
    spec = {key: value for key, value in container.items() if key not in ("cloud", "mounts", "cpu", "gpu")}
    spec |= {"dataCenterIds": wanted.dataCenterIds, "networkVolumes": wanted.networkVolumes}
    spec |= {"flashboot": wanted.flashboot, "workers": wanted.workers.model_dump()}
    spec["timeout"] = wanted.timeout  # the live service stores 0 where none was sent, whatever the contract says
    if "gpu" in wanted.model_fields_set:
        told = wanted.gpu.model_dump()
        return spec | {"gpu": told | {"minCudaVersion": told["minCudaVersion"] or None}}
    return spec | {"cpu": [cpu.model_dump() | {"memory": cpu.vcpuCount * 2} for cpu in wanted.cpu]}

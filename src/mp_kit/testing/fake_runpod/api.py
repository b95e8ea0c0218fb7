"""Pods, catalogue, templates: what each operation of the contract does."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from pydantic import BaseModel

from mp_kit.testing.fake_runpod.cloud import Cloud
from mp_kit.testing.fake_runpod.faults import Fault, Trouble
from mp_kit.testing.fake_runpod.pods import Pod, Status
from mp_kit.testing.fake_runpod.replies import NO_CAPACITY, Reply, ok, problem
from mp_kit.testing.fake_runpod.requests import (
    ActionRequest,
    Container,
    CreatePod,
    UpdatePod,
    parse,
    rule_broken,
)

__all__ = ["Call", "PodRoutes"]

_MAX_BODY = 102_400
_MIN_CPU_DISK = 20
_MAX_PAGE = 1_000
T = TypeVar("T", bound=BaseModel)


@dataclass
class Call:
    """A request on its way through the fake.

    Attributes:
        method: GET, POST, PATCH or DELETE.
        path: Without the base's ``/v2``.
        query: Its parameters; the last one counts where a name came twice.
        headers: Names in lower case.
        content: Its body.
        raw_query: As it was sent.
        owner: The account that calls; empty until the key was checked.
        pod_key_of: The pod whose own key was sent, if one was.
        troubles: What befalls it.
        errors: What it breaks of the contract.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)
    raw_query: str = ""
    owner: str = field(default="", repr=False)
    pod_key_of: Pod | None = None
    troubles: tuple[Trouble, ...] = ()
    errors: list[str] = field(default_factory=list)

    def json(self) -> Any:
        """The body as JSON; None if it is none."""
        try:
            return json.loads(self.content)
        except ValueError:
            return None

    def met(self, *faults: Fault) -> Trouble | None:
        """The first of these faults that befalls it."""
        return next((trouble for trouble in self.troubles if trouble.fault in faults), None)


class PodRoutes:
    """Operations on pods.

    Args:
        cloud: The state.
        later: Whether keys are known that came after the published contract.
        page: Pods per page at most.
    """

    def __init__(self, cloud: Cloud, *, later: bool, page: int) -> None:
        self._cloud = cloud
        self._later = later
        self._page = page

    def create(self, call: Call) -> Reply:
        """``POST /v2/pods``."""
        wanted = read_body(call, CreatePod, later=self._later)
        if isinstance(wanted, Reply):
            return wanted
        template = self._cloud.templates.get(wanted.templateId) if wanted.templateId else None
        refusal = self._refused_shape(call, wanted, template) or self._refused_place(call, wanted)
        if refusal:
            return refusal
        return ok(self._made(call, wanted, template).view(self._cloud.clock.now()), 201)

    def list(self, call: Call) -> Reply:
        """``GET /v2/pods``: everything of the account, in pages; no filter is known."""
        now = self._cloud.clock.now()
        cursor, limit = call.query.get("cursor", ""), call.query.get("limit", "1000")
        if not limit.isdigit() or not 1 <= int(limit) <= _MAX_PAGE:
            return refuse(call, [f"limit: must be 1..{_MAX_PAGE}"])
        if cursor and cursor not in self._cloud.pods:
            return problem(400, "unknown cursor")
        pods = self._cloud.visible(call.owner, cursor)
        shown = pods[: min(int(limit), self._page)]
        more = len(pods) > len(shown)
        pagination = {"nextCursor": shown[-1].id if more else None, "hasNextPage": more}
        return ok({"pods": [pod.view(now) for pod in shown], "pagination": pagination})

    def get(self, call: Call, pod_id: str) -> Reply:
        """``GET /v2/pods/{id}``."""
        return self._with_pod(call, pod_id, lambda pod: ok(pod.view(self._cloud.clock.now())))

    def delete(self, call: Call, pod_id: str) -> Reply:
        """``DELETE /v2/pods/{id}``."""
        return self._with_pod(call, pod_id, lambda pod: self._terminate(call, pod))

    def update(self, call: Call, pod_id: str) -> Reply:
        """``PATCH /v2/pods/{id}``: the container starts anew where its own fields were changed."""
        changes = read_body(call, UpdatePod, later=self._later)
        if isinstance(changes, Reply):
            return changes
        return self._with_pod(call, pod_id, lambda pod: self._change(pod, changes))

    def action(self, call: Call, pod_id: str) -> Reply:
        """``POST /v2/pods/{id}/action``."""
        wanted = read_body(call, ActionRequest, later=self._later)
        if isinstance(wanted, Reply):
            return wanted
        return self._with_pod(call, pod_id, lambda pod: self._act(call, pod, wanted.action))

    def _with_pod(self, call: Call, pod_id: str, then: Callable[[Pod], Reply]) -> Reply:
        pod = self._cloud.find(call.owner, pod_id)
        return then(pod) if pod else problem(404, "pod not found")

    def _refused_shape(self, call: Call, wanted: CreatePod, template: Mapping[str, Any] | None) -> Reply | None:
        if wanted.templateId and template is None:
            return problem(404, "template not found")
        if not wanted.image and not wanted.templateId:
            return refuse(call, ["image: Field required"])
        rule = rule_broken(wanted)
        return problem(400, rule) if rule else None

    def _refused_place(self, call: Call, wanted: CreatePod) -> Reply | None:
        price, balance = self._cloud.price(wanted), self._cloud.balance(call.owner)
        if call.met(Fault.NO_BALANCE) or (balance is not None and balance < price):
            return problem(402, "insufficient balance: an hour of the pod's price is needed")
        if call.met(Fault.NO_ACCESS):
            return problem(403, "this account cannot access the requested pool")
        if call.met(Fault.NO_CAPACITY) or not self._has_place(wanted):
            return problem(400, NO_CAPACITY)
        return None

    def _has_place(self, wanted: CreatePod) -> bool:
        if "gpu" not in wanted.model_fields_set:
            fits = self._cloud.catalogue.has_cpus(wanted.cpu.id, wanted.cpu.vcpuCount)
            return fits and wanted.disk >= _MIN_CPU_DISK  # smaller disks were never placed, as users report
        if "count" not in wanted.gpu.model_fields_set:
            return False  # seen live: without a count no machine matches
        kind = self._cloud.catalogue.find(wanted.gpu.id)
        return kind is not None and kind.has_place(wanted.cloud, wanted.gpu.count, wanted.dataCenterIds)

    def _made(self, call: Call, wanted: CreatePod, template: Mapping[str, Any] | None) -> Pod:
        return self._cloud.create(call.owner, wanted, resolve(wanted, template), call.troubles)

    def _terminate(self, call: Call, pod: Pod) -> Reply:
        if call.met(Fault.DELETE_404):
            return problem(404, "pod not found")
        now = self._cloud.clock.now()
        lingers = call.met(Fault.DELETE_LINGERS)
        if lingers:
            end = (now + timedelta(seconds=lingers.seconds), Status.TERMINATED)
            pod.timeline = [*(entry for entry in pod.timeline if entry[0] < end[0]), end]
            pod.wake()
        else:
            pod.mark(Status.TERMINATED, now)
        return ok(status=204)

    def _act(self, call: Call, pod: Pod, action: str) -> Reply:
        now = self._cloud.clock.now()
        view = pod.view(now)
        if action not in view["actions"]:
            return problem(409, f"cannot {action} a pod that is {view['status']}")
        if action == "terminate":
            return self._terminate(call, pod)
        if not call.met(Fault.ACTION_NO_OP):
            self._apply(call, pod, action)
        return ok(pod.view(self._cloud.clock.now()))

    def _apply(self, call: Call, pod: Pod, action: str) -> None:
        now = self._cloud.clock.now()
        if action == "stop":
            return pod.mark(Status.EXITED, now)
        pod.generation += 1
        if action == "restart":
            return pod.mark(Status.RUNNING, now, keep_future=True)
        if call.met(Fault.ZERO_GPU) and "gpu" in pod.spec:
            pod.spec["gpu"]["count"] = 0
        pod.mark(Status.STARTING, now)
        pod.timeline.append((now + timedelta(seconds=self._cloud.pace.pull), Status.RUNNING))
        return pod.wake()

    def _change(self, pod: Pod, changes: UpdatePod) -> Reply:
        sent = changes.model_dump(exclude_unset=True)
        pod.locked = sent.pop("locked", pod.locked)
        sent.pop("globalNetworking", None)
        pod.spec |= sent
        now = self._cloud.clock.now()
        if set(sent) - {"name"} and pod.status(now) is Status.RUNNING:
            pod.generation += 1
            pod.mark(Status.RUNNING, now, keep_future=True)
        return ok(pod.view(now))


def read_body(call: Call, model: type[T], *, later: bool) -> T | Reply:
    """The body in its shape, or the refusal."""
    if len(call.content) > _MAX_BODY:
        return problem(413, f"the body must not exceed {_MAX_BODY} bytes")
    body = call.json()
    wanted, errors = parse(model, body, later=later)
    return refuse(call, errors) if wanted is None else wanted


def refuse(call: Call, errors: list[str]) -> Reply:
    """A body that breaks the contract: 422, and on the record."""
    call.errors.extend(errors)
    return problem(422, "Request validation failed.", errors)


def resolve(wanted: Container, template: Mapping[str, Any] | None) -> dict[str, Any]:
    """A container's order with the template's fields below it; environments are merged by name."""
    sent = wanted.model_dump(exclude_unset=True)
    base = {key: getattr(wanted, key) for key in ("args", "disk", "image", "registry")}
    spec = base | {"ports": [], "mounts": {}, "cloud": "SECURE"} | dict(template or {}) | sent
    spec["env"] = dict((template or {}).get("env", {})) | dict(wanted.env)
    if isinstance(spec.get("cpu"), dict):  # an endpoint has a list of flavours
        spec["cpu"] = {"memory": spec["cpu"]["vcpuCount"] * 2} | spec["cpu"]
    return {key: value for key, value in spec.items() if key not in _NOT_TOLD}


_NOT_TOLD = {"dataCenterIds", "startSsh", "startJupyter", "globalNetworking", "templateId"}

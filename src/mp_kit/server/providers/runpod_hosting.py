"""Servers at RunPod: a serverless load-balancing endpoint per deployment, on the vendor's own account.

1. ``timeout`` is always sent: without it the live service stores 0, whatever its contract says.
2. Nobody asking for three days, RunPod cuts the most workers to 2, after seven to 0: ``look`` tells the limits as they
   are, and the keeper raises them again.
3. An endpoint's name is ``<prefix>-serve-<deployment>-a<attempt>``; it is searched before the one POST and after a lost
   answer. No training's sweep takes it for one of its pods.
4. The address is the one that RunPod tells (``requestUrls``), never one that we build. Only that one sees the vendor's
   key; it is public and https, unless RunPod itself is a rehearsal's on this machine.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from mp_kit.errors import InvalidInputError, NotFoundError, ProviderError, UnavailableError
from mp_kit.server.providers.addresses import AddressGuard
from mp_kit.server.providers.hosting import Door, FoundServer, Hosted, HostOrder, HostPhase, HostView
from mp_kit.server.providers.runpod_api import Account
from mp_kit.server.providers.runpod_endpoints import EndpointApi
from mp_kit.server.providers.runpod_gpus import read_gpu, wanted_ids
from mp_kit.server.providers.runpod_orders import (
    MAX_VARIABLES,
    SERVER_COMMAND,
    check_way_back,
    image_of,
    is_loopback,
    pod_name,
    read_name,
    serve_prefix,
)
from mp_kit.server.providers.runpod_wire import instant

__all__ = ["RunPodHost"]

_REQUESTS_PER_WORKER = 4
_READINGS = 3
_READING_SECONDS = 1.0
_DISK_GB = 20
_FEWEST_CPUS = 2
_FLAVOURS = ("cpu3c", "cpu5c")


class RunPodHost:
    """Runs servers on RunPod endpoints.

    Args:
        keys: A vendor's API key by the vendor's id; raises CredentialError where there is none.
        image: Docker image with ``mp_kit.serving`` in it, for orders that name none.
        prefix: Begins the names.
        base_url: RunPod's REST v2.
        api_url: Where servers call the marketplace back.
        settle_seconds: Below this age an absence proves nothing.
        clock: The time.
        sleep: Waits.
        transport: An httpx transport in place of the network.
    """

    def __init__(  # noqa: PLR0913 - each is a fact about RunPod or this marketplace
        self,
        keys: Callable[[str], str],
        *,
        image: str,
        prefix: str,
        base_url: str,
        api_url: str = "",
        settle_seconds: float = 120.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._keys, self._image, self._prefix, self._api_url = keys, image, serve_prefix(prefix), api_url
        self._settle = timedelta(seconds=settle_seconds)
        self._clock, self._sleep = clock, sleep
        self._api = EndpointApi(base_url, transport=transport, clock=clock, sleep=sleep)

    def __repr__(self) -> str:
        return f"RunPodHost(base_url={self._api.base_url!r}, prefix={self._prefix!r})"

    def close(self) -> None:
        """Closes the connections."""
        self._api.close()

    def check(self, spec: Mapping[str, Any]) -> None:
        """Refuses what no endpoint could run: no image, a GPU that does not exist, an address of this machine."""
        check_way_back(self._api_url, self._api.base_url)
        image_of({"base_image": spec.get("image")}, self._image)
        wanted_ids(read_gpu(spec.get("gpu")).name)

    def start(self, order: HostOrder) -> Hosted:
        """Finds the endpoint of an attempt, or orders it, once."""
        self.check(order.spec)
        account, name = self._account(order.vendor_id), pod_name(self._prefix, order.deployment_id, order.attempt)
        try:
            found = self._search(account, name)
        except ProviderError as error:  # an earlier call may have made it
            raise UnavailableError(f"It cannot be told whether endpoint {name} exists: {error}") from error
        if found is None:
            found = self._api.create_endpoint(account, self._body(account, order, name), list(order.env.values()))
        return self._hosted(account, found)

    def find(self, deployment_id: str, attempt: int, vendor_id: str, since: datetime) -> Hosted | None:
        """The endpoint of an attempt; None when it was absent in repeated readings after the settling time."""
        account, name = self._account(vendor_id), pod_name(self._prefix, deployment_id, attempt)
        found = self._search(account, name)
        if found is None and self._clock() - since < self._settle:
            raise UnavailableError(f"Endpoint {name} does not show, and it is too early to call it absent.")
        for _ in range(_READINGS - 1):
            if found is None:
                self._sleep(_READING_SECONDS)
                found = self._search(account, name)
        return self._hosted(account, found) if found is not None else None

    def look(self, hosted: Hosted) -> HostView:
        """Its workers, and its limits as RunPod has them now."""
        account = self._account(hosted.vendor_id)
        found = self._api.endpoint(account, hosted.ref)
        if found is None:
            made = datetime.fromisoformat(str(hosted.data.get("since", "1970-01-01T00:00:00+00:00")))
            young = self._clock() - made < self._settle
            return HostView(HostPhase.UNKNOWN if young else HostPhase.GONE, detail="RunPod knows no such endpoint.")
        workers = self._api.workers(account, hosted.ref)
        limits = found.get("workers") or {}
        view = HostView(_phase(workers), workers, (int(limits.get("min", 0)), int(limits.get("max", 0))))
        told = ", ".join(f"{count} {state}" for state, count in workers.items() if count and state != "total")
        return HostView(view.phase, workers, view.limits, told or "no worker")

    def scale(self, hosted: Hosted, least: int, most: int) -> None:
        """Sets the limits by hand, which also raises what RunPod cut for want of requests."""
        self._api.change(self._account(hosted.vendor_id), hosted.ref, {"workers": {"min": least, "max": most}})

    def end(self, hosted: Hosted) -> None:
        """Deletes it; a 404 is no error."""
        self._api.remove(self._account(hosted.vendor_id), hosted.ref)

    def logs(self, hosted: Hosted, tail: int) -> Sequence[str]:
        """The last lines of its first worker; none where it sleeps."""
        account = self._account(hosted.vendor_id)
        worker = self._api.first_worker(account, hosted.ref)
        if worker is None:
            return []
        try:
            return [event.text for event in self._api.worker_logs(account, hosted.ref, worker, tail=tail)]
        except NotFoundError:  # the worker went meanwhile
            return []

    def door(self, hosted: Hosted) -> Door:
        """Where RunPod said, with the vendor's key."""
        guard = AddressGuard(allow_private=is_loopback(self._api.base_url))
        return Door(f"{hosted.endpoint.rstrip('/')}/infer", guard, self._keys(hosted.vendor_id))

    def mine(self, vendor_id: str) -> Sequence[FoundServer]:
        """The vendor's endpoints that bear this marketplace's name."""
        account = self._account(vendor_id)
        named = [(one, read_name(self._prefix, str(one.get("name")))) for one in self._api.endpoints(account)]
        return [self._found(account, one, *name) for one, name in named if name]

    def _found(self, account: Account, one: Mapping[str, Any], deployment_id: str, attempt: int) -> FoundServer:
        made = instant(one.get("createdAt")) or self._clock()
        return FoundServer(self._hosted(account, one), deployment_id, attempt, made)

    def _account(self, vendor_id: str) -> Account:
        return Account(vendor_id, self._keys(vendor_id))

    def _search(self, account: Account, name: str) -> Mapping[str, Any] | None:
        """The oldest endpoint of a name; doubles, which nobody ordered, are removed."""
        named = [one for one in self._api.endpoints(account) if one.get("name") == name]
        named.sort(key=lambda one: (str(one.get("createdAt", "")), str(one.get("id"))))
        for double in named[1:]:
            self._api.remove(account, str(double["id"]))
        return named[0] if named else None

    def _hosted(self, account: Account, found: Mapping[str, Any]) -> Hosted:
        base = str((found.get("requestUrls") or {}).get("base") or "")
        data = {"name": str(found.get("name")), "since": self._clock().isoformat()}
        return Hosted(str(found["id"]), account.vendor_id, base, data)

    def _body(self, account: Account, order: HostOrder, name: str) -> dict[str, Any]:
        spec = order.spec
        if len(order.env) > MAX_VARIABLES:
            raise InvalidInputError(f"env: {len(order.env)} variables, and RunPod takes {MAX_VARIABLES}.")
        workers = {
            "min": int(spec.get("workers_min", 0)),
            "max": int(spec.get("workers_max", 1)),
            "idleTimeout": int(spec.get("idle_seconds", 60)),
        }
        own = spec.get("image")  # a vendor's own image brings its own command
        args = {} if own else {"args": json.dumps({"entrypoint": [SERVER_COMMAND[0]], "cmd": [*SERVER_COMMAND[1:]]})}
        return {
            "name": name,
            "type": "LOAD_BALANCER",
            "image": image_of({"base_image": own}, self._image),
            **args,
            "env": dict(order.env),
            "disk": _DISK_GB,
            "scaling": {"type": "REQUEST_COUNT", "requestCount": _REQUESTS_PER_WORKER},
            "workers": workers,
            "timeout": int(spec.get("timeout_seconds", 120)) * 1_000,
            "flashboot": "FLASHBOOT",
            **self._machine(account, spec),
        }

    def _machine(self, account: Account, spec: Mapping[str, Any]) -> dict[str, Any]:
        if not spec.get("gpu"):
            count = max(_FEWEST_CPUS, int(spec.get("cpu", _FEWEST_CPUS)))
            return {"cpu": [{"id": flavour, "vcpuCount": count} for flavour in _FLAVOURS]}
        wanted = read_gpu(str(spec["gpu"]))
        pools = self._api.pools(account)
        ids = [gpu for gpu in wanted_ids(wanted.name) if gpu in pools]
        if not ids:
            raise ProviderError(f"RunPod offers no {wanted.name} for endpoints at present.")
        chosen = list(dict.fromkeys(pools[gpu] for gpu in ids))
        others = sorted(gpu for gpu, pool in pools.items() if pool in chosen and gpu not in ids)
        return {"gpu": {"pools": chosen, "count": wanted.count, "excludedTypes": others}}


def _phase(workers: Mapping[str, int]) -> HostPhase:
    if workers.get("running", 0) + workers.get("idle", 0):
        return HostPhase.READY
    if workers.get("unhealthy", 0):
        return HostPhase.SICK
    return HostPhase.STARTING if workers.get("total", 0) else HostPhase.ASLEEP

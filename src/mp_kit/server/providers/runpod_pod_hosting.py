"""Servers in RunPod pods: one pod per deployment, on the vendor's own account, at a public address.

1. Ordered as trainings are: searched by name first, ordered once, never again after a lost answer; where one machine is
   sold out the next one is tried, and a pod that costs more than was ordered is ended at once.
2. A name is ``<prefix>-serve-<deployment>-a<attempt>``: no training's sweep takes it for one of its pods, nor the other
   way round.
3. RunPod's proxy makes the server's port public, and RunPod's API does not tell the address: it is built here, by
   RunPod's published rule. Whoever knows it can call it; the server asks callers for a token (``INFER_CALLERS``).
4. A pod has no workers to scale, and never sleeps.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx

from mp_kit.errors import InvalidInputError, NotFoundError, ProviderError
from mp_kit.server.providers.addresses import AddressGuard
from mp_kit.server.providers.base import Handle, Phase
from mp_kit.server.providers.hosting import Door, FoundServer, Hosted, HostOrder, HostView
from mp_kit.server.providers.runpod_api import Account, RunPodApi
from mp_kit.server.providers.runpod_gpus import Candidate, read_gpu, wanted_ids
from mp_kit.server.providers.runpod_health import Health
from mp_kit.server.providers.runpod_launch import Launcher, PodOrder
from mp_kit.server.providers.runpod_market import Bound, Market, affordable
from mp_kit.server.providers.runpod_orders import (
    SERVER_COMMAND,
    Container,
    body_of,
    check_way_back,
    image_of,
    is_loopback,
    pod_name,
    read_name,
    serve_prefix,
)
from mp_kit.server.providers.runpod_watch import PodLists, Watch
from mp_kit.server.providers.runpod_wire import Pod

__all__ = ["PROXY_URL", "PodHost"]

PROXY_URL = "https://{pod}-{port}.proxy.runpod.net"
PORT = 8000
_DISK_GB = 20
_LOG_SECONDS = 5.0
_POD_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class PodHost:
    """Runs servers in RunPod pods.

    Args:
        keys: A vendor's API key by the vendor's id; raises CredentialError where there is none.
        image: Docker image with ``mp_kit.serving`` in it, for orders that name none.
        prefix: Begins the names of all that is this marketplace's.
        base_url: RunPod's REST v2.
        proxy_url: Public address of a pod's port, with ``{pod}`` and ``{port}`` in it.
        api_url: Where servers call the marketplace back.
        settle_seconds: Below this age an absence proves nothing.
        list_seconds: How old a list may be.
        log_seconds: Longest time to read the log of a pod in trouble.
        clock: The time.
        sleep: Waits.
        transport: An httpx transport in place of the network to RunPod.
        door: An httpx transport in place of the network to the servers.
    """

    def __init__(  # noqa: PLR0913 - each is a fact about RunPod or this marketplace
        self,
        keys: Callable[[str], str],
        *,
        image: str,
        prefix: str,
        base_url: str,
        proxy_url: str = PROXY_URL,
        api_url: str = "",
        settle_seconds: float = 120.0,
        list_seconds: float = 2.0,
        log_seconds: float = 3.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
        transport: httpx.BaseTransport | None = None,
        door: httpx.BaseTransport | None = None,
    ) -> None:
        self._keys, self._image, self._prefix = keys, image, serve_prefix(prefix)
        self._api_url, self._proxy_url = api_url, proxy_url
        self._settle, self._list_seconds = timedelta(seconds=settle_seconds), list_seconds
        self._clock = clock
        self._api = RunPodApi(base_url, transport=transport, clock=clock, sleep=sleep)
        self._lists = PodLists(self._api, clock)
        self._watch = Watch(self._api, clock, settle_seconds, log_seconds)
        self._market = Market(self._api, clock, ("SECURE",), ())
        own = Container(image, SERVER_COMMAND, _DISK_GB, {})
        self._launcher = Launcher(self._api, self._lists, self._market, own, self._prefix, clock, sleep)
        self._health = Health(self._api, clock, log_seconds, door)

    def __repr__(self) -> str:
        return f"PodHost(base_url={self._api.base_url!r}, prefix={self._prefix!r})"

    def close(self) -> None:
        """Closes the connections."""
        self._health.close()
        self._api.close()

    def check(self, spec: Mapping[str, Any]) -> None:
        """Refuses what no pod could run: no bound, no image, a GPU that does not exist, an address of this machine."""
        check_way_back(self._api_url, self._api.base_url)
        if not spec.get("max_price_per_hour"):
            raise InvalidInputError("A pod costs at all hours: say what it may cost, max_price_per_hour in US dollars.")
        image_of({"base_image": spec.get("image")}, self._image)
        wanted_ids(read_gpu(spec.get("gpu")).name)

    def start(self, order: HostOrder) -> Hosted:
        """Finds the pod of an attempt, or orders it, once."""
        self.check(order.spec)
        account = self._account(order.vendor_id)
        bound = _bound(order.spec)

        def choose() -> list[Candidate]:
            return affordable(self._candidates(account, order.spec), bound)

        handle = self._launcher.obtain(account, PodOrder(self._body(order), choose, bound), self._list_seconds)
        return self._hosted(handle)

    def find(self, deployment_id: str, attempt: int, vendor_id: str, since: datetime) -> Hosted | None:
        """The pod of an attempt; None when it was absent in repeated readings after the settling time."""
        name = pod_name(self._prefix, deployment_id, attempt)
        handle = self._launcher.find(self._account(vendor_id), name, since, self._settle)
        return self._hosted(handle) if handle is not None else None

    def look(self, hosted: Hosted) -> HostView:
        """What RunPod says of the pod, and the server of itself."""
        account = self._account(hosted.vendor_id)
        listed = self._lists.listed(account, self._list_seconds)
        handle = Handle(hosted.ref, hosted.vendor_id, data=hosted.data)
        seen = self._watch.look(account, listed, [handle])[hosted.ref]
        return self._health.view(account, hosted, seen, listed.get(hosted.ref))

    def scale(self, hosted: Hosted, least: int, most: int) -> None:
        """Nothing: a pod is one worker."""

    def end(self, hosted: Hosted) -> None:
        """Deletes it; stops and terminates it by action where that is refused."""
        self._launcher.end(self._account(hosted.vendor_id), hosted.ref)
        self._health.forget(hosted.ref)

    def logs(self, hosted: Hosted, tail: int) -> Sequence[str]:
        """The last lines of its container."""
        account = self._account(hosted.vendor_id)
        try:
            events = self._api.logs(account, hosted.ref, source="container", tail=tail, after="", seconds=_LOG_SECONDS)
        except NotFoundError:  # it went meanwhile
            return []
        return [event.text for event in events]

    def door(self, hosted: Hosted) -> Door:
        """The pod's public address; the vendor's key is none of its business."""
        guard = AddressGuard(allow_private=is_loopback(self._api.base_url))
        return Door(f"{hosted.endpoint}/infer", guard, wants_pass=True)

    def mine(self, vendor_id: str) -> Sequence[FoundServer]:
        """The vendor's pods that bear the name of one of this marketplace's servers and still exist."""
        account = self._account(vendor_id)
        named = [(pod, read_name(self._prefix, pod.name)) for pod in self._lists.listed(account).values()]
        return [self._found(account, pod, *name) for pod, name in named if name and pod.phase is not Phase.GONE]

    def _account(self, vendor_id: str) -> Account:
        return Account(vendor_id, self._keys(vendor_id))

    def _candidates(self, account: Account, spec: Mapping[str, Any]) -> list[Candidate]:
        if spec.get("gpu"):
            return self._market.candidates(account, read_gpu(str(spec["gpu"])))
        return self._market.cpu_candidates(account, int(spec.get("cpu", 2)), int(spec.get("memory", 4)))

    def _body(self, order: HostOrder) -> dict[str, Any]:
        own = order.spec.get("image")  # a vendor's own image brings its own command
        image = image_of({"base_image": own}, self._image)
        env = {**order.env, "PORT": str(PORT), "INFER_CALLERS": "token"}
        container = Container(image, () if own else SERVER_COMMAND, _DISK_GB, env)
        return body_of(pod_name(self._prefix, order.deployment_id, order.attempt), container, [f"{PORT}/http"])

    def _hosted(self, handle: Handle) -> Hosted:
        if not _POD_ID.fullmatch(handle.ref):  # it becomes part of a host's name
            raise ProviderError(f"RunPod gave the pod an id that is none: {handle.ref!r:.80}.")
        address = self._proxy_url.replace("{pod}", handle.ref).replace("{port}", str(PORT))
        data = {**handle.data, "price_per_hour": handle.price_per_hour}
        return Hosted(handle.ref, handle.vendor_id, address, data)

    def _found(self, account: Account, pod: Pod, deployment_id: str, attempt: int) -> FoundServer:
        handle = self._launcher.handle(account, pod)
        made = pod.created_at or self._clock()
        return FoundServer(self._hosted(handle), deployment_id, attempt, made, handle.price_per_hour)


def _bound(spec: Mapping[str, Any]) -> Bound:
    usd = Decimal(str(spec["max_price_per_hour"]))
    return Bound(usd, f"the order bears ${usd:.4f} per hour", "Raise max_price_per_hour, or name a cheaper GPU.")

"""The RunPod provider: trainings in pods of the vendor's own account, through REST v2.

1. An attempt has one name. Before a pod is ordered, the account is searched for that name; it is ordered once, and
   after a lost answer the account is searched again, never ordered again (there is no idempotency key).
2. What was asked for and not found is absent only after repeated readings, and not before the settling time is over.
3. A pod that costs more than the budget bears is ended at once; the price it had is remembered, its name is not reused.
4. Nothing ends by itself at RunPod: deadlines are the job's, the supervisor's and the sweep's business.
5. Foreign pods are never touched: ours bear this marketplace's prefix, a run's id and an attempt.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx

from mp_kit.errors import MarketplaceError
from mp_kit.server.providers.base import Found, Handle, LaunchOrder, Observed, Offer, Phase
from mp_kit.server.providers.runpod_api import Account, RunPodApi
from mp_kit.server.providers.runpod_gpus import read_gpu
from mp_kit.server.providers.runpod_launch import Launcher
from mp_kit.server.providers.runpod_market import Market
from mp_kit.server.providers.runpod_orders import Container, check_way_back, image_of, pod_name, read_name
from mp_kit.server.providers.runpod_watch import PodLists, Watch
from mp_kit.server.providers.runpod_wire import LogEvent, Pod, instant_text, money

__all__ = ["BASE_URL", "COMMAND", "RunPodProvider"]

log = logging.getLogger(__name__)

BASE_URL = "https://api.runpod.io/v2"
COMMAND = ("python", "-m", "mp_kit.trainer")
_THREADS = 8
_HOURLY_UP_TO = timedelta(days=7)


class RunPodProvider:
    """Runs trainings in RunPod pods.

    Args:
        keys: A vendor's API key by the vendor's id; raises CredentialError where there is none.
        image: Docker image with the trainer in it.
        prefix: Begins the name of each pod of this marketplace, and of no other's.
        base_url: RunPod's REST v2.
        api_url: Where pods call the marketplace back; empty where that is not known.
        command: The container's main process.
        env: Variables that each pod gets beside its order's.
        disk: GB of a pod that names none; small ones find no machine.
        community: Take machines of the community cloud too.
        places: Data centres that are allowed; empty for all.
        settle_seconds: Below this age an absence proves nothing.
        list_seconds: How old a list may be: RunPod counts requests per minute, hour and day.
        log_seconds: Longest time to read the host's log of a pod in trouble; two seconds of silence end it earlier.
        clock: The time.
        sleep: Waits.
        transport: An httpx transport in place of the network.
    """

    def __init__(  # noqa: PLR0913 - each is a fact about RunPod or this marketplace, most with a default
        self,
        keys: Callable[[str], str],
        *,
        image: str,
        prefix: str,
        base_url: str = BASE_URL,
        api_url: str = "",
        command: Sequence[str] = COMMAND,
        env: Mapping[str, str] | None = None,
        disk: int = 40,
        community: bool = False,
        places: Sequence[str] = (),
        settle_seconds: float = 120.0,
        list_seconds: float = 2.0,
        log_seconds: float = 3.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._keys = keys
        self._image = image
        self._api_url = api_url
        self._prefix = prefix
        self._clock = clock
        self._settle = timedelta(seconds=settle_seconds)
        self._list_seconds = list_seconds
        self._api = RunPodApi(base_url, transport=transport, clock=clock, sleep=sleep)
        self._lists = PodLists(self._api, clock)
        self._watch = Watch(self._api, clock, settle_seconds, log_seconds)
        self._market = Market(self._api, clock, ("SECURE", "COMMUNITY") if community else ("SECURE",), places)
        container = Container(image, tuple(command), disk, {"MP_RUNPOD_URL": self._api.base_url, **(env or {})})
        self._launcher = Launcher(self._api, self._lists, self._market, container, prefix, clock, sleep)

    def __repr__(self) -> str:
        return f"RunPodProvider(base_url={self._api.base_url!r}, prefix={self._prefix!r})"

    def close(self) -> None:
        """Closes the connections."""
        self._api.close()

    def check(self, machine: Mapping[str, Any]) -> None:
        """Refuses an order that no pod could carry out.

        Raises:
            InvalidInputError: Pods could not call this marketplace back, there is no image for them, or the order's is
                no image.
        """
        check_way_back(self._api_url, self._api.base_url)
        image_of(machine, self._image)

    def offers(self, vendor_id: str, machine: Mapping[str, Any]) -> Sequence[Offer]:
        """GPUs that fit, at today's prices. CPUs and memory come with a GPU at RunPod: such wishes decide nothing.

        Raises:
            InvalidInputError: No such GPU exists; the message names some that do. Or as for :meth:`check`.
            CredentialError: The vendor has not connected an account, or its key is refused.
            ProviderError: RunPod does not answer, or has none of them at present.
        """
        self.check(machine)
        wanted = read_gpu(machine.get("gpu"))
        return [candidate.offer() for candidate in self._market.candidates(self._account(vendor_id), wanted)]

    def launch(self, order: LaunchOrder) -> Handle:
        """Starts a pod, or finds the one that this order already started.

        Raises:
            InvalidInputError: RunPod would refuse the order, or refused it on every machine alike.
            CredentialError: The vendor has no account, or its key is refused.
            BudgetError: The budget bears no machine that fits, or the account has no balance.
            ForbiddenError: The account may use none of the machines.
            ProviderError: No place now, or a ``PacedError``; nothing was started.
            UnsearchedError: Its pods could not be listed; this call has started nothing.
            UnavailableError: It is not known whether something was started.
        """
        self.check(order.machine)
        return self._launcher.launch(self._account(order.vendor_id), order, self._list_seconds)

    def find(self, run_id: str, attempt: int, vendor_id: str, since: datetime) -> Handle | None:
        """The pod of an attempt; None when it was absent in repeated readings after the settling time.

        Raises:
            CredentialError: The vendor has no account, or its key is refused.
            UnavailableError: RunPod does not answer, or it is too early to tell.
        """
        account = self._account(vendor_id)
        name = pod_name(self._prefix, run_id, attempt)
        return self._launcher.find(account, name, since, self._settle, self._list_seconds)

    def observe(self, handles: Sequence[Handle]) -> Mapping[str, Observed]:
        """One list call per vendor, and a lookup by id for each pod that the list misses and that is due."""
        by_vendor: dict[str, list[Handle]] = defaultdict(list)
        for handle in handles:
            by_vendor[handle.vendor_id].append(handle)
        if not by_vendor:
            return {}
        seen: dict[str, Observed] = {}
        with ThreadPoolExecutor(min(_THREADS, len(by_vendor))) as pool:
            for part in pool.map(self._observe, by_vendor, by_vendor.values()):
                seen |= part
        return seen

    def terminate(self, handle: Handle) -> None:
        """Deletes a pod; stops and terminates it by action where that is refused. A 404 is neither proof nor error.

        Raises:
            CredentialError: The vendor has no account, or its key is refused.
            ProviderError: RunPod does not do it, or does not answer.
        """
        self._launcher.end(self._account(handle.vendor_id), handle.ref)

    def mine(self, vendor_id: str) -> Sequence[Found]:
        """The vendor's pods that bear this marketplace's prefix and still exist.

        Raises:
            CredentialError: The vendor has no account, or its key is refused.
            ProviderError: RunPod does not answer.
        """
        account = self._account(vendor_id)
        found = ((pod, read_name(self._prefix, pod.name)) for pod in self._lists.listed(account).values())
        return [self._found(account, pod, *named) for pod, named in found if named and pod.phase is not Phase.GONE]

    def billed(self, handles: Sequence[Handle], since: datetime) -> Mapping[str, Decimal]:
        """What RunPod billed for each pod, from the beginning of the hour of ``since`` (of its day, over a week back).

        Raises:
            CredentialError: A vendor has no account, or its key is refused.
            ProviderError: RunPod does not answer.
        """
        until = self._clock()
        bucket = "hour" if until - since <= _HOURLY_UP_TO else "day"
        bills: dict[str, Decimal] = {}
        for vendor_id in dict.fromkeys(handle.vendor_id for handle in handles):
            for record in self._api.bill(self._account(vendor_id), since, until, bucket):
                ref, amount = str(record.get("podId")), money(record.get("totalAmount"))
                bills[ref] = bills.get(ref, Decimal(0)) + (amount or Decimal(0))
        return {handle.ref: bills[handle.ref] for handle in handles if handle.ref in bills}

    def logs(
        self, handle: Handle, *, after: str = "", source: str = "container", tail: int = 100, seconds: float = 5.0
    ) -> Sequence[LogEvent]:
        """What RunPod has of a pod's log: for a job that is silent itself.

        Args:
            handle: The pod.
            after: Id of the last event that is known; empty for the last ``tail`` lines.
            source: ``container``, ``system`` (the host: pull, create, start), or empty for both.
            tail: Lines of the past, 0 to 5,000.
            seconds: Longest time to read; two seconds of silence end it earlier.

        Raises:
            CredentialError: The vendor has no account, or its key is refused.
            NotFoundError: RunPod has no such pod, or no log of it any more.
            ProviderError: RunPod does not answer.
        """
        account = self._account(handle.vendor_id)
        return self._api.logs(account, handle.ref, source=source, tail=tail, after=after, seconds=seconds)

    def _account(self, vendor_id: str) -> Account:
        return Account(vendor_id, self._keys(vendor_id))

    def _observe(self, vendor_id: str, handles: Sequence[Handle]) -> Mapping[str, Observed]:
        try:
            account = self._account(vendor_id)
            listed = self._lists.listed(account, self._list_seconds)
        except MarketplaceError as error:
            log.warning("the pods of vendor %s cannot be listed: %s", vendor_id, error)
            return {handle.ref: Observed(Phase.UNKNOWN, detail=str(error)) for handle in handles}
        return self._watch.look(account, listed, handles)

    def _found(self, account: Account, pod: Pod, run_id: str, attempt: int) -> Found:
        made = pod.created_at or self._clock()
        handle = Handle(
            pod.id, account.vendor_id, float(pod.cost or 0), {"name": pod.name, "since": instant_text(made)}
        )
        return Found(handle, run_id, attempt, made)

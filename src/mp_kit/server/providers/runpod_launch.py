"""Launching a pod at most once per attempt, and ending one.

1. The search by name comes before the order, and after every lost answer; an order is never repeated. Where that first
   search gets no answer nothing was ordered by this call, and that is said apart from an order that was lost.
2. RunPod's refusal of one candidate (no capacity, no access) leads to the next; a refusal of the account or of the
   request ends the launch. Every other answer leaves it open whether a pod was made.
3. Of several pods of one name the oldest is kept and the others are ended.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from mp_kit.errors import (
    CredentialError,
    ForbiddenError,
    InvalidInputError,
    MarketplaceError,
    ProviderError,
    UnavailableError,
)
from mp_kit.server.providers.base import Handle, LaunchOrder, Phase, UnsearchedError
from mp_kit.server.providers.runpod_api import Account, RunPodApi
from mp_kit.server.providers.runpod_failures import Answer, failure_of
from mp_kit.server.providers.runpod_gpus import Candidate, read_gpu
from mp_kit.server.providers.runpod_market import Bound, Market, affordable, budget_bound, check_hours
from mp_kit.server.providers.runpod_orders import Container, placed, pod_body
from mp_kit.server.providers.runpod_watch import PodLists
from mp_kit.server.providers.runpod_wire import Pod, instant_text

__all__ = ["Launcher", "PodOrder"]

log = logging.getLogger(__name__)

_SEARCH_WAITS = (0.5, 1.0, 2.0, 3.0, 4.0)
_READINGS = 3
_READING_SECONDS = 1.0
_MAX_CANDIDATES = 12
_MAX_PAUSES = 2
_LONGEST_PAUSE = 10.0
_RULE_OR_CAPACITY, _NO_KEY, _NO_ACCESS, _UNKNOWN_POD, _TOO_MANY = 400, 401, 403, 404, 429


@dataclass(frozen=True)
class PodOrder:
    """A pod to have, on whatever machine.

    Attributes:
        body: Its order but for the machine.
        choose: Gives the machines to try, in order; asked only if there is no pod of this name yet.
        bound: What it may cost.
        on_made: Told of a pod as soon as it exists, also of one that is ended at once because it costs too much.
    """

    body: Mapping[str, Any] = field(repr=False)
    choose: Callable[[], Sequence[Candidate]]
    bound: Bound
    on_made: Callable[[Handle], None] = lambda _: None


class Launcher:
    """Launches and ends pods.

    Args:
        api: To ask.
        lists: The accounts' pods.
        market: What may be ordered.
        container: What runs in each pod.
        prefix: Begins the names.
        clock: The time.
        sleep: Waits.
    """

    def __init__(
        self,
        api: RunPodApi,
        lists: PodLists,
        market: Market,
        container: Container,
        prefix: str,
        clock: Callable[[], datetime],
        sleep: Callable[[float], None],
    ) -> None:
        self._api = api
        self._lists = lists
        self._market = market
        self._container = container
        self._prefix = prefix
        self._clock = clock
        self._sleep = sleep
        self._lost: set[str] = set()
        self._condemned: set[str] = set()

    def launch(self, account: Account, order: LaunchOrder, list_seconds: float) -> Handle:
        """Finds the pod of a run's attempt, or orders it; errors as in the protocol."""
        wanted = read_gpu(order.machine.get("gpu"))
        bound = budget_bound(order, self._clock())

        def choose() -> list[Candidate]:
            check_hours(order, self._clock())
            return affordable(self._market.candidates(account, wanted), bound)

        body = pod_body(order, self._container, self._prefix)
        return self.obtain(account, PodOrder(body, choose, bound, order.on_made), list_seconds)

    def obtain(self, account: Account, order: PodOrder, list_seconds: float) -> Handle:
        """Finds the pod of a name, or orders it, once; errors as in the protocol."""
        pod, candidate = self._first_search(account, order.body["name"], list_seconds), None
        if pod is None:
            pod, candidate = self._place(account, order.body, order.choose())
        handle = self.handle(account, pod, candidate)
        order.on_made(handle)
        self._check_price(account, pod, candidate, order.bound)
        return handle

    def find(
        self, account: Account, name: str, since: datetime, settle: timedelta, list_seconds: float = 0.0
    ) -> Handle | None:
        """The pod of a name; None when it was absent in repeated readings after the settling time.

        Before that time a list may be so many seconds old: it may show the pod, and proves no absence. Afterwards each
        reading is a list of its own.

        Raises:
            UnavailableError: RunPod does not answer, or it is too early to tell.
        """
        left = settle - (self._clock() - since)
        is_early = left > timedelta()
        pod = self.search(account, name, list_seconds if is_early else 0.0)
        if pod is None and is_early:
            raise UnavailableError(
                f"Pod {name} does not show; it is called absent in {left.seconds} s at the earliest."
            )
        for _ in range(_READINGS - 1):
            if pod is None:
                self._sleep(_READING_SECONDS)
                pod = self.search(account, name)
        return self.handle(account, pod) if pod else None

    def search(self, account: Account, name: str, max_age: float = 0.0) -> Pod | None:
        """The pod of a name, the oldest living one of several.

        Raises:
            ProviderError: RunPod does not answer.
        """
        return self._chosen(account, name, self._lists.known(account, max_age))

    def _chosen(self, account: Account, name: str, known: Iterable[Pod]) -> Pod | None:
        pods = [pod for pod in known if pod.name == name]
        for pod in _living(pod for pod in pods if pod.id in self._condemned):
            self.end(account, pod.id)
        named = sorted((pod for pod in pods if pod.id not in self._condemned), key=_kept_first)
        if not named:
            return None
        for double in _living(named[1:]):
            log.error("pod %s has a double: %s is kept, %s is ended", name, named[0].id, double.id)
            self.end(account, double.id)
        self._lost.discard(name)
        return named[0]

    def handle(self, account: Account, pod: Pod, candidate: Candidate | None = None) -> Handle:
        """What is stored of a pod that was made or found just now."""
        price = pod.cost or (candidate.price if candidate else Decimal(0))
        told = {"gpu": pod.gpu, "cloud": pod.cloud, "data_center": pod.data_center}
        data = {
            "name": pod.name,
            "since": instant_text(self._clock()),
            **{key: said for key, said in told.items() if said},
        }
        return Handle(pod.id, account.vendor_id, float(price), data)

    def end(self, account: Account, pod_id: str) -> None:
        """Asks for a pod's end in every way there is; which of them it took only the next reading tells.

        Raises:
            CredentialError: The key is refused.
            ProviderError: RunPod does not do it, or does not answer.
        """
        answer = self._api.delete(account, pod_id)
        if answer.is_success or (answer.status == _UNKNOWN_POD and not self._is_there(account, pod_id)):
            return
        if answer.status not in {_NO_KEY, _TOO_MANY}:
            for action in ("stop", "terminate"):  # stopped, it costs no GPU any more
                answer = self._api.act(account, pod_id, action)
        if not answer.is_success and answer.status != _UNKNOWN_POD:
            failure = failure_of(answer)
            raise failure if isinstance(failure, CredentialError) else ProviderError(str(failure))

    def _is_there(self, account: Account, pod_id: str) -> bool:
        pod = self._api.pod(account, pod_id)
        return pod is not None and pod.phase is not Phase.GONE

    def _first_search(self, account: Account, name: str, list_seconds: float) -> Pod | None:
        try:
            known = self._lists.known(account, list_seconds)
        except ProviderError as error:  # an earlier call may have made it
            kind = UnavailableError if name in self._lost else UnsearchedError
            told = f"It cannot be told whether pod {name} exists: {error}"
            raise kind(told, retry_after=error.retry_after) from error
        try:
            pod = self._chosen(account, name, known)
        except ProviderError as error:  # of the end of a double: there is a pod
            raise UnavailableError(f"Pod {name} has a double that could not be ended: {error}") from error
        if pod is None and name in self._lost:
            raise UnavailableError(f"Pod {name} was ordered, the answer was lost, and it does not show yet.")
        return pod

    def _place(self, account: Account, body: Mapping[str, Any], choice: Sequence[Candidate]) -> tuple[Pod, Candidate]:
        refusals: list[Answer] = []
        for candidate in choice[:_MAX_CANDIDATES]:
            result = self._order(account, placed(body, candidate))
            if isinstance(result, Pod):
                return result, candidate
            if result.status not in {_RULE_OR_CAPACITY, _NO_ACCESS} or not result.is_problem:
                raise failure_of(result)
            refusals.append(result)
        raise _exhausted(refusals)

    def _order(self, account: Account, body: Mapping[str, Any]) -> Pod | Answer:
        """Orders one candidate; waits and asks again only where RunPod says that it did not even look (429)."""
        secrets = list(body["env"].values())
        for pause in range(_MAX_PAUSES + 1):
            try:
                result = self._api.create(account, body, secrets)
            except ProviderError:
                raise
            except UnavailableError as error:
                return self._after_silence(account, body["name"], error)
            asked = result.retry_after or 1.0 if isinstance(result, Answer) and result.status == _TOO_MANY else None
            if asked is None or asked > _LONGEST_PAUSE or pause == _MAX_PAUSES:
                break
            self._sleep(asked)
        if isinstance(result, Pod):
            self._lists.add(account, result)
        return result

    def _after_silence(self, account: Account, name: str, error: UnavailableError) -> Pod:
        self._lost.add(name)
        for wait in _SEARCH_WAITS:
            self._sleep(wait)
            try:
                pod = self.search(account, name)
            except ProviderError as trouble:
                log.warning("pod %s cannot be searched: %s", name, trouble)
                continue
            if pod is not None:
                return pod
        raise UnavailableError(f"Pod {name} was ordered and does not show yet: {error}") from error

    def _check_price(self, account: Account, pod: Pod, candidate: Candidate | None, bound: Bound) -> None:
        """Ends a pod at once that costs more than is borne.

        Raises:
            ProviderError: It did, and was ended; there may be a cheaper one.
            UnavailableError: It does, and could not be ended.
        """
        if pod.cost is None or bound.bears(pod.cost):
            return
        if candidate:
            self._market.note_price(candidate, pod.cost)
        self._condemned.add(pod.id)
        too_dear = f"RunPod charges ${pod.cost:.4f} per hour for pod {pod.name}, and {bound.told}"
        try:
            self.end(account, pod.id)
        except MarketplaceError as error:
            raise UnavailableError(f"{too_dear}; it could not be ended: {error}") from error
        raise ProviderError(f"{too_dear}; it was ended at once.")


def _living(pods: Iterable[Pod]) -> list[Pod]:
    return [pod for pod in pods if pod.phase is not Phase.GONE]


def _kept_first(pod: Pod) -> tuple[bool, tuple[datetime, str]]:
    return (pod.phase is Phase.GONE, pod.age_key)


def _exhausted(refusals: Sequence[Answer]) -> MarketplaceError:
    """What it means that every candidate was refused."""
    if all(answer.status == _NO_ACCESS for answer in refusals):
        return ForbiddenError(f"The RunPod account may use none of the machines that fit: {refusals[-1].told}")
    rules = [answer for answer in refusals if answer.status == _RULE_OR_CAPACITY]
    if len({answer.told for answer in rules}) == 1 and not rules[0].lacks_capacity:
        return InvalidInputError(f"RunPod refuses the order on every machine alike: {rules[0].told}")
    return ProviderError(f"RunPod has no place now; {len(refusals)} kinds of machine were tried: {refusals[-1].told}")

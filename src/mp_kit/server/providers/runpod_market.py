"""What RunPod offers a vendor just now: catalogues by cloud, kept for a moment, and prices that turned out higher."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_UP, Decimal

from mp_kit.errors import BudgetError, ProviderError
from mp_kit.server.providers.base import LaunchOrder
from mp_kit.server.providers.runpod_api import Account, RunPodApi
from mp_kit.server.providers.runpod_cpus import cpu_candidates, vcpu_count
from mp_kit.server.providers.runpod_gpus import Candidate, Wanted, candidates
from mp_kit.server.providers.runpod_wire import GpuKind

__all__ = ["Bound", "Market", "affordable", "budget_bound", "check_hours"]

_CATALOGUE_SECONDS = 30.0
_QUOTE_SECONDS = 900.0
_SECONDS_PER_HOUR = 3600
_CENT = Decimal("0.0001")


@dataclass(frozen=True)
class Bound:
    """What a pod may cost.

    Attributes:
        usd: US dollars per hour; None for no bound.
        told: Who bears it, how much and how long, as a sentence goes on.
        hint: What to do where it bears nothing.
    """

    usd: Decimal | None
    told: str = ""
    hint: str = ""

    def bears(self, price: Decimal) -> bool:
        """Whether a price is within it."""
        return self.usd is None or price <= self.usd


class Market:
    """The offers that a launch may take.

    Args:
        api: To ask.
        clock: The time.
        clouds: ``SECURE``, and ``COMMUNITY`` where it is wanted too.
        places: Data centres that are allowed; empty for all.
    """

    def __init__(
        self, api: RunPodApi, clock: Callable[[], datetime], clouds: Sequence[str], places: Sequence[str]
    ) -> None:
        self._api = api
        self._clock = clock
        self._clouds = tuple(clouds)
        self._places = tuple(places)
        self._kept: dict[tuple[str, str, int], tuple[datetime, list[GpuKind]]] = {}
        self._quotes: dict[tuple[str, str], tuple[datetime, Decimal]] = {}
        self._lock = threading.Lock()

    def candidates(self, account: Account, wanted: Wanted) -> list[Candidate]:
        """What to try, in order.

        Raises:
            InvalidInputError: No such GPU exists.
            ProviderError: RunPod does not answer, or offers none of them at present.
        """
        catalogues = {cloud: self._catalogue(account, cloud, wanted.count) for cloud in self._clouds}
        found = candidates(wanted, catalogues, places=self._places, quotes=self._recent_quotes())
        if not found:
            raise ProviderError(f"RunPod offers no {wanted.name or 'GPU for a run without a wish'} at present.")
        return found

    def cpu_candidates(self, account: Account, cpus: int, memory: int) -> list[Candidate]:
        """CPU pods that have at least so many vCPUs and GB; they are in the secure cloud only.

        Raises:
            InvalidInputError: None is so large.
            ProviderError: RunPod does not answer, or offers none at present.
        """
        kinds = self._api.cpus(account, count=vcpu_count(cpus))
        if not kinds:
            raise ProviderError("RunPod offers no CPU pods at present.")
        return cpu_candidates(kinds, cpus, memory, places=self._places, quotes=self._recent_quotes())

    def note_price(self, candidate: Candidate, cost: Decimal) -> None:
        """Remembers for a while that a pod cost more than the catalogue said."""
        with self._lock:
            self._quotes[candidate.gpu, candidate.cloud] = (self._clock(), cost / candidate.count)

    def _recent_quotes(self) -> Mapping[tuple[str, str], Decimal]:
        oldest = self._clock() - timedelta(seconds=_QUOTE_SECONDS)
        with self._lock:
            return {key: price for key, (at, price) in self._quotes.items() if at > oldest}

    def _catalogue(self, account: Account, cloud: str, count: int) -> list[GpuKind]:
        key = (account.vendor_id, cloud, count)
        with self._lock:
            at, kinds = self._kept.get(key, (None, []))
        if at is None or self._clock() - at > timedelta(seconds=_CATALOGUE_SECONDS):
            at, kinds = self._clock(), self._api.gpus(account, count=count, cloud=cloud)
            with self._lock:
                self._kept[key] = (at, kinds)
        return kinds


def budget_bound(order: LaunchOrder, now: datetime) -> Bound:
    """What a run's budget bears per hour: its money by the hours to the deadline."""
    hours = _hours(order, now)
    if order.max_cost_usd is None or hours <= 0:
        return Bound(None)
    usd = Decimal(str(order.max_cost_usd)) / hours
    return Bound(
        usd,
        f"the budget bears ${usd.quantize(_CENT)} per hour until the deadline",
        "Raise budget.max_cost_usd, lower budget.max_hours, or name a cheaper GPU.",
    )


def check_hours(order: LaunchOrder, now: datetime) -> None:
    """A run may start while it has hours left.

    Raises:
        BudgetError: It has none.
    """
    if _hours(order, now) <= 0:
        raise BudgetError(f"Run {order.run_id} has no hours left to start in.")


def _hours(order: LaunchOrder, now: datetime) -> Decimal:
    return Decimal(str((order.deadline - now).total_seconds())) / _SECONDS_PER_HOUR


def affordable(found: Sequence[Candidate], bound: Bound) -> list[Candidate]:
    """Those whose price is within a bound.

    Raises:
        BudgetError: None is; the message says what the cheapest costs.
    """
    borne = [one for one in found if bound.bears(one.price)]
    if borne or not found:
        return borne
    least = min(found, key=lambda one: one.price)
    raise BudgetError(
        f"The cheapest that fits, {least.offer().name}, costs ${least.price.quantize(_CENT, ROUND_UP)} per hour; "
        f"{bound.told}.",
        hint=bound.hint,
    )

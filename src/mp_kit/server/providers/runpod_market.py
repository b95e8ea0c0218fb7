"""What RunPod offers a vendor just now: catalogues by cloud, kept for a moment, and prices that turned out higher."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import ROUND_UP, Decimal

from mp_kit.errors import BudgetError, ProviderError
from mp_kit.server.providers.base import LaunchOrder
from mp_kit.server.providers.runpod_api import Account, RunPodApi
from mp_kit.server.providers.runpod_gpus import Candidate, Wanted, candidates
from mp_kit.server.providers.runpod_wire import GpuKind

__all__ = ["Market", "affordable", "check_hours", "price_cap"]

_CATALOGUE_SECONDS = 30.0
_QUOTE_SECONDS = 900.0
_SECONDS_PER_HOUR = 3600
_CENT = Decimal("0.0001")


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


def price_cap(order: LaunchOrder, now: datetime) -> Decimal | None:
    """US dollars per hour that the budget bears: its money by the hours to the deadline; None for no bound."""
    hours = _hours(order, now)
    return Decimal(str(order.max_cost_usd)) / hours if order.max_cost_usd is not None and hours > 0 else None


def check_hours(order: LaunchOrder, now: datetime) -> None:
    """A run may start while it has hours left.

    Raises:
        BudgetError: It has none.
    """
    if _hours(order, now) <= 0:
        raise BudgetError(f"Run {order.run_id} has no hours left to start in.")


def _hours(order: LaunchOrder, now: datetime) -> Decimal:
    return Decimal(str((order.deadline - now).total_seconds())) / _SECONDS_PER_HOUR


def affordable(found: Sequence[Candidate], cap: Decimal | None) -> list[Candidate]:
    """Those whose price the budget bears.

    Raises:
        BudgetError: It bears none of them; the message says what the cheapest costs.
    """
    borne = [one for one in found if cap is None or one.price <= cap]
    if borne or cap is None:
        return borne
    least = min(found, key=lambda one: one.price)
    raise BudgetError(
        f"The cheapest that fits, {least.offer().name}, costs ${least.price.quantize(_CENT, ROUND_UP)} per hour; "
        f"the budget bears ${cap.quantize(_CENT)} per hour until the deadline.",
        hint="Raise budget.max_cost_usd, lower budget.max_hours, or name a cheaper GPU.",
    )

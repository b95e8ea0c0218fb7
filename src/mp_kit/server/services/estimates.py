"""What a run would cost: prices of the machines that a launch would try, beside the bounds that it must keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from mp_kit.contracts.estimates import Estimate, MachineOffer
from mp_kit.contracts.training import TrainingRequest
from mp_kit.server.providers.base import Offer, Provider
from mp_kit.server.services import money, runs
from mp_kit.server.store import ledger
from mp_kit.server.store.engine import Database

__all__ = ["estimate"]


def estimate(
    db: Database, providers: Mapping[str, Provider], vendor_id: str, request: TrainingRequest, *, now: datetime
) -> Estimate:
    """Quotes a run; nothing is ordered or reserved.

    Args:
        db: No transaction is open while the provider is asked.
        providers: Those on offer, by name.
        vendor_id: Who asks.
        request: What would be ordered.
        now: An aware instant.

    Raises:
        InvalidInputError: The provider is not on offer, there is no such GPU, or no such hyperparameter.
        CredentialError: The vendor has not connected its account.
        ProviderError: The provider does not answer, or has no such machine at present.
    """
    name = request.provider.value
    runs.check_provider(name, providers)
    runs.check_hyperparams(request)
    machine = runs.machine_of(request)
    offers = providers[name].offers(vendor_id, machine)
    with db.begin() as tx:
        ceiling = ledger.ceiling(tx, vendor_id)
        committed = ledger.committed(tx, vendor_id, money.month_began(now))
    hours, bound = money.hours(request.budget.max_hours), money.bound(name, request.budget.max_cost_usd)
    shown = [_shown(offer, hours, bound) for offer in offers]
    return Estimate(
        provider=request.provider,
        max_hours=hours,
        max_cost_usd=bound,
        worst_case_usd=max((offer.worst_case_usd for offer in shown if offer.fits), default=None),
        offers=shown,
        committed_usd=float(committed),
        monthly_ceiling_usd=None if ceiling is None else float(ceiling),
        refusal=_refusal(shown, bound, committed, ceiling),
    )


def _shown(offer: Offer, hours: float, bound: float | None) -> MachineOffer:
    worst = money.worst_case(offer.price_per_hour, hours)
    return MachineOffer(
        name=offer.name,
        cloud=offer.cloud,
        stock=offer.stock,
        price_per_hour_usd=float(offer.price_per_hour),
        worst_case_usd=float(worst),
        fits=bound is None or float(offer.price_per_hour) * hours <= bound,
    )


def _refusal(
    offers: Sequence[MachineOffer], bound: float | None, committed: Decimal, ceiling: Decimal | None
) -> str | None:
    if ceiling is not None and committed + Decimal(str(bound or 0)) > ceiling:
        return f"${committed:.2f} are spent or reserved this month; your ceiling is ${ceiling:.2f}."
    if offers and not any(offer.fits for offer in offers):
        cheapest = min(offers, key=lambda offer: offer.worst_case_usd)
        return (
            f"The cheapest machine, {cheapest.name}, would cost up to ${cheapest.worst_case_usd:.2f}: "
            f"raise max_cost_usd to that, or lower max_hours."
        )
    return None

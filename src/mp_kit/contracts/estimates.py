"""What a training run would cost before it is ordered."""

from __future__ import annotations

from pydantic import Field

from mp_kit.contracts.common import Model
from mp_kit.contracts.training import Provider


class MachineOffer(Model):
    """A kind of machine that a launch would try, in this order."""

    name: str
    cloud: str = ""
    stock: str
    price_per_hour_usd: float = Field(ge=0)
    worst_case_usd: float = Field(ge=0, description="Its price times all the hours.")
    fits: bool = Field(description="Its worst case is within the run's bound; a launch takes no other.")


class Estimate(Model):
    """Bounds, prices and what is left of the vendor's ceiling."""

    provider: Provider
    max_hours: float
    max_cost_usd: float | None = Field(default=None, description="The run's bound: the vendor's own, or the house's.")
    worst_case_usd: float | None = Field(
        default=None, description="Of the dearest machine that fits; null if none does."
    )
    offers: list[MachineOffer]
    committed_usd: float = Field(ge=0, description="Spent this month, and reserved by open runs.")
    monthly_ceiling_usd: float | None = None
    refusal: str | None = Field(default=None, description="Why the order would be refused or could not be launched.")

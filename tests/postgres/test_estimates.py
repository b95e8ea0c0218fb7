"""What a run would cost: offers against the bound, the ceiling, and the sentence that refuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from mp_kit.contracts import Estimate, TrainingRequest
from mp_kit.errors import InvalidInputError
from mp_kit.server.house import House
from mp_kit.server.providers.base import Offer
from mp_kit.server.services import estimates, money, vendors


class Market:
    """A provider with two machines."""

    def offers(self, vendor_id: str, machine: Mapping[str, Any]) -> Sequence[Offer]:
        """The cheap one first."""
        assert vendor_id.startswith("ven_")
        assert machine == {"gpu": "A100"}
        return [Offer("cheap", Decimal("1.39"), "high", "SECURE"), Offer("dear", Decimal("2.99"), "low", "SECURE")]


@pytest.fixture(scope="module")
def vendor(house: House) -> str:
    """A vendor."""
    with house.db.begin() as tx:
        return vendors.create(tx, house.tokens, "ACME", actor="test").vendor_id


def test_misspelt_hyperparameter_is_refused(house: House, vendor: str):
    """A quote of what would never run is none."""
    body = {"round_id": "current", "task": "signal", "provider": "runpod", "hyperparams": {"epoch": 5}}
    request = TrainingRequest.model_validate(body)
    market: Any = Market()
    with pytest.raises(InvalidInputError, match="epoch is not known") as refused:
        estimates.estimate(house.db, {"runpod": market}, vendor, request, now=datetime.now(UTC))
    assert "epochs" in refused.value.hint


def ask(house: House, vendor: str, **budget: float) -> Estimate:
    body = {"round_id": "current", "task": "signal", "provider": "runpod", "gpu": "A100", "budget": budget}
    request: Any = TrainingRequest.model_validate(body)
    market: Any = Market()
    return estimates.estimate(house.db, {"runpod": market}, vendor, request, now=datetime.now(UTC))


def test_worst_case_is_the_dearest_that_fits(house: House, vendor: str):
    """Without bounds of the vendor's own the house's count: four hours, $25."""
    quoted = ask(house, vendor)
    assert (quoted.max_hours, quoted.max_cost_usd, quoted.worst_case_usd) == (4.0, money.DEFAULT_USD, 11.96)
    assert [offer.worst_case_usd for offer in quoted.offers] == [5.56, 11.96]
    assert quoted.refusal is None


def test_machine_above_the_bound_does_not_fit(house: House, vendor: str):
    """It is shown, and does not count."""
    quoted = ask(house, vendor, max_cost_usd=6)
    assert ([offer.fits for offer in quoted.offers], quoted.worst_case_usd) == ([True, False], 5.56)


def test_no_machine_fits(house: House, vendor: str):
    """The sentence says what would do."""
    quoted = ask(house, vendor, max_cost_usd=2)
    assert quoted.worst_case_usd is None
    assert quoted.refusal == (
        "The cheapest machine, cheap, would cost up to $5.56: raise max_cost_usd to that, or lower max_hours."
    )


def test_ceiling_would_be_broken(house: House, vendor: str):
    """The order would be refused, and the estimate says so beforehand."""
    with house.db.begin() as tx:
        money.set_ceiling(tx, vendor, Decimal(20), actor="test")
    quoted = ask(house, vendor)
    assert quoted.refusal == "$0.00 are spent or reserved this month; your ceiling is $20.00."
    assert ask(house, vendor, max_cost_usd=20).refusal is None


def test_provider_that_is_not_on_offer(house: House, vendor: str):
    """As for an order."""
    request = TrainingRequest.model_validate({"round_id": "current", "task": "signal", "provider": "byoc"})
    with pytest.raises(InvalidInputError, match="not on offer"):
        estimates.estimate(house.db, {}, vendor, request, now=datetime.now(UTC))

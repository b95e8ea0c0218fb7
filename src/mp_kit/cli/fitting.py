"""The round whose bars a deployment is asked with: of the length that its model was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mp_kit.contracts import CURRENT
from mp_kit.errors import InvalidInputError

if TYPE_CHECKING:
    from mp_kit.client.deployments import DeploymentView
    from mp_kit.client.marketplace import Marketplace

__all__ = ["fitting_round"]

_NEWEST = 20


def fitting_round(market: Marketplace, deployment: DeploymentView, wanted: str) -> str:
    """The round to take bars from: an answer about bars of another length would be a signal that stays.

    Args:
        market: Whom to ask.
        deployment: Who is to answer.
        wanted: A round's id, or ``current``: then another one where that one does not fit.

    Returns:
        The round's id; what was wanted, where nobody knows what the model was trained on.

    Raises:
        InvalidInputError: The round has bars of another length, or no round has bars of the model's.
    """
    trained = _trained_on(market, deployment)
    if trained is None:
        return wanted
    own, there = (market.rounds.manifest(each).timeframe for each in (trained, wanted))
    if own == there:
        return wanted
    said = f"The model of {deployment.name} was trained on bars of {own}"
    if wanted != CURRENT:
        raise InvalidInputError(f"{said}, and round {wanted} has bars of {there}.", hint="See: mp data list")
    listed = (one.round_id for one in market.rounds.list(_NEWEST))
    found = next((each for each in listed if market.rounds.manifest(each).timeframe == own), None)
    if found is None:
        raise InvalidInputError(f"{said}, and no round has such bars now.", hint="See: mp data list")
    return found


def _trained_on(market: Marketplace, deployment: DeploymentView) -> str | None:
    if deployment.model_id is None:
        return None
    versions = market.models.lineage(deployment.model_id).versions
    served = [one for one in versions if deployment.version_id in {None, one.version_id}]
    return served[0].run.round_id if served and served[0].run else None

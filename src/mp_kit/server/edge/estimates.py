"""What a training run would cost, before it is ordered."""

from __future__ import annotations

from litestar import post
from litestar.params import JSONBody

from mp_kit.contracts import Success, TrainingRequest
from mp_kit.contracts.estimates import Estimate
from mp_kit.server import clock
from mp_kit.server.edge.auth import allow
from mp_kit.server.edge.parts import Caller, TheHouse, ok, require_json
from mp_kit.server.services import estimates


@post(
    "/api/training/estimate",
    guards=[allow("vendor")],
    before_request=require_json,
    sync_to_thread=True,
    status_code=200,
    tags=["training"],
)
def estimate(house: TheHouse, who: Caller, data: JSONBody[TrainingRequest]) -> Success[Estimate]:
    """Prices of the machines that a launch would try, the worst case, and what is left of the vendor's ceiling."""
    quoted = estimates.estimate(house.db, house.providers, who.vendor_id or "", data, now=clock.now())
    return ok(quoted)

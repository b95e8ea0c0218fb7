"""The vendor's first page: what runs, what it is worth, what happened last."""

from __future__ import annotations

from litestar import Response, get

from mp_kit.contracts import Liveness, Stage
from mp_kit.server.console.pages import page
from mp_kit.server.console.visits import DESK, TheHouse, TheVisit, signed_in, vendor_of
from mp_kit.server.services import desk

_LIVE_STAGES = (Stage.PILOT, Stage.PROD)


@get(DESK, guards=[signed_in], sync_to_thread=True, include_in_schema=False)
def overview(house: TheHouse, visit: TheVisit) -> Response[bytes]:
    """The desk of the vendor that is signed in."""
    with house.db.begin() as tx:
        shown = desk.overview(tx, vendor_of(visit))
    return page(
        visit,
        "vendor/overview.html",
        title="Your desk",
        desk=shown,
        active=sum(1 for one in shown.models if one.stage in _LIVE_STAGES),
        online=sum(1 for one in shown.deployments if one.liveness is Liveness.ONLINE),
        best=next((one for one in shown.scores if one.enough_data), None),
    )


HANDLERS = [overview]

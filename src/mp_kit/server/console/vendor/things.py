"""The vendor's models and deployments: lists, and a deployment's page with its signs of life."""

from __future__ import annotations

from litestar import Response, get
from litestar.params import FromPath

from mp_kit.server.console.charts import Bar
from mp_kit.server.console.pages import page
from mp_kit.server.console.visits import TheHouse, TheVisit, signed_in, vendor_of
from mp_kit.server.services import desk

DEPLOYMENTS = "/marketplace/vendor/deployments"
_ENOUGH = 0.95


@get("/marketplace/vendor/models", guards=[signed_in], sync_to_thread=True, include_in_schema=False)
def models(house: TheHouse, visit: TheVisit) -> Response[bytes]:
    """The vendor's models, in any stage."""
    with house.db.begin() as tx:
        shown = desk.overview(tx, vendor_of(visit))
    scores = {one.model_id: one for one in reversed(shown.scores)}
    served = {one.model_id for one in shown.deployments}
    return page(visit, "vendor/models.html", title="Models", models=shown.models, scores=scores, served=served)


@get(DEPLOYMENTS, guards=[signed_in], sync_to_thread=True, include_in_schema=False)
def deployments(house: TheHouse, visit: TheVisit) -> Response[bytes]:
    """The vendor's deployments."""
    with house.db.begin() as tx:
        shown = desk.overview(tx, vendor_of(visit))
    names = {model.id: model.name for model in shown.models}
    return page(visit, "vendor/deployments.html", title="Deployments", deployments=shown.deployments, names=names)


@get(f"{DEPLOYMENTS}/{{deployment_id:str}}", guards=[signed_in], sync_to_thread=True, include_in_schema=False)
def deployment(house: TheHouse, visit: TheVisit, deployment_id: FromPath[str]) -> Response[bytes]:
    """A deployment of the vendor's, with its last day."""
    with house.db.begin() as tx:
        shown = desk.deployment(tx, vendor_of(visit), deployment_id)
    bars = [Bar(f"{at:%H:%M}", share * 100, kind="" if share > _ENOUGH else "low") for at, share in shown.hours]
    uptime = sum(share for _, share in shown.hours) / len(shown.hours) if shown.beats and shown.hours else None
    return page(visit, "vendor/deployment.html", title=shown.deployment.name, shown=shown, bars=bars, uptime=uptime)


HANDLERS = [models, deployments, deployment]

"""The vendor's models: their list, and each one's page with its versions, their gates, and the way to another stage."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from litestar import Response, get, post
from litestar.params import FromPath
from pydantic import ValidationError

from mp_kit.contracts import Stage, StageChange, VersionLineage
from mp_kit.errors import ConflictError, NotFoundError
from mp_kit.server.console.pages import page, redirect
from mp_kit.server.console.vendor.forms import faults, typed
from mp_kit.server.console.visits import AnyRequest, TheForm, TheHouse, TheVisit, Visit, signed_in, vendor_of
from mp_kit.server.house import House
from mp_kit.server.services import desk
from mp_kit.server.services import models as service

MODELS = "/marketplace/vendor/models"
_ONE = f"{MODELS}/{{model_id:str}}"
_FIELDS = {"stage": "stage", "reason": "why", "": "stage"}
_OPTIONS: dict[str, Any] = {
    "guards": [signed_in], "sync_to_thread": True, "include_in_schema": False, "status_code": 200,
}  # fmt: skip


@get(MODELS, **_OPTIONS)
def show(house: TheHouse, visit: TheVisit) -> Response[bytes]:
    """The vendor's models, in any stage."""
    with house.db.begin() as tx:
        shown = desk.overview(tx, vendor_of(visit))
    scores = {one.model_id: one for one in reversed(shown.scores)}
    served = {one.model_id for one in shown.deployments}
    return page(visit, "vendor/models.html", title="Models", models=shown.models, scores=scores, served=served)


@get(_ONE, **_OPTIONS)
def one(house: TheHouse, visit: TheVisit, request: AnyRequest, model_id: FromPath[str]) -> Response[bytes]:
    """A model: all its versions in a list, and one of them in full."""
    return _page(house, visit, model_id, request.query_params.get("version", ""))


@post(f"{_ONE}/versions/{{version_id:str}}/stage", **_OPTIONS)
def change_stage(
    house: TheHouse, visit: TheVisit, form: TheForm, model_id: FromPath[str], version_id: FromPath[str]
) -> Response[bytes]:
    """Moves a version to another stage; a refusal names each gate that is not met."""
    said: dict[str, Any] = {"typed": typed(form, ("stage", "why"))}
    wanted = {"stage": said["typed"]["stage"], "reason": said["typed"]["why"].strip() or None}
    try:
        step = StageChange.model_validate(wanted)
        with house.db.begin() as tx:
            moved = service.change_stage(
                tx, vendor_of(visit), model_id, version_id, step.stage, actor=visit.actor, reason=step.reason
            )
    except ValidationError as error:
        return _page(house, visit, model_id, version_id, **said, errors=faults(error, _FIELDS), status=422)
    except ConflictError as error:
        return _page(house, visit, model_id, version_id, **said, refused=error, status=error.http)
    return redirect(visit, path_of(model_id, moved.version_id), say=f"The version is in {moved.stage.value} now.")


def path_of(model_id: str, version_id: str = "") -> str:
    """Where a model's page is, with one of its versions in full."""
    return f"{MODELS}/{quote(model_id, safe='')}" + (f"?{urlencode({'version': version_id})}" if version_id else "")


def _page(house: House, visit: Visit, model_id: str, wanted: str, *, status: int = 200, **more: Any) -> Response[bytes]:
    with house.db.begin() as tx:
        held = desk.model(tx, vendor_of(visit), model_id)
    chosen = _chosen(held.lineage.versions, wanted)
    steps = [stage for stage in Stage if chosen is not None and stage in service.NEXT_STAGES[chosen.stage]]
    facts: dict[str, Any] = {"typed": {"stage": "", "why": ""}, "errors": {}, "refused": None, **more}
    return page(
        visit,
        "vendor/model.html",
        status=status,
        title=held.lineage.name,
        held=held,
        chosen=chosen,
        steps=steps,
        **facts,
    )


def _chosen(versions: list[VersionLineage], wanted: str) -> VersionLineage | None:
    """The version that was asked for, else the newest that is not retired, else the newest.

    Raises:
        NotFoundError: The model has no such version.
    """
    if wanted:
        found = next((one for one in versions if one.version_id == wanted), None)
        if found is None:
            raise NotFoundError("The model has no such version.")
        return found
    return next((one for one in versions if one.stage is not Stage.RETIRED), versions[0] if versions else None)


HANDLERS = [show, one, change_stage]

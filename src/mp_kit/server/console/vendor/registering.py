"""Registering a version of a model: by a form that knows the run it comes from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from litestar import Response, get, post
from pydantic import ValidationError

from mp_kit.contracts import ModelRegistration, RunStatus, Task
from mp_kit.errors import ConflictError, InvalidInputError, NotFoundError
from mp_kit.server.console.pages import page, redirect
from mp_kit.server.console.vendor.forms import blamed, faults, typed
from mp_kit.server.console.vendor.models import MODELS, path_of
from mp_kit.server.console.visits import AnyRequest, TheForm, TheHouse, TheVisit, Visit, signed_in, vendor_of
from mp_kit.server.house import House
from mp_kit.server.services import desk, models, runs
from mp_kit.server.store.engine import Tx

NEW = f"{MODELS}/new"
FIELDS = ("run_id", "name", "version", "task", "description")
_PLACES = {name: name for name in FIELDS} | {"": "run_id"}
_RUNS = 50
_TAIL = 6
_NUMBER = re.compile(r"^(.*?)(\d{1,9})$")
_OPTIONS: dict[str, Any] = {
    "guards": [signed_in], "sync_to_thread": True, "include_in_schema": False, "status_code": 200,
}  # fmt: skip


@get(NEW, **_OPTIONS)
def new_model(house: TheHouse, visit: TheVisit, request: AnyRequest) -> Response[bytes]:
    """The form, filled in as far as a run (``?run=``) or a model (``?model=``) tells."""
    said = {name: request.query_params.get(name, "").replace("\0", "") for name in ("run", "model")}
    with house.db.begin() as tx:
        filled = _suggested(tx, vendor_of(visit), said["run"], said["model"])
    return _form(house, visit, filled)


@post(NEW, **_OPTIONS)
def register(house: TheHouse, visit: TheVisit, form: TheForm) -> Response[bytes]:
    """Registers the version; what is wrong is said at its field, and what was typed stays."""
    said = typed(form, FIELDS)
    wanted = {name: text.strip() for name, text in said.items()}
    try:
        with house.db.begin() as tx:
            task = _task(tx, vendor_of(visit), wanted["run_id"], wanted["task"])
            order = ModelRegistration.model_validate(wanted | {"run_id": wanted["run_id"] or None, "task": task})
            made = models.register(tx, vendor_of(visit), order)
    except ValidationError as error:
        return _form(house, visit, said, errors=faults(error, _PLACES), status=422)
    except (NotFoundError, ConflictError, InvalidInputError) as error:
        return _form(house, visit, said, errors=blamed(error, _PLACES), status=error.http)
    return redirect(visit, path_of(made.model_id, made.version_id), say=f"Version {order.version} is registered.")


def _task(tx: Tx, vendor_id: str, run_id: str, task: str) -> str:
    """What the model is for: a run knows it, of a model from elsewhere its vendor says it.

    Raises:
        InvalidInputError: The run was for something else.
        NotFoundError: The run is not the vendor's.
    """
    if not run_id:
        return task
    trained = runs.get(tx, vendor_id, run_id).task
    if trained is None or task in {"", trained}:
        return trained or task
    said = f"Run {run_id} trained a {trained} model."
    raise InvalidInputError(said, details=[{"loc": ["task"], "msg": said}])


def _suggested(tx: Tx, vendor_id: str, run_id: str, model_id: str) -> dict[str, str]:
    """What the form may be filled with.

    Raises:
        NotFoundError: The run or the model is not the vendor's.
    """
    filled = dict.fromkeys(FIELDS, "")
    if run_id:
        run = runs.get(tx, vendor_id, run_id)
        repo = (run.artifacts.hf_repo or "").rpartition("/")[2]
        name = repo or f"{run.task}-{run.run_id[-_TAIL:]}"
        filled |= {"run_id": run.run_id, "name": name, "version": "1", "task": run.task or ""}
    if model_id:
        held = desk.model(tx, vendor_id, model_id)
        versions = held.lineage.versions
        filled |= {"name": held.lineage.name, "description": held.description, "task": held.lineage.task.value}
        filled |= {"version": _following(versions[0].version) if versions else "1"}
    return filled


def _following(version: str) -> str:
    """The version after one that ends in a number; of any other, nothing is guessed."""
    found = _NUMBER.match(version)
    return f"{found[1]}{int(found[2]) + 1}" if found else ""


def _form(house: House, visit: Visit, said: Mapping[str, str], *, status: int = 200, **more: Any) -> Response[bytes]:
    with house.db.begin() as tx:
        found = desk.run_page(tx, vendor_of(visit), status=RunStatus.SUCCEEDED.value, limit=_RUNS)
        known = models.list_of(tx, vendor_of(visit))
    offered = [(one.run_id, f"{one.run_id}: {one.task}, {name}") for one, name in found.runs]
    if said["run_id"] and said["run_id"] not in {run_id for run_id, _ in offered}:
        offered.append((said["run_id"], said["run_id"]))
    facts: dict[str, Any] = {"errors": {}, **more}
    return page(
        visit, "vendor/register.html", status=status, title="Register a model", typed=said, runs=offered,
        tasks=list(Task), known=known, **facts,
    )  # fmt: skip


HANDLERS = [new_model, register]

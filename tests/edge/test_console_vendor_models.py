"""A vendor's models on the console: registered out of a run, moved from stage to stage, refused at their gates."""

from __future__ import annotations

import html
import re
from types import SimpleNamespace

import httpx
import pytest
from desks import Visitor, finished, furnish, order, words_of
from gates import GATES, Candidate, open_all
from sqlalchemy import text

from mp_kit.contracts import ModelRegistration, Stage, Task
from mp_kit.server.house import House
from mp_kit.server.services import models
from mp_kit.server.services.gates import HOW

ROOT = "/marketplace/vendor"
MODELS, NEW, TRAINING = f"{ROOT}/models", f"{ROOT}/models/new", f"{ROOT}/training"
LONG = "x" * 129


@pytest.fixture
def run_id(edge_house: House, vendor: SimpleNamespace) -> str:
    """A run of the vendor's that succeeded."""
    with edge_house.db.begin() as tx:
        return finished(tx, vendor.id)


@pytest.fixture
def desk(edge_house: House, vendor: SimpleNamespace) -> SimpleNamespace:
    """Something of everything on the vendor's desk; its model is in pilot."""
    return furnish(edge_house, vendor.id)


def filled(page: httpx.Response) -> dict[str, str]:
    """What stands in the fields of a registration."""
    fields = {name: re.search(rf'id="f-{name}" name="{name}"[^>]*value="([^"]*)"', page.text) for name in
              ("name", "version")}  # fmt: skip
    chosen = {name: re.search(rf'<select id="f-{name}".*?value="([^"]*)" selected', page.text, re.DOTALL) for name in
              ("run_id", "task")}  # fmt: skip
    area = re.search(r'<textarea id="f-description".*?>(.*?)</textarea>', page.text, re.DOTALL)
    found = {name: html.unescape(match[1]) if match else "" for name, match in (fields | chosen).items()}
    return found | {"description": html.unescape(area[1]) if area else ""}


def fault(page: httpx.Response, field: str) -> str:
    """What is said at a field, which must be marked as wrong."""
    assert re.search(rf'id="f-{field}"[^>]*aria-invalid="true"', page.text), words_of(page)
    found = re.search(rf'id="e-{field}">(.*?)</p>', page.text, re.DOTALL)
    assert found is not None
    return html.unescape(found[1])


def stage_form(page: httpx.Response) -> list[str]:
    """The stages that a page offers to go to."""
    return re.findall(r'<option value="(shadow|pilot|prod)"', page.text) + re.findall(
        r'name="stage" value="(retired)"', page.text
    )


def test_finished_run_becomes_a_model_with_two_clicks(visitor: Visitor, run_id: str):
    """The run's page leads to a form that is filled in already, and sending it is all that is left."""
    run = visitor.get(f"{TRAINING}/{run_id}")
    assert f'href="{NEW}?run={run_id}">Register this model</a>' in run.text
    form = filled(visitor.get(NEW, run=run_id))
    assert (run_id, "signal", "1") == (form["run_id"], form["task"], form["version"])
    made = visitor.send(NEW, NEW, **form)
    assert 303 == made.status_code, words_of(made)
    page = visitor.get(made.headers["location"])
    for part in (f"{form['name']}", "Version 1 is registered.", f"{TRAINING}/{run_id}#artifacts", "2 artifacts"):
        assert part in page.text, part
    assert "Begun in shadow by you" in re.sub(r"\s+", " ", words_of(page))
    assert f"{form['name']} 1</a>" in visitor.get(f"{TRAINING}/{run_id}").text
    again = visitor.send(NEW, NEW, **form)
    assert (303, made.headers["location"]) == (again.status_code, again.headers["location"])


def test_a_further_version_is_filled_in_from_its_model(visitor: Visitor, desk: SimpleNamespace):
    """The name, the description and the next number; left empty, the description stays as it is."""
    assert f'href="{NEW}?model={desk.model}"' in visitor.get(f"{MODELS}/{desk.model}").text
    form = filled(visitor.get(NEW, model=desk.model))
    assert {"name": "trend", "version": "2", "task": "signal", "run_id": "", "description": "epoch 1"} == form
    made = visitor.send(NEW, NEW, **form | {"description": ""})
    page = visitor.get(made.headers["location"])
    assert ("epoch 1", True) == (re.findall(r'class="lede">(.*?)<', page.text)[0], "trained elsewhere" in page.text)


@pytest.mark.parametrize(
    ("field", "changes", "says", "status"),
    [
        ("name", {"name": ""}, "at least 1 character", 422),
        ("name", {"name": LONG}, "at most 128", 422),
        ("version", {"version": " "}, "at least 1 character", 422),
        ("version", {"version": LONG}, "at most 128", 422),
        ("description", {"description": "d" * 10_001}, "at most 10000", 422),
        ("task", {"run_id": ""}, "Input should be", 422),
        ("task", {"task": "optimizer"}, "trained a signal model", 422),
        ("task", {"task": "nothing", "run_id": ""}, "Input should be", 422),
        ("run_id", {"run_id": "run_nope"}, "run_nope", 404),
        ("run_id", {"run_id": "WAITING"}, "only a succeeded run gives a model", 422),
        ("name", {"name": "weights"}, "is a consensus model already", 409),
        ("version", {"name": "trend", "version": "1"}, "is registered already, from another run", 409),
    ],
)
def test_registration_says_what_is_wrong_at_its_field(  # noqa: PLR0913, PLR0917 - a case is a row
    visitor: Visitor, vendor: SimpleNamespace, run_id: str, desk: SimpleNamespace, edge_house: House,
    field: str, changes: dict[str, str], says: str, status: int,
):  # fmt: skip
    """Each at its own field; what was typed stays, and nothing is registered."""
    with edge_house.db.begin() as tx:
        models.register(tx, vendor.id, ModelRegistration(name="weights", task=Task.CONSENSUS, version="1"))
    form = {"run_id": run_id, "task": "", "name": "fresh", "version": "7", "description": "what it does"} | changes
    form["run_id"] = form["run_id"].replace("WAITING", desk.waiting)
    page = visitor.send(NEW, NEW, **form)
    assert status == page.status_code, words_of(page)
    assert says in fault(page, field)
    kept = filled(page)
    assert {name: form[name] for name in ("name", "version", "description", "run_id")} == {
        name: kept[name] for name in ("name", "version", "description", "run_id")
    }
    assert ">fresh<" not in visitor.get(MODELS).text


def test_another_vendors_models_and_runs_are_404(visitor: Visitor, other: Visitor, desk: SimpleNamespace):
    """Neither shown, nor moved, nor registered from."""
    path = f"{MODELS}/{desk.model}"
    assert 404 == other.get(path).status_code
    assert 404 == other.get(NEW, run=desk.finished).status_code
    assert 404 == other.get(NEW, model=desk.model).status_code
    assert 404 == other.send(NEW, f"{path}/versions/{desk.version}/stage", stage="retired").status_code
    page = other.send(NEW, NEW, run_id=desk.finished, task="", name="mine", version="1", description="")
    assert (404, True) == (page.status_code, desk.finished in fault(page, "run_id"))
    assert ["prod", "shadow", "retired"] == stage_form(visitor.get(path))
    for wrong in (f"{MODELS}/mod_nope", f"{path}?version=ver_nope", f"{path}?version=%00"):
        assert 404 == visitor.get(wrong).status_code, wrong


def test_stages_are_offered_as_far_as_they_are_legal(visitor: Visitor, edge_house: House, desk: SimpleNamespace,
                                                     vendor: SimpleNamespace):  # fmt: skip
    """From each stage its next ones alone; retired is for good. The history says who, when and why."""
    with edge_house.db.begin() as tx:
        made = models.register(tx, vendor.id, ModelRegistration(name="trend", task=Task.SIGNAL, version="2"))
        open_all(tx, Candidate(vendor.id, desk.model, desk.version, desk.deployment))
    path = f"{MODELS}/{desk.model}?version="
    assert ["pilot", "retired"] == stage_form(visitor.get(path + made.version_id))
    pilot = path + desk.version
    assert ["prod", "shadow", "retired"] == stage_form(visitor.get(pilot))
    form = f"{MODELS}/{desk.model}/versions/{desk.version}/stage"
    moved = visitor.send(pilot, form, stage="prod", why="three months & more")
    assert (303, pilot) == (moved.status_code, moved.headers["location"]), words_of(moved)
    page = visitor.get(pilot)
    assert ["retired"] == stage_form(page)
    assert "From pilot to prod by you just now : three months &amp; more" in re.sub(r"\s+", " ", words_of(page))
    assert 303 == visitor.send(pilot, form, stage="retired", why="").status_code
    page = visitor.get(pilot)
    assert ([], True) == (stage_form(page), "It is retired, for good." in page.text)
    with edge_house.db.begin() as tx:
        noted = tx.execute(text("SELECT actor, detail ->> 'to_stage' FROM audit_log WHERE action = 'model.stage'"
                                " AND subject = :id ORDER BY at"), {"id": desk.version}).all()  # fmt: skip
    assert [f"vendor:{vendor.id}"] * 2 == [actor for actor, _ in noted[1:]]
    assert ["pilot", "prod", "retired"] == [stage for _, stage in noted]


def test_refused_prod_names_each_missing_gate(visitor: Visitor, edge_house: House, desk: SimpleNamespace,
                                              vendor: SimpleNamespace):  # fmt: skip
    """409, beside the form, with how to mend each; a gate that is met is not among them, and the why stays."""
    with edge_house.db.begin() as tx:
        GATES["validated"](tx, Candidate(vendor.id, desk.model, desk.version, desk.deployment))
    path = f"{MODELS}/{desk.model}"
    page = visitor.send(path, f"{path}/versions/{desk.version}/stage", stage="prod", why="now or never")
    assert (409, True) == (page.status_code, 'value="now or never"' in page.text)
    refused = re.search(r'<div class="problem" role="alert">(.*?)</div>', page.text, re.DOTALL)
    assert refused is not None
    assert ["scores", "approval"] == re.findall(r"<strong>(\w+)</strong>", refused[1])
    assert f"mp admin model approve {desk.model} {desk.version}" in refused[1]
    assert 2 == page.text.count(">met<") == page.text.count(">not met<")
    assert "2 of 4 met" in page.text
    assert all(HOW[name].partition(":")[0] in refused[1] for name in ("scores", "approval"))


@pytest.mark.parametrize(
    ("stage", "why", "status", "says"),
    [
        ("prod", "", 409, "A version in shadow cannot go to prod."),
        ("nonsense", "", 422, "Input should be"),
        ("", "", 422, "Input should be"),
        ("pilot", "y" * 501, 422, "at most 500"),
    ],
)
def test_steps_that_are_none_are_refused(
    visitor: Visitor, vendor: SimpleNamespace, edge_house: House, stage: str, why: str, status: int, says: str
):
    """In words, and the version stays where it is."""
    with edge_house.db.begin() as tx:
        made = models.register(tx, vendor.id, ModelRegistration(name="trend", task=Task.SIGNAL, version="1"))
    path = f"{MODELS}/{made.model_id}"
    page = visitor.send(path, f"{path}/versions/{made.version_id}/stage", stage=stage, why=why)
    assert (status, True) == (page.status_code, says in words_of(page)), words_of(page)
    assert 'action="javascript' not in page.text
    assert ["pilot", "retired"] == stage_form(visitor.get(path))


def test_a_step_that_another_window_took_is_told(visitor: Visitor, desk: SimpleNamespace, edge_house: House,
                                                 vendor: SimpleNamespace):  # fmt: skip
    """A form that is out of date is answered by what is so, not by an error page."""
    with edge_house.db.begin() as tx:
        models.change_stage(tx, vendor.id, desk.model, "1", Stage.RETIRED, actor="test", reason=None)
    path = f"{MODELS}/{desk.model}"
    page = visitor.send(NEW, f"{path}/versions/{desk.version}/stage", stage="shadow", why="")
    assert (409, True) == (page.status_code, "A version in retired cannot go to shadow." in page.text)
    assert "It is retired, for good." in page.text


def test_runs_that_go_on_are_not_registered(visitor: Visitor, vendor: SimpleNamespace, edge_house: House, run_id: str):
    """Their page offers nothing, and the form lists those alone that succeeded."""
    with edge_house.db.begin() as tx:
        waiting = order(tx, vendor.id)
    assert "Register this model" not in visitor.get(f"{TRAINING}/{waiting}").text
    form = visitor.get(NEW).text
    assert (True, False) == (f'value="{run_id}"' in form, f'value="{waiting}"' in form)

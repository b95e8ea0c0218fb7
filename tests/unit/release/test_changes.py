"""Which step a change of the contracts needs: a table of changes, made to the contracts as they are."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar, get
from litestar.testing import TestClient
from release import compatibility, versions
from release.changes import Step, step_of
from release.record import BASES, ELSEWHERE, openapi, operations, record, unannounced, without_words

import contracts as command
from mp_kit import errors
from mp_kit.contracts import CONTRACTS_VERSION
from mp_kit.contracts.export import models

Json = dict[str, Any]
Change = Callable[[Json], Any]

ROUND, STORE, RUNS = "GET /api/rounds/{round_id}", "POST /api/signals/store", "GET /api/training/runs"
TEXT, NUMBER = {"type": "string"}, {"type": "number"}


@pytest.fixture(scope="module")
def document() -> Json:
    """The edge's OpenAPI document."""
    return openapi()


@pytest.fixture(scope="module")
def code(document: Json) -> Json:
    """The contracts of the code."""
    return versions.facts(record(document))


@pytest.fixture(scope="module")
def kept(code: Json) -> dict[str, Json]:
    """The code's contracts as a release left them, under 0.3.0."""
    return {"0.3.0": {"frozen": True} | copy.deepcopy(code) | {"version": "0.3.0"}}


def put(*place: str, to: Any) -> Change:
    """Sets what stands at a place."""

    def change(told: Json) -> None:
        *way, last = place
        for name in way:
            told = told[name]
        told[last] = to

    return change


def drop(*place: str) -> Change:
    """Takes away what stands at a place."""

    def change(told: Json) -> None:
        *way, last = place
        for name in way:
            told = told[name]
        told.pop(last) if isinstance(told, dict) else told.remove(last)

    return change


def both(*changes: Change) -> Change:
    return lambda told: [change(told) for change in changes]


def field(direction: str, model: str, name: str, schema: Json, *, required: bool = False) -> Change:
    """A new field of a model."""

    def change(told: Json) -> None:
        found = told[direction][model]
        found["properties"][name] = schema
        if required:
            found["required"] = [*found.get("required", []), name]

    return change


def words(direction: str, name: str, *, add: str | None = None, lose: str | None = None) -> Change:
    """Another vocabulary."""

    def change(told: Json) -> None:
        found = told[direction][name]
        found["enum"] = [word for word in found["enum"] if word != lose] + ([add] if add else [])

    return change


PARAMETER = {"required": False, "schema": TEXT}
ROUTE = {
    "token": False,
    "deprecated": False,
    "parameters": {},
    "body": {"required": False, "content": {}},
    "answers": {"200": {}},
    "refusals": [],
}
MAJOR: dict[str, Change] = {
    "a route is removed": drop("routes", ROUND),
    "a route answers nothing any more": put("routes", ROUND, "answers", to={}),
    "a public route wants a token": put("routes", ROUND, "token", to=True),
    "another good status": put("routes", ROUND, "answers", to={"201": {}}),
    "a format of bodies is removed": drop("routes", STORE, "body", "content", "application/x-ndjson"),
    "a body becomes required": put("routes", ROUND, "body", to={"required": True, "content": {}}),
    "a parameter is removed": drop("routes", RUNS, "parameters", "query limit"),
    "a parameter becomes required": put("routes", RUNS, "parameters", "query limit", "required", to=True),
    "a required parameter is added": put("routes", RUNS, "parameters", "query x", to=PARAMETER | {"required": True}),
    "a parameter's bound tightens": put("routes", RUNS, "parameters", "query limit", "schema", "maximum", to=10),
    "an answer's field is removed": drop("output", "TrainingRun", "properties", "logs_url"),
    "an answer's field may be absent": drop("output", "TrainingRun", "required", "logs_url"),
    "an answer's field changes its type": put("output", "TrainingRun", "properties", "logs_url", to=NUMBER),
    "an answer's field may be null": put(
        "output", "TrainingRun", "properties", "logs_url", to={"anyOf": [TEXT, {"type": "null"}]}
    ),
    "an answer's format changes": put("output", "TrainingRun", "properties", "created_at", "format", to="date"),
    "an answer's vocabulary grows": words("output", "RunStatus", add="paused"),
    "a request's field is removed": drop("input", "SignalWrite", "properties", "rationale"),
    "a required field is added to a request": field("input", "SignalWrite", "desk", TEXT, required=True),
    "a request's field becomes required": lambda told: told["input"]["TrainingRequest"]["required"].append("gpu"),
    "a request's vocabulary shrinks": words("input", "Timeframe", lose="5m"),
    "a request's bound tightens": put("input", "Budget", "properties", "max_hours", to=NUMBER | {"maximum": 1}),
    "a request's pattern is new": put("input", "LoginRequest", "properties", "api_key", "pattern", to="^vk"),
    "a request's default changes": put("input", "TrainingRequest", "properties", "output_format", "default", to="tar"),
    "a request closes": put("input", "SignalWrite", "additionalProperties", to=False),
    "a code of errors is removed": drop("errors", "conflict"),
    "a code's status changes": put("errors", "conflict", to=410),
    "a header is removed": drop("headers", "X-Request-Id"),
    "a contract of a vendor's server is removed": drop("roots", "InferRequest"),
    "a route's answer is another model": put(
        "routes", ROUND, "answers", "200", "application/json", to={"$ref": "Success_Vendor_"}
    ),
}
MINOR: dict[str, Change] = {
    "a route is added": put("routes", "GET /api/new", to=ROUTE),
    "a route becomes public": put("routes", RUNS, "token", to=False),
    "a route is deprecated": put("routes", ROUND, "deprecated", to=True),
    "another way to be refused": put("routes", ROUND, "refusals", to=["404", "410", "422", "503"]),
    "an optional parameter is added": put("routes", RUNS, "parameters", "query x", to=PARAMETER),
    "a parameter's bound widens": put("routes", RUNS, "parameters", "query limit", "schema", "maximum", to=5_000),
    "a format of bodies is added": put("routes", STORE, "body", "content", "text/csv", to=TEXT),
    "an answer has one more field": field("output", "TrainingRun", "mood", TEXT, required=True),
    "an answer's field is always there": lambda told: told["output"]["TrainingRun"]["required"].append("failure"),
    "an answer's vocabulary shrinks": words("output", "RunStatus", lose="queued"),
    "an optional field is added to a request": field("input", "SignalWrite", "desk", TEXT),
    "a request's field becomes optional": drop("input", "SignalWrite", "required", "confidence"),
    "a request's vocabulary grows": words("input", "Timeframe", add="1w"),
    "a request's field may be null": put(
        "input", "LoginRequest", "properties", "api_key", to={"anyOf": [TEXT, {"type": "null"}]}
    ),
    "a code of errors is added": put("errors", "tired", to=503),
    "a header is added": lambda told: told["headers"].append("X-Mood"),
    "a contract of a vendor's server is added": put("roots", "SingRequest", to="output"),
}
NONE: dict[str, Change] = {
    "nothing": both(),
    "the order of a vocabulary": lambda told: told["input"]["Timeframe"]["enum"].reverse(),
    "the name of a model": both(
        put("routes", ROUND, "answers", "200", "application/json", to={"$ref": "Success_Renamed_"}),
        lambda told: told["output"].update({"Success_Renamed_": told["output"]["Success_Round_"]}),
    ),
}
CASES = [
    pytest.param(change, step, id=name)
    for step, table in ((Step.MAJOR, MAJOR), (Step.MINOR, MINOR), (Step.NONE, NONE))
    for name, change in table.items()
]


def changed(code: Json, change: Change) -> Json:
    other = copy.deepcopy(code)
    change(other)
    return other


@pytest.mark.parametrize(("change", "step"), CASES)
def test_change_needs_its_step(code: Json, kept: dict[str, Json], change: Change, step: Step):
    """Under the released version it is refused, by its place and with the least version that would do, which does."""
    other = changed(code, change)
    verdict = versions.judge(other | {"version": "0.3.0"}, kept)
    assert step == step_of(verdict.changes)
    if step is Step.NONE:
        assert ([], []) == (verdict.changes, verdict.problems)
        return
    least = {Step.MAJOR: "1.0.0", Step.MINOR: "0.4.0"}[step]
    assert f"set it to {least}" in verdict.problems[0]
    assert str(verdict.changes[0]) in verdict.problems[1]
    assert [] == versions.judge(other | {"version": least}, kept).problems


def test_minor_step_is_too_small_for_a_break(code: Json, kept: dict[str, Json]):
    """A break is called 1.0.0, also while the major version is 0."""
    other = changed(code, MAJOR["a route is removed"]) | {"version": "0.4.0"}
    assert "major step" in versions.judge(other, kept).problems[0]
    assert "set it to 1.0.0" in versions.judge(other, kept).problems[0]


def test_version_does_not_go_back(code: Json, kept: dict[str, Json]):
    """What is released stays the least."""
    assert "older than 0.3.0" in versions.judge(code | {"version": "0.2.9"}, kept).problems[0]


def test_unreleased_version_is_stepped_once(code: Json, kept: dict[str, Json]):
    """A second change before the release needs the record anew and no further step."""
    once = changed(code, MINOR["a header is added"]) | {"version": "0.4.0"}
    twice = changed(once, MINOR["a code of errors is added"])
    verdict = versions.judge(twice, kept | {"0.4.0": once})
    assert ([], False) == (verdict.problems, verdict.recorded)


def test_contracts_of_the_code_bear_their_version(code: Json, document: Json, capsys: pytest.CaptureFixture[str]):
    """The check itself. It fails: run ``python scripts/contracts.py check``, and it says what to do."""
    status = command.check(code, versions.load(), unannounced(document))
    assert (0, "") == (status, capsys.readouterr().err)
    assert CONTRACTS_VERSION == code["version"]


def test_check_tells_what_to_do(code: Json, kept: dict[str, Json], capsys: pytest.CaptureFixture[str]):
    """Version, record and page, each by its sentence and its command."""
    assert 1 == command.check(changed(code, MAJOR["a route is removed"]) | {"version": "0.3.0"}, kept)
    assert f"major: {ROUND}: removed" in capsys.readouterr().err
    assert 1 == command.check(changed(code, MINOR["a header is added"]) | {"version": "0.4.0"}, kept)
    assert "contracts/recorded/0.4.0.json is not what the code says" in capsys.readouterr().err
    assert 1 == command.check(code | {"version": "0.3.0"}, kept)
    assert "docs/compatibility.md is stale: run python scripts/contracts.py record" in capsys.readouterr().err


def test_record_refuses_a_wrong_version(code: Json, kept: dict[str, Json], tmp_path: Path, monkeypatch: Any):
    """And under a right one the record and the page; a frozen one stays frozen."""
    monkeypatch.setattr(versions, "RECORDED", tmp_path)
    monkeypatch.setattr(versions, "ROOT", tmp_path)
    monkeypatch.setattr(compatibility, "PAGE", tmp_path / "page.md")
    wrong = changed(code, MAJOR["a route is removed"]) | {"version": "0.3.0"}
    assert 1 == command.keep(wrong, kept, freeze=True)
    assert [] == list(tmp_path.iterdir())
    assert 0 == command.keep(wrong | {"version": "1.0.0"}, kept, freeze=True)
    assert {"1.0.0": True} == {version: told["frozen"] for version, told in versions.load(tmp_path).items()}
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "**Breaks:**" in page
    assert "breaks at 1 places" in page


def test_every_model_is_recorded(code: Json):
    """In the direction in which it travels; a new one that no route names needs its line in ELSEWHERE."""
    named = {*code["input"], *code["output"]}
    assert set(models()) - BASES == set(models()) & named
    assert set() == set(ELSEWHERE) - set(models())
    assert {cls.code: cls.http for cls in errors.BY_CODE.values() if cls.code != "error"} == code["errors"]


def test_every_name_leads_somewhere(code: Json):
    """What a route or a model refers to is recorded; a model that contracts do not export is found here."""

    def refs(part: Any) -> set[str]:
        if isinstance(part, list):
            return {name for entry in part for name in refs(entry)}
        if not isinstance(part, dict):
            return set()
        own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
        return own.union(*(refs(value) for value in part.values()))

    routes = code["routes"].values()
    asked = refs([[route["body"], route["parameters"]] for route in routes]) | refs(code["input"])
    assert set() == {name for name in asked if not name.startswith("#")} - set(code["input"])
    assert set() == (refs([route["answers"] for route in routes]) | refs(code["output"])) - set(code["output"])


def test_words_are_no_contract():
    """Descriptions go, a field that is named like one stays."""
    told = {"title": "T", "description": "D", "properties": {"title": {"title": "X", "type": "string"}}}
    assert {"properties": {"title": TEXT}} == without_words(told)
    assert {"default": {"title": 1}} == without_words({"default": {"title": 1}})


@pytest.mark.parametrize("text", ["1", "1.0", "1.0.x", "v1.0.0", "1.0.0-rc1", "1.-0.0", "", "१.0.0"])
def test_odd_versions_are_refused(text: str):
    """By what they are."""
    with pytest.raises(ValueError, match=r"no MAJOR\.MINOR\.PATCH"):
        versions.parse(text)


def test_record_states_its_name(tmp_path: Path):
    """A copied file is found."""
    (tmp_path / "0.9.0.json").write_text(json.dumps({"version": "0.8.0"}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"0\.9\.0\.json states version 0\.8\.0"):
        versions.load(tmp_path)


def test_records_are_in_the_order_of_versions(tmp_path: Path):
    """0.10.0 is after 0.9.0."""
    for version in ("0.10.0", "0.9.0"):
        (tmp_path / f"{version}.json").write_text(json.dumps({"version": version}), encoding="utf-8")
    assert ["0.9.0", "0.10.0"] == list(versions.load(tmp_path))


def test_deprecated_route_says_until_when():
    """As docs/versioning.md has it declared: in the handler, so that its answers and the document agree."""
    notice = {"Deprecation": "@1798761600", "Sunset": "Fri, 01 Jan 2027 00:00:00 GMT", "Link": "</docs>; rel=sunset"}

    @get("/told", deprecated=True, response_headers=notice, sync_to_thread=False)
    def told() -> str:
        return "old"

    @get("/silent", deprecated=True, response_headers={"Sunset": notice["Sunset"]}, sync_to_thread=False)
    def silent() -> str:
        return "old"

    app = Litestar([told, silent])
    found = json.loads(json.dumps(app.openapi_schema.to_schema(), default=str))
    assert 2 == len(list(operations(found)))
    assert ["GET /silent is deprecated and sends no Deprecation, no Link"] == unannounced(found)
    with TestClient(app) as client:
        assert notice.items() <= {name.title(): value for name, value in client.get("/told").headers.items()}.items()

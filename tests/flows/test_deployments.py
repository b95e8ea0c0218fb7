"""deployments/prefect.yaml: flows that are there, forms that a person can fill in, schedules that fit them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml

from mp_kit.server import bundle

ENTRIES: list[dict[str, Any]] = yaml.safe_load((bundle.root() / bundle.DEPLOYMENTS).read_text())["deployments"]
WITHOUT_DEFAULT = {("presign-dataset", "who")}
"""Fields that nobody but the person who fills in the form can know."""


@pytest.fixture(scope="module")
def flows() -> dict[str, Any]:
    """Every deployment's flow, loaded as the worker loads it."""
    from prefect.flows import load_flow_from_entrypoint

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            one["name"]: load_flow_from_entrypoint(str(bundle.root() / one["entrypoint"]), use_placeholder_flow=False)
            for one in ENTRIES
        }


def form_of(flow: Any) -> dict[str, Any]:
    """The schema that Prefect's pages make a form of."""
    from prefect.utilities.callables import parameter_schema

    found: dict[str, Any] = parameter_schema(flow).model_dump_for_openapi()
    return found


def described(form: dict[str, Any]) -> str:
    """Of the parameter; pydantic leaves it to the model where both say the same."""
    order = form["properties"]["order"]
    return str(order.get("description") or form["definitions"][_refs(order)[0]]["description"])


def fields(form: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """The fields of a flow's one parameter, groups opened: name, schema, whether it must be given."""
    [order] = form["properties"].values()
    models = [form["definitions"][_refs(order)[0]]]
    for model in models:
        for field, schema in model["properties"].items():
            groups = [form["definitions"][one] for one in _refs(schema) if "properties" in form["definitions"][one]]
            models += groups
            if not groups:
                yield field, schema, field in model.get("required", ())


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["name"])
def test_form_explains_itself(entry: dict[str, Any], flows: dict[str, Any]):
    """One parameter `order`, described; each of its fields has a title, a description, and a default that works."""
    form = form_of(flows[entry["name"]])
    assert ["order"] == list(form["properties"])
    assert form["properties"]["order"]["title"]
    assert described(form)
    for name, schema, required in fields(form):
        assert schema.get("title") or "$ref" in schema, name
        assert len(schema.get("description", "")) > 10, name
        assert ((entry["name"], name) in WITHOUT_DEFAULT) == (required or "default" not in schema), name


def test_fields_of_a_long_form_are_in_a_persons_order(flows: dict[str, Any]):
    """Where bars come from is asked first: the pages go by `position`, JSON documents forget the order of keys."""
    found = form_of(flows["publish-round"])["definitions"]["RoundOrder"]["properties"]
    assert ["source", "symbols", "timeframe"] == sorted(found, key=lambda name: found[name]["position"])[:3]


def test_choices_are_enums(flows: dict[str, Any]):
    """Where there is a list to choose from, the form has it."""
    wanted = {("publish-round", "timeframe"), ("publish-round", "leakage"), ("report", "name")}
    for flow, field in wanted:
        form = form_of(flows[flow])
        schema = next(schema for name, schema, _ in fields(form) if name == field)
        assert "enum" in str(schema) or "enum" in str([form["definitions"][one] for one in _refs(schema)]), field


def _refs(schema: dict[str, Any]) -> list[str]:
    parts = [schema, *schema.get("anyOf", ()), *schema.get("allOf", ())]
    return [part["$ref"].rsplit("/", 1)[1] for part in parts if "$ref" in part]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["name"])
def test_deployment_names_a_flow(entry: dict[str, Any], flows: dict[str, Any]):
    """The flow has the deployment's name and a description; flow and tasks are named for people; it is tagged."""
    flow = flows[entry["name"]]
    assert entry["name"] == flow.name
    assert flow.description
    assert entry["description"]
    assert entry["tags"]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["name"])
def test_schedules_fit_the_form(entry: dict[str, Any], flows: dict[str, Any]):
    """A schedule's parameters are what the form takes; several of one deployment have names."""
    schedules = entry.get("schedules", [])
    for one in schedules:
        jsonschema.validate(one.get("parameters", {}), form_of(flows[entry["name"]]))
    assert len(schedules) < 2 or all("slug" in one for one in schedules)


@pytest.mark.parametrize("path", sorted((bundle.root() / "flows").glob("*.py")), ids=lambda path: path.stem)
def test_flow_is_thin_and_deployed(path: Any):
    """A flow has at most 80 lines, and its deployment."""
    assert len(path.read_text().splitlines()) <= 80
    assert any(entry["entrypoint"].startswith(f"flows/{path.name}:") for entry in ENTRIES)

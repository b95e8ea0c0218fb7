"""Every contract against documents that nobody wrote by hand: it takes one and gives it back, or says what is wrong."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError
from pydantic.json_schema import models_json_schema
from schemathesis import Case, GenerationMode

from mp_kit.contracts import Model, translate
from mp_kit.contracts.export import models

MODELS = models()
FEW, MANY = 2, 60

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63, -(2**63), 10**400, 0, -1]),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["", "\x00", "\ud800", "9999-12-31T23:59:59.999999-23:59", "0001-01-01T00:00:00+23:59", "1e400", "NaN"]
    ),
)
ANY = st.recursive(
    ODD, lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=5), inside, max_size=3)
)


def hunt(examples: int) -> settings:
    """So many examples, the same ones each time."""
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def taken(model: type[Model], document: Any) -> Model | None:
    """What a model makes of a document on the wire; None where it refuses, which it says in JSON."""
    try:
        return model.model_validate_json(json.dumps(document))
    except ValidationError as refused:
        for finding in refused.errors(include_url=False, include_context=False, include_input=False):
            json.dumps([str(part) for part in finding["loc"]] + [finding["msg"]])
        return None


def check_round_trip(made: Model) -> None:
    """What is written is read as the same, by JSON and by dictionary."""
    written = made.model_dump_json()
    sealed = [name for name, value in made if isinstance(value, SecretStr)]
    if sealed:  # it goes in and does not come out
        assert {json.loads(written)[name] for name in sealed} <= {"**********", ""}
        return
    assert made == type(made).model_validate_json(written)
    assert made == type(made).model_validate(made.model_dump())
    assert all(math.isfinite(number) for number in _numbers(json.loads(written)))


def _numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [number for part in value.values() for number in _numbers(part)]
    if isinstance(value, list):
        return [number for part in value for number in _numbers(part)]
    return [value] if isinstance(value, float) else []


def by_schema() -> dict[str, Any]:
    """A strategy of fitting documents for each model, from its own JSON Schema."""
    keys, schemas = models_json_schema(
        [(model, "validation") for model in MODELS.values()], ref_template="#/components/schemas/{model}"
    )
    paths = {
        f"/{name}": {
            "post": {
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": keys[model, "validation"]}},
                },
                "responses": {"200": {"description": ""}},
            }
        }
        for name, model in MODELS.items()
    }
    info = {"title": "contracts", "version": "1"}
    document = {"openapi": "3.1.0", "info": info, "paths": paths, "components": {"schemas": schemas["$defs"]}}
    found = schemathesis.openapi.from_dict(document).get_all_operations()
    return {one.ok().path[1:]: one.ok().as_strategy(generation_mode=GenerationMode.POSITIVE) for one in found}


FITTING = by_schema()


def sent(model: type[Model], documents: st.SearchStrategy[Any], examples: int) -> int:
    """Hands documents to a model; gives how many it took."""
    took: list[None] = []

    @hunt(examples)
    @given(document=documents)
    def send(document: Any) -> None:
        made = taken(model, document)
        if made is not None:
            took.append(None)
            check_round_trip(made)

    send()
    return len(took)


HOW_MANY = pytest.mark.parametrize(
    "examples", [pytest.param(FEW, id="few"), pytest.param(MANY, id="many", marks=pytest.mark.hardening)]
)


@HOW_MANY
def test_documents_that_fit_the_schema(examples: int):
    """They are taken and given back the same, or refused by a rule that a schema cannot say."""
    took = sum(sent(model, FITTING[name].map(_body), examples) for name, model in MODELS.items())
    assert took > len(MODELS)


def _body(case: Case) -> Any:
    return case.body


@HOW_MANY
def test_documents_that_fit_nothing(examples: int):
    """Under the right names or under none: a ValidationError, and nothing else."""
    for model in MODELS.values():
        names = [field.alias or name for name, field in model.model_fields.items()]
        under = st.dictionaries(st.sampled_from(names), ANY) if names else st.just({})
        sent(model, ANY | under, 2 * examples)


@pytest.mark.parametrize("name", MODELS)
def test_depth(name: str):
    """A document that is nested a thousand times, as JSON and under each of a model's names."""
    deep = "[" * 1_000 + "]" * 1_000
    for text in (deep, *(json.dumps({field: 0}).replace("0", deep) for field in MODELS[name].model_fields)):
        with pytest.raises(ValidationError):
            MODELS[name].model_validate_json(text)


@hunt(200)
@given(ANY)
def test_the_third_dialect(document: Any):
    """What is translated is a dictionary; what cannot be is left as it was."""
    assert isinstance(translate(document) if isinstance(document, dict) else {}, dict)

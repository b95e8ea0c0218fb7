"""The contracts as a whole: one vocabulary, frozen, with a JSON Schema each."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from pydantic import BaseModel, ValidationError

from mp_kit import contracts
from mp_kit.contracts import CONTRACTS_VERSION, Model
from mp_kit.contracts.export import json_schemas, models, write

MODELS = models()
SCHEMAS = json_schemas()


def _order(name: str) -> tuple[int, str]:
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def test_all_is_sorted():
    """Constants, then classes, then functions, each by name; nothing twice."""
    assert sorted(set(contracts.__all__), key=_order) == contracts.__all__


def test_all_is_complete():
    """Every public name that the package brings in is exported, and every exported one is there."""
    modules = {name for name, value in vars(contracts).items() if type(value) is type(contracts)}
    public = {name for name in vars(contracts) if not name.startswith("_")} - modules - {"annotations"}
    assert public == set(contracts.__all__)


def test_every_model_of_the_package_is_exported():
    """A contract that is defined in a module, and forgotten here, is found."""
    defined = {
        cls.__name__
        for name, module in vars(contracts).items()
        if type(module) is type(contracts) and name != "export"
        for cls in vars(module).values()
        if isinstance(cls, type) and issubclass(cls, BaseModel) and cls.__module__.startswith("mp_kit.contracts.")
    }
    assert {name for name in defined if "[" not in name} == {*MODELS, "Model"}


def test_there_are_as_many_models_as_schemas():
    """The export leaves none out."""
    assert list(MODELS) == list(SCHEMAS)
    assert 70 <= len(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_schema_is_valid_2020_12(name: str):
    """By the metaschema, and titled with the contracts version."""
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name])
    assert f"mp-kit contracts {CONTRACTS_VERSION}" == SCHEMAS[name]["$comment"]
    assert "https://json-schema.org/draft/2020-12/schema" == SCHEMAS[name]["$schema"]


@pytest.mark.parametrize("name", MODELS)
def test_model_is_frozen_and_finite(name: str):
    """A value changes by copy, and no number is NaN."""
    config = MODELS[name].model_config
    assert (True, False) == (config.get("frozen"), config.get("allow_inf_nan"))


@pytest.mark.parametrize("name", MODELS)
def test_model_has_a_sentence(name: str):
    """OpenAPI shows it."""
    assert (MODELS[name].__doc__ or "").strip()


def test_assignment_is_refused():
    """Frozen means frozen, not by configuration alone."""
    budget = contracts.Budget(max_hours=1)
    with pytest.raises(ValidationError) as caught:
        budget.max_hours = 2
    assert "frozen_instance" == caught.value.errors()[0]["type"]


@pytest.mark.parametrize("name", [name for name in MODELS if name != "Budget"])
def test_unknown_fields_are_ignored(name: str):
    """An older reader lives with a newer writer; only a budget is strict."""
    assert "ignore" == MODELS[name].model_config.get("extra")


def test_base_is_no_contract_of_its_own():
    """Nothing on the wire is a bare Model."""
    assert Model not in MODELS.values()


def test_write_makes_one_file_a_contract(tmp_path: Path):
    """What is written is what is computed, key by key."""
    written = write(tmp_path / "deep" / "schemas")
    assert [f"{name}.json" for name in SCHEMAS] == [path.name for path in written]
    assert list(SCHEMAS.values()) == [json.loads(path.read_text()) for path in written]

"""deployments/prefect.yaml names flows that are there."""

from __future__ import annotations

import ast
from typing import Any

import pytest
import yaml

from mp_kit.server import bundle

ENTRIES: list[dict[str, Any]] = yaml.safe_load((bundle.root() / bundle.DEPLOYMENTS).read_text())["deployments"]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["name"])
def test_deployment_names_a_flow(entry: dict[str, Any]):
    """Its entrypoint is a function whose flow has the deployment's name; it is described and tagged."""
    path, _, function = entry["entrypoint"].partition(":")
    tree = ast.parse((bundle.root() / path).read_text())
    found = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function)
    names = [
        keyword.value.value
        for decorator in found.decorator_list
        if isinstance(decorator, ast.Call)
        for keyword in decorator.keywords
        if keyword.arg == "name" and isinstance(keyword.value, ast.Constant)
    ]
    assert [entry["name"]] == names
    assert entry["description"]
    assert entry["tags"]


@pytest.mark.parametrize("path", sorted((bundle.root() / "flows").glob("*.py")), ids=lambda path: path.stem)
def test_flow_is_thin_and_deployed(path: Any):
    """A flow has at most 80 lines, and its deployment."""
    assert len(path.read_text().splitlines()) <= 80
    assert any(entry["entrypoint"].startswith(f"flows/{path.name}:") for entry in ENTRIES)

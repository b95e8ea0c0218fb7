"""Names of a flow's parameters on the command line."""

from __future__ import annotations

import pytest
import typer

from mp_kit.cli.output import nested


def test_nested_makes_groups():
    """A dot goes into a group."""
    assert {"name": "x", "parameters": {"a": 1, "b": {"c": 2}}} == nested(
        {"name": "x", "parameters.a": 1, "parameters.b.c": 2}
    )


def test_nested_refuses_a_value_that_is_a_group():
    """One name cannot be both."""
    with pytest.raises(typer.BadParameter, match="a is a value"):
        nested({"a": 1, "a.b": 2})

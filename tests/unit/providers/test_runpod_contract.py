"""Every request that the provider sends in this suite is held against RunPod's OpenAPI document."""

from __future__ import annotations

import ast
from pathlib import Path

import httpx
import pytest
from runpods import KEY, checked, openapi, program

TESTS = Path(__file__).parents[2]
OWN = TESTS / "unit" / "testing"
"""The stand-in's own tests, which break the contract on purpose and send requests of their own."""


def makers_of(name: str) -> set[str]:
    """Files of this suite that call something by its name."""
    return {
        str(path.relative_to(TESTS))
        for path in TESTS.rglob("*.py")
        if OWN not in path.parents and name in path.read_text() and _calls(path, name)
    }


def _calls(path: Path, name: str) -> bool:
    calls = (node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    return any(name in (getattr(call, "id", ""), getattr(call, "attr", "")) for call in calls)


def test_no_test_makes_a_stand_in_of_its_own():
    """One helper makes them all, and it checks."""
    assert {"support/runpods.py"} == makers_of("FakeRunPod")


def test_no_test_starts_the_program_by_itself():
    """One helper starts it, shows it the document, and looks at its exit code."""
    quoted = '"mp_kit.testing.fake_runpod"'
    named = {str(path.relative_to(TESTS)) for path in TESTS.rglob("*.py") if quoted in path.read_text()}
    assert {"support/runpods.py"} == {path for path in named if not path.startswith("unit/")}


def test_stand_ins_own_tests_know_no_provider():
    """What is exempt sends nothing that a marketplace would send."""
    assert not [path for path in OWN.rglob("*.py") if "RunPodProvider" in path.read_text()]


def test_helper_fails_a_test_whose_request_broke_the_contract():
    """At the end of its block."""
    with pytest.raises(AssertionError, match="1 requests broke RunPod's contract"):
        break_it_in_a_block()


def test_program_fails_a_test_whose_request_broke_the_contract(tmp_path: Path):
    """By its exit code; its log says which request."""
    with pytest.raises(AssertionError, match="the query parameter 'name' is unknown"):
        break_it_in_a_process(tmp_path / "pods")


def break_it_in_a_block() -> None:
    """As a test would."""
    with checked({KEY: None}) as fake:
        ask_for_a_filter(fake.url)


def break_it_in_a_process(folder: Path) -> None:
    """The same."""
    with program(folder, KEY) as url:
        ask_for_a_filter(url)


def ask_for_a_filter(url: str) -> None:
    """RunPod ignores such a parameter in silence, and answers with everything."""
    headers = {"Authorization": f"Bearer {KEY}", "User-Agent": "test"}
    assert 200 == httpx.get(f"{url}/pods", params={"name": "x"}, headers=headers).status_code


def test_document_is_used_where_it_is():
    """It lies beside the checkout."""
    if openapi() is None:
        pytest.skip("RunPod's OpenAPI document is not beside this checkout")
    with checked({KEY: None}) as fake:
        assert fake._router.contract is not None

"""The workflows of GitHub: they fit its schema, name only what is there, and may do no more than they must."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import release_check
from check_jsonschema.builtin_schemas import get_builtin_schema
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
LOADED: dict[str, Any] = {path.name: YAML(typ="safe").load(path) for path in FILES}
JOBS = [(file, name, job) for file, told in LOADED.items() for name, job in told["jobs"].items()]
STEPS = [(file, name, step) for file, name, job in JOBS for step in job.get("steps", [])]
RUNS = [step["run"] for _, _, step in STEPS if "run" in step]


def test_workflows_fit_githubs_schema():
    """The schema that check-jsonschema brings; offline."""
    schema = jsonschema.Draft7Validator(get_builtin_schema("vendor.github-workflows"))
    told = {file: [error.message for error in schema.iter_errors(read)] for file, read in LOADED.items()}
    assert {"ci.yml": [], "release.yml": []} == told
    broken = LOADED["ci.yml"] | {"jobs": {"check": {"steps": [{"uses": 7}]}}}
    assert not schema.is_valid(broken)


@pytest.mark.parametrize("line", RUNS)
def test_what_is_run_exists(line: str):
    """Targets of make, the checks that they name, scripts."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", line)) <= targets
    assert set(re.findall(r"--(?:only|skip) (\w+)", line)) <= set(release_check.CHECKS)
    assert [] == [path for path in re.findall(r"\b(?:scripts|tests)/[\w./]+", line) if not (ROOT / path).exists()]
    assert re.match(r"(make|git) ", line)


def test_something_is_run():
    """The table above is not empty, and has each check but those of which `make test` is made."""
    named = {name for line in RUNS for name in re.findall(r"--only (\w+)", line)}
    assert set(release_check.CHECKS) - {"check", "tests"} == named
    assert {"make check", "make test PYTHON=python${{ matrix.python }}"} <= set(RUNS)


@pytest.mark.parametrize(("file", "job", "step"), [row for row in STEPS if "uses" in row[2]])
def test_actions_are_pinned(file: str, job: str, step: dict[str, Any]):
    """By the whole id of a commit, with its version beside it; a tag can be moved."""
    assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", step["uses"]), f"{file} {job}"
    text = (ROOT / ".github" / "workflows" / file).read_text(encoding="utf-8")
    assert re.search(rf"{re.escape(step['uses'])} # v\d+\.\d+\.\d+\n", text)


def test_only_pythons_ahead_may_fail():
    """One that a classifier names holds a release up."""
    job = LOADED["ci.yml"]["jobs"]["test"]
    assert "${{ matrix.ahead == true }}" == job["continue-on-error"]
    assert [{"python": "3.13", "ahead": True}] == job["strategy"]["matrix"]["include"]
    assert release_check._tested() == job["strategy"]["matrix"]["python"]
    assert [] == [name for _, name, told in JOBS if "continue-on-error" in told and name != "test"]


def test_one_commit_for_an_action():
    """Wherever it is used."""
    pins = {step["uses"] for _, _, step in STEPS if "uses" in step}
    assert len({pin.partition("@")[0] for pin in pins}) == len(pins)


@pytest.mark.parametrize("file", LOADED)
def test_permissions_are_least(file: str):
    """Reading at the top; only the job that publishes has one more, and it runs no code of ours."""
    told = LOADED[file]
    assert {"contents": "read"} == told["permissions"]
    more = {name: job["permissions"] for name, job in told["jobs"].items() if "permissions" in job}
    assert ({"publish": {"id-token": "write"}} if file == "release.yml" else {}) == more
    assert "concurrency" in told
    publishing = LOADED["release.yml"]["jobs"]["publish"]
    assert ["ci", "ready"] == publishing["needs"]
    assert "release" == publishing["environment"]
    assert [] == [step for step in publishing["steps"] if "run" in step]


def test_no_secret_and_no_index_is_named():
    """Publishing is trusted by identity; where packages come from is the runner's own matter."""
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert "secrets." not in text
        assert [] == re.findall(r"https?://|\b[\w-]+\.(?:org|com|io|net|dev)\b", text)  # any host at all


@pytest.mark.parametrize(("file", "name", "job"), [row for row in JOBS if "uses" not in row[2]])
def test_jobs_end_and_keep_no_credentials(file: str, name: str, job: dict[str, Any]):
    """Each has a limit; a checkout leaves no token in the folder."""
    assert job["timeout-minutes"] <= 40, f"{file} {name}"
    checkouts = [step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout@")]
    assert [False] * len(checkouts) == [step["with"]["persist-credentials"] for step in checkouts]


def test_inputs_of_strangers_reach_no_shell():
    """Expressions stand in `env` and `with`; the matrix is our own words."""
    expressions = {found for line in RUNS for found in re.findall(r"\$\{\{\s*([\w.]+)", line)}
    assert {"matrix.python"} == expressions


def test_release_check_tells_each_outcome(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """What went well, what did not and why, what was left out; one that falls over fails, the others run on."""

    def falls(wish: release_check.Wish) -> list[str]:
        raise OSError(f"no disk for {wish.tag}")

    monkeypatch.setitem(release_check.CHECKS, "changelog", lambda _: [])
    monkeypatch.setitem(release_check.CHECKS, "locks", falls)
    monkeypatch.setitem(release_check.CHECKS, "build", lambda _: ["one\ntwo"])
    assert 1 == release_check.main(["--only", "changelog", "--only", "locks", "--only", "build", "--tag", "v1"])
    told = capsys.readouterr().out
    assert re.search(r"^ok +changelog ", told, re.MULTILINE)
    assert re.search(r"^FAILED +locks .*\n +OSError: no disk for v1$", told, re.MULTILINE)
    assert re.search(r"^FAILED +build .*\n +one\n +two$", told, re.MULTILINE)
    assert re.search(r"^skipped +tests$", told, re.MULTILINE)
    assert 0 == release_check.main(["--only", "changelog"])


def test_release_check_wants_a_wheel_to_look_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """And says which check makes it."""
    monkeypatch.setattr(release_check, "DIST", tmp_path)
    assert "run the check `build`" in release_check.run("content", release_check.Wish()).problems[0]


def test_tag_wants_frozen_contracts(monkeypatch: pytest.MonkeyPatch):
    """What goes out stands still from then on."""
    monkeypatch.setattr(release_check, "_ran", lambda *_, **__: [])
    monkeypatch.setattr(release_check.versions, "load", lambda: {release_check.CONTRACTS_VERSION: {"frozen": False}})
    assert [] == release_check.contracts(release_check.Wish())
    assert "record --freeze" in release_check.contracts(release_check.Wish(tag="v0.1.0"))[0]


def test_failed_command_shows_its_last_lines():
    """With its status."""
    (told,) = release_check._ran(sys.executable, "-c", "print('a'); print('b'); raise SystemExit(3)")
    assert told.endswith("ended with 3:\na\nb")

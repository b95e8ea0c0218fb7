"""The trainer's image and its ``train.py`` start the same thing."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from mp_kit.trainer import __main__ as entry

ROOT = Path(__file__).parents[3]
DOCKERFILE = ROOT / "deployments" / "trainer.Dockerfile"


def steps() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile with their arguments, in order."""
    text = "\n".join(line for line in DOCKERFILE.read_text().splitlines() if line and not line.startswith("#"))
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def test_entrypoint_is_the_wrapper():
    """In exec form, so that it is the first process and hears signals itself; whatever follows is its command."""
    [entrypoint] = [json.loads(rest) for word, rest in steps() if word == "ENTRYPOINT"]
    assert ["python", "-m", "mp_kit.trainer"] == entrypoint
    assert "CMD" not in {word for word, _ in steps()}
    assert entry.__spec__.name == f"{entrypoint[-1]}.__main__"


def test_train_py_is_the_same_entry():
    """The script of that name runs the very same function."""
    assert entry.main is runpy.run_path(str(ROOT / "deployments" / "train.py"))["main"]
    assert ("COPY", "deployments/train.py ./train.py") in steps()


@pytest.mark.parametrize("arguments", [["-m", "mp_kit.trainer"], [str(ROOT / "deployments" / "train.py")]])
def test_both_say_what_is_missing(arguments: list[str]):
    """Without an environment each ends with the same code and the same sentence."""
    env = {"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"}
    said = subprocess.run(
        [sys.executable, *arguments], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert (entry.EXIT_SETUP, True) == (said.returncode, "MP_RUN_TOKEN is missing" in said.stderr)


def test_runs_as_nobody_special():
    """The last user is not root, owns the run's folder, and is set after everything that needs root."""
    last = steps()[steps().index(("FROM", "${BASE}")) :]
    [made] = [rest for word, rest in last if word == "RUN"]
    name, number = re.findall(r"--uid (\d+) (\w+)", made)[0][::-1]
    [folder] = [part for word, rest in last if word == "ENV" for part in re.findall(r"MP_RUN_DIR=(\S+)", rest)]
    assert f"mkdir {folder} && chown {name} {folder}" in made
    assert "RUN" not in [word for word, _ in last[last.index(("USER", f"{number}:{number}")) :]]

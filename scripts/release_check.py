"""All that stands between the code and a release, as one table: ``make release-check``.

Each check says what is wrong and how to mend it, and all of them run whatever the others say. ``--skip tests`` leaves
out what takes longest, ``--only changelog`` runs one; ``--tag vX.Y.Z`` is for publishing: the version is dated then,
and its contracts are frozen. The distributions stay in ``dist/``, which is emptied first.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from release import changelog, distributions, locks, versions

from mp_kit.contracts import CONTRACTS_VERSION
from mp_kit.version import __version__

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
_SHOWN = 12


@dataclass(frozen=True)
class Wish:
    """What the command line asks for.

    Args:
        tag: The tag that is being published; ``None`` for a look ahead.
    """

    tag: str | None = None


@dataclass(frozen=True)
class Row:
    """The outcome of one check."""

    name: str
    problems: list[str]
    seconds: float


def check(wish: Wish) -> list[str]:  # noqa: ARG001 - all checks are called alike
    """Lint, format, types, imports."""
    return _ran("make", "check")


def tests(wish: Wish) -> list[str]:  # noqa: ARG001
    """The whole suite, the wheel's tests apart."""
    return _ran("make", "test", "ARGS=-q --ignore=tests/acceptance/test_wheel.py")


def contracts(wish: Wish) -> list[str]:
    """The contracts' version says what changed; with a tag, they are frozen."""
    found = _ran(sys.executable, "scripts/contracts.py", "check")
    record = versions.load().get(CONTRACTS_VERSION, {})
    if wish.tag and not record.get("frozen"):
        found.append(f"contracts {CONTRACTS_VERSION} are not frozen: run python scripts/contracts.py record --freeze")
    return found


def the_changelog(wish: Wish) -> list[str]:
    """Headings, dates and entries fit the version."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    return changelog.problems(text, __version__, datetime.now(UTC).date(), tag=wish.tag)


def the_locks(wish: Wish) -> list[str]:  # noqa: ARG001
    """The locks are what pyproject.toml asks for."""
    pyproject, lock = (ROOT / name for name in ("pyproject.toml", "requirements/all.txt"))
    found = locks.problems(pyproject.read_text(encoding="utf-8"), lock.read_text(encoding="utf-8"))
    return [*found, "run make lock"] if found else []


def build(wish: Wish) -> list[str]:  # noqa: ARG001
    """A wheel and an sdist."""
    shutil.rmtree(DIST, ignore_errors=True)
    try:
        distributions.build(DIST)
    except RuntimeError as error:
        return [str(error)]
    return []


def metadata(wish: Wish) -> list[str]:  # noqa: ARG001
    """As an index would check it; the Pythons are those that CI tests."""
    told = distributions.wheel_metadata(_wheel())
    tested, named = _tested(), distributions.pythons(told)
    found = distributions.metadata_problems(told, __version__)
    if tested != named:
        found.append(f"the classifiers name Python {', '.join(named)}, CI tests {', '.join(tested)}")
    least = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    return (
        found if least == f">={named[0]}" else [*found, f"requires-python is {least}, the first classifier {named[0]}"]
    )


def content(wish: Wish) -> list[str]:  # noqa: ARG001
    """No test, no secret, no folder of ours."""
    return [problem for path in (_wheel(), *DIST.glob("*.tar.gz")) for problem in distributions.content_problems(path)]


def bare(wish: Wish) -> list[str]:  # noqa: ARG001
    """The wheel, installed where no source of ours is, and tried."""
    env = os.environ | {"MP_WHEEL": str(_wheel())}
    return _ran(
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/acceptance/test_wheel.py", env=env
    )


CHECKS: dict[str, Callable[[Wish], list[str]]] = {
    "changelog": the_changelog,
    "contracts": contracts,
    "locks": the_locks,
    "check": check,
    "build": build,
    "metadata": metadata,
    "content": content,
    "bare": bare,
    "tests": tests,
}
"""In the order in which they run: what is quickly told comes first, and after ``build`` what needs its files."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the checks; 0 when all is well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--skip", action="append", choices=list(CHECKS), default=[], help="leave one out, repeatable")
    parser.add_argument("--only", action="append", choices=list(CHECKS), default=[], help="run just this, repeatable")
    parser.add_argument("--tag", help="the tag that is being published, such as v0.1.0")
    chosen = parser.parse_args(arguments)
    names = [name for name in CHECKS if name not in chosen.skip and name in (chosen.only or CHECKS)]
    rows = [run(name, Wish(chosen.tag or None)) for name in names]
    print(table(rows, skipped=[name for name in CHECKS if name not in names]))
    return 1 if any(row.problems for row in rows) else 0


def run(name: str, wish: Wish) -> Row:
    """One check; one that falls over has failed."""
    print(f"release-check: {name}", file=sys.stderr, flush=True)
    begun = time.monotonic()
    try:
        problems = CHECKS[name](wish)
    except Exception as error:  # noqa: BLE001 - the other checks are wanted, too
        problems = [f"{type(error).__name__}: {error}"]
    return Row(name, problems, time.monotonic() - begun)


def table(rows: Sequence[Row], skipped: Sequence[str]) -> str:
    """The outcome, a line each, and under it what is wrong."""
    lines = [f"mp-kit {__version__}, contracts {CONTRACTS_VERSION}", ""]
    for row in rows:
        what = (CHECKS[row.name].__doc__ or "").partition("\n")[0]
        lines.append(f"{'FAILED' if row.problems else 'ok':<8}{row.name:<11}{row.seconds:7.1f} s  {what}")
        lines += [f"          {line}" for problem in row.problems for line in problem.splitlines()]
    lines += [f"{'skipped':<8}{name}" for name in skipped]
    return "\n".join(lines)


def _ran(*argv: str, env: dict[str, str] | None = None) -> list[str]:
    """What a command says when it fails: its last lines."""
    done = subprocess.run(
        argv, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode == 0:
        return []
    return ["\n".join([f"{' '.join(argv)} ended with {done.returncode}:", *done.stdout.splitlines()[-_SHOWN:]])]


def _wheel() -> Path:
    wheels = list(DIST.glob("*.whl"))
    if len(wheels) != 1:
        msg = "dist/ does not hold one wheel: run the check `build`, too"
        raise FileNotFoundError(msg)
    return wheels[0]


def _tested() -> list[str]:
    """The Pythons of the matrix in CI."""
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    found = re.search(r"^\s+python: (\[.*\])$", text, re.MULTILINE)
    if found is None:
        msg = "ci.yml has no line `python: [...]`"
        raise ValueError(msg)
    listed: list[str] = json.loads(found[1])
    return listed


if __name__ == "__main__":
    sys.exit(main())

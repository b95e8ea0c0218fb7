"""Runs a report notebook: parameters checked first, a wall-clock limit from outside, outputs redacted, HTML.

1. A parameter that the notebook does not declare, or declares without a value and is not given, is refused before any
   kernel starts. papermill itself would only warn.
2. papermill runs in a process of its own, which is killed with its kernel when the time is over: no kernel, however
   stuck, holds up the flow.
3. papermill writes the notebook after every cell: what was computed until a failure is kept. A kernel that dies is
   noticed within seconds.
4. A notebook says in its metadata whose eyes it is for: ``{"mp": {"audience": "public"}}``; the operator's by default.
   One for vendors has a parameter ``vendor``.
"""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mp_kit.errors import InvalidInputError, NotFoundError
from mp_kit.server import leftovers, report_pages
from mp_kit.server.redaction import redact
from mp_kit.server.services.reports import Audience
from mp_kit.server.spawning import tail

__all__ = ["VENDOR", "Kind", "Made", "declared", "find", "kind_of", "make", "names", "validate"]

VENDOR = "vendor"
"""The parameter that says which vendor a report is about."""

_MARK = "MP_REPORT_PROCESS"
_DEAD = "DeadKernelError"
_PICTURES = {"image/png", "image/jpeg", "image/gif"}  # base64; SVG is text


@dataclass(frozen=True)
class Made:
    """A notebook that was run.

    Args:
        notebook: The executed notebook, whole or up to its failure; redacted. None when not even that was written.
        html: The same as HTML.
        failure: Why it failed; None when it did not.
        plot: The first plot that it drew, as PNG.
    """

    notebook: Path | None
    html: Path | None
    failure: str | None
    plot: bytes | None = None


@dataclass(frozen=True)
class Kind:
    """What a notebook says of itself.

    Args:
        title: Its first heading.
        audience: Whose eyes its reports are for.
    """

    title: str
    audience: Audience


def find(folder: Path, name: str) -> Path:
    """The notebook of a report.

    Raises:
        NotFoundError: There is none of that name.
    """
    known = names(folder)
    if name not in known:
        raise NotFoundError(f"There is no report {name!r}.", hint=f"There are: {', '.join(known) or 'none'}.")
    return folder / f"{name}.ipynb"


def names(folder: Path) -> list[str]:
    """The reports that there are notebooks for."""
    return sorted(path.stem for path in folder.glob("*.ipynb"))


def kind_of(notebook: Path) -> Kind:
    """What a notebook says of itself.

    Raises:
        InvalidInputError: It names an audience that there is none of, or is for vendors and takes no ``vendor``.
    """
    read = _read(notebook)
    said = read.metadata.get("mp", {}).get("audience", Audience.OPERATOR.value)
    if said not in set(Audience):
        raise InvalidInputError(f"{notebook.name} is for {said!r}.", hint=f"Say one of {', '.join(Audience)}.")
    if said == Audience.VENDOR and VENDOR not in declared(notebook):
        raise InvalidInputError(f"{notebook.name} is for a vendor and has no parameter `{VENDOR}`.")
    return Kind(report_pages.heading(read) or notebook.stem, Audience(said))


def declared(notebook: Path) -> dict[str, bool]:
    """The parameters of a notebook.

    Args:
        notebook: A notebook with one cell tagged ``parameters``.

    Returns:
        Name to whether it has a value in the cell.

    Raises:
        InvalidInputError: No cell has the tag.
    """
    cells = _read(notebook).cells
    tagged = [cell for cell in cells if "parameters" in cell.get("metadata", {}).get("tags", [])]
    if not tagged:
        raise InvalidInputError(
            f"{notebook.name} has no cell tagged `parameters`.", hint="Tag the cell that assigns its parameters."
        )
    found: dict[str, bool] = {}
    for statement in ast.parse(tagged[0].source).body:
        if isinstance(statement, ast.Assign):
            found |= {target.id: True for target in statement.targets if isinstance(target, ast.Name)}
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            found[statement.target.id] = statement.value is not None
    return found


def validate(notebook: Path, parameters: Mapping[str, Any]) -> None:
    """Refuses parameters that do not fit a notebook.

    Raises:
        InvalidInputError: One is unknown, or one without a value is missing.
    """
    known = declared(notebook)
    unknown = sorted(set(parameters) - set(known))
    missing = sorted(name for name, has_value in known.items() if not has_value and name not in parameters)
    if unknown or missing:
        faults = [*(f"{name} is unknown" for name in unknown), *(f"{name} is missing" for name in missing)]
        raise InvalidInputError(
            f"The parameters do not fit {notebook.name}: {', '.join(faults)}.",
            hint=f"It takes {', '.join(known) or 'none'}.",
        )


def make(notebook: Path, parameters: Mapping[str, Any], folder: Path, *, seconds: float, title: str = "") -> Made:
    """Runs a notebook and renders it.

    Args:
        notebook: Which.
        parameters: Values for its ``parameters`` cell.
        folder: An empty folder for what it makes.
        seconds: Wall-clock limit.
        title: Of the HTML.

    Raises:
        InvalidInputError: The parameters do not fit.
    """
    validate(notebook, parameters)
    executed = folder / notebook.name
    failure = _execute(notebook, executed, parameters, seconds)
    if not executed.exists():
        return Made(None, None, failure or "papermill left no notebook.")
    plot = _redact_outputs(executed)
    html = report_pages.render(executed, title=title or notebook.stem, failure=failure)
    return Made(executed, html, failure, plot)


def _execute(notebook: Path, executed: Path, parameters: Mapping[str, Any], seconds: float) -> str | None:
    import yaml

    settings = executed.with_suffix(".yaml")
    settings.write_text(yaml.safe_dump(dict(parameters)), encoding="utf-8")
    argv = [sys.executable, "-m", "papermill", str(notebook), str(executed), "-f", str(settings)]
    mark = uuid.uuid4().hex
    log = executed.with_suffix(".log")
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [
                *argv,
                "-k",
                "python3",
                "--cwd",
                str(executed.parent),
                "-l",
                "python",
                "--no-progress-bar",
                "--log-level",
                "ERROR",
            ],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env={**os.environ, _MARK: mark},
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return f"It was still running after {seconds:g} s and was stopped."
        finally:
            _kill(process, mark)
    return None if code == 0 else _reason(redact(tail(log, 12)), code)


def _reason(told: str, code: int) -> str:
    if _DEAD in told:
        return "Its kernel died: it was killed, or the machine ran out of memory."
    return told or f"papermill ended with exit status {code}."


def _kill(process: subprocess.Popen[bytes], mark: str) -> None:
    """Ends papermill and its kernel, which lives in a process group of its own."""
    for pid in leftovers.find(mark, _MARK):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.kill()
    process.wait()


def _read(path: Path) -> Any:
    import nbformat

    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call] # it ships no types


def _redact_outputs(path: Path) -> bytes | None:
    """Redacts a notebook in place; gives its first plot."""
    import nbformat

    notebook = _read(path)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.update(_redacted(output))
    nbformat.write(notebook, path)  # type: ignore[no-untyped-call] # it ships no types
    return report_pages.first_plot(notebook)


def _redacted(value: Any, kind: str = "") -> Any:
    if isinstance(value, str):
        return value if kind in _PICTURES else redact(value)
    if isinstance(value, dict):
        return {name: _redacted(part, name) for name, part in value.items()}
    if isinstance(value, list):
        return [_redacted(part, kind) for part in value]
    return value

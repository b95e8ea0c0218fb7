"""How a job tells the wrapper about its progress: JSON lines in the file that ``MP_REPORT_FILE`` names.

Works from any language: append a line such as ``{"step": 3, "metrics": {"loss": 0.61}}``. Outside a wrapper (no
variable set) the functions do nothing, so that a script runs unchanged on a laptop.
"""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mp_kit.trainer.limits import HISTORY, MAX_METRICS_BYTES, merged, size_of

__all__ = ["REPORT_FILE", "Progress", "ReportReader", "failure", "metric"]

REPORT_FILE = "MP_REPORT_FILE"
"""Name of the variable that holds the report's path."""

MAX_POINTS = 500
"""Points of the history that are kept; a longer one is thinned evenly."""

_FAILURE_CHARS = 2_000


def metric(step: int | None = None, *, total_steps: int | None = None, **values: Any) -> None:
    """Reports a step and what was measured at it.

    Args:
        step: Number of the step, counted from 1; None for measurements of the whole run.
        total_steps: How many steps there will be, if known.
        **values: JSON values by name; a float that is not finite is reported as null.
    """
    _append({"step": step, "total_steps": total_steps, "metrics": values})


def failure(sentence: str) -> None:
    """Says in one sentence why the job is about to fail."""
    _append({"failure": sentence[:_FAILURE_CHARS]})


def _append(entry: Mapping[str, Any]) -> None:
    path = os.environ.get(REPORT_FILE)
    if not path:
        return
    line = json.dumps(clean(entry), allow_nan=False, default=str) + "\n"
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, line.encode())  # one write per line: appends of several processes don't mix
    finally:
        os.close(handle)


def clean(value: Any) -> Any:
    """The same JSON value with numpy numbers as Python's, non-finite floats as None, texts that can be stored."""
    if isinstance(value, str):
        return _storable(value)
    if isinstance(value, Mapping):
        return {_storable(str(key)): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _storable(text: str) -> str:
    """Without halves of characters, as names of files may have them, which no JSON reader takes."""
    return text.encode("utf-8", "replace").decode()


@dataclass
class Progress:
    """What a job has reported so far.

    Attributes:
        step: The last step.
        total_steps: How many there will be.
        metrics: The last value of each measurement.
        history: ``{"step": n, ...}`` per step, at most ``2 * MAX_POINTS`` of them.
        failure: The job's own sentence about its failure.
    """

    step: int | None = None
    total_steps: int | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    failure: str | None = None

    def take(self, entry: Mapping[str, Any]) -> None:
        """Takes in one line of the report; what has the wrong type is ignored."""
        values = entry.get("metrics")
        values = clean(values) if isinstance(values, Mapping) else {}
        step = entry.get("step")
        if isinstance(step, int):
            self.step = step
            self.history.append({"step": step, **_numbers(values)})
        if isinstance(entry.get("total_steps"), int):
            self.total_steps = entry["total_steps"]
        if isinstance(entry.get("failure"), str):
            self.failure = _storable(entry["failure"])[:_FAILURE_CHARS]
        self.metrics, _ = merged(self.metrics, values)
        if len(self.history) > 2 * MAX_POINTS:
            self.history = self.history[::2]

    def summary(self) -> dict[str, Any]:
        """The metrics for the marketplace: last values, and under ``history`` as many steps as there is room for."""
        if not self.history:
            return dict(self.metrics)
        stride = -(-len(self.history) // MAX_POINTS)
        points = self.history[::-1][::stride][::-1]
        room = MAX_METRICS_BYTES - size_of(self.metrics) - len(HISTORY)
        while len(points) > 1 and size_of(points) > room:
            points = points[::-1][::2][::-1]
        return {**self.metrics, HISTORY: points}


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in values.items() if isinstance(item, int | float)}


class ReportReader:
    """Follows a report file; only whole lines count.

    Args:
        path: The report, which need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._lock = threading.Lock()
        self.progress = Progress()

    def poll(self) -> Progress:
        """Reads what is new and returns the progress so far; a line that is no JSON object is skipped."""
        if not self._path.exists():
            return self.progress
        with self._lock, self._path.open("rb") as report:
            report.seek(self._offset)
            for line in report:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                self._take(line)
        return self.progress

    def _take(self, line: bytes) -> None:
        try:
            entry = json.loads(line)
        except ValueError:
            return  # a foreign program wrote something else there; its own log says what
        if isinstance(entry, dict):
            self.progress.take(entry)

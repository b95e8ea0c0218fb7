"""Figures in a file: JSON lines, one per name, sorted; what is measured again takes the place of what was there.

A line names the machine by its cores and memory only, and how busy it was when the benchmark began: absolute figures of
a busy machine are worse than those of an idle one, ratios less so.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.results import Result

BUSY = 0.5
"""Processes that want a core, per core, from which on a machine counts as busy."""


def load() -> float:
    """Processes that wanted a core during the last minute, per core."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)


def machine() -> dict[str, Any]:
    """What the figures depend on most."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cores": os.cpu_count(), "memory_gib": round(memory / 2**30)}


def save(path: Path, results: Iterable[Result], busy: float) -> None:
    """Writes results into a file of figures.

    Args:
        path: The file; made where it is not there.
        results: Those of a benchmark.
        busy: :func:`load` before it began.
    """
    known = _lines(path)
    about = {"machine": machine(), "at": datetime.now(UTC).isoformat(timespec="seconds"), "load": round(busy, 2)}
    for result in results:
        known[result.name] = asdict(result) | about | {"busy": busy > BUSY}
    path.write_text("".join(f"{json.dumps(known[name])}\n" for name in sorted(known)), encoding="utf-8")


def _lines(path: Path) -> dict[str, dict[str, Any]]:
    if not path.exists():
        return {}
    lines = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    return {line["name"]: line for line in lines}

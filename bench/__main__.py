"""``python -m bench`` runs all benchmarks, ``python -m bench NAME --json`` one; ``make bench`` is the first.

``--save FILE`` keeps the figures as JSON lines for the capacity model (``notebooks/operator/06_capacity.ipynb``).
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from dataclasses import asdict
from pathlib import Path

from bench.results import Result
from bench.saved import load, save

NAMES = (
    "start",
    "ingest",
    "pull",
    "presign",
    "publish",
    "score",
    "consensus",
    "launch",
    "watch",
    "chaos",
    "pages",
    "sandbox",
    "signal-chaos",
    "handlers",
    "limiter",
    "auth-flood",
    "vendors",
    "capacity",
)


def run(name: str) -> list[Result]:
    """The results of one benchmark."""
    results: list[Result] = importlib.import_module(f"bench.{name.replace('-', '_')}").run()
    return results


def show(results: list[Result]) -> None:
    """A table for people."""
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "value", "unit", "ratio", "target", "against")
    for result in results:
        ratio = "" if result.ratio is None else f"{result.ratio:.2f}"
        table.add_row(result.name, f"{result.value:,.3f}", result.unit, ratio, result.target, result.against)
    Console().print(table)


def main() -> int:
    """Runs what was asked for."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all by default")
    parser.add_argument("--json", action="store_true", help="a JSON line per result")
    parser.add_argument("--save", type=Path, metavar="FILE", help="keep the figures there, in place of earlier ones")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.names if name not in NAMES]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}")
    results = []
    for name in chosen.names or NAMES:
        busy = load()
        found = run(name)
        results += found
        if chosen.save is not None:
            save(chosen.save, found, busy)
    if chosen.json:
        for result in results:
            print(json.dumps(asdict(result)))
    else:
        show(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())

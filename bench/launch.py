"""From a vendor's POST to the order at RunPod, with 100 runs queued at once.

The real edge, Postgres and supervisor, each a process of its own; RunPod is the stand-in, whose pods run nothing here.
The clock starts when a client begins its POST, and stops when the order of that run's pod arrives.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from bench.chaos_parts import PREFIX, Rules
from bench.chaos_world import World, world
from bench.results import Result

RUNS = 100
_CLIENTS = 10
_WARM_UP = 3
_PATIENCE = 120.0


def run() -> list[Result]:
    """Median and 99th percentile in seconds."""
    rules = Rules(faulty=False, containers=False)
    with (
        tempfile.TemporaryDirectory(prefix="mp-launch-") as folder,
        world(Path(folder), rules, supervisors=1, sweeper=False) as made,
    ):
        alone = sorted(_seconds(made, 1)[0] for _ in range(_WARM_UP))
        queued = sorted(_seconds(made, RUNS))
    cuts = statistics.quantiles(queued, n=100, method="inclusive")
    against = f"one run alone, {alone[0]:.3f} s at best; {RUNS} at once by {_CLIENTS} clients"
    return [
        Result("launch.p50_seconds", cuts[49], "s", against, cuts[49] / alone[0], "<= 2 s"),
        Result("launch.p99_seconds", cuts[98], "s", "", None, "<= 5 s"),
    ]


def _seconds(made: World, count: int) -> list[float]:
    """Orders runs at once; the seconds from each POST to its order at RunPod."""
    with ThreadPoolExecutor(_CLIENTS) as pool, httpx.Client(base_url=made.url, timeout=60) as client:
        began = dict(pool.map(lambda number: _post(client, made.keys[number % len(made.keys)]), range(count)))
    arrived: dict[str, float] = {}
    end = time.monotonic() + _PATIENCE
    while not began.keys() <= arrived.keys():
        if time.monotonic() > end:
            raise TimeoutError(made.logs())
        time.sleep(0.5)
        for name, _, at in reversed(made.runpod("report")["creates"]):
            arrived[name.removeprefix(f"{PREFIX}-").rpartition("-a")[0]] = at
    return [arrived[run_id] - at for run_id, at in began.items()]


def _post(client: httpx.Client, key: str) -> tuple[str, float]:
    body = {
        "round_id": "current",
        "task": "signal",
        "gpu": "L4",
        "hyperparams": {"name": "x", "end": "success", "lines": 1, "seconds": 1},
        "budget": {"max_hours": 1, "max_cost_usd": 5},
    }
    headers = {"Authorization": f"Bearer {key}"}
    while True:
        began = time.time()
        try:
            answer = client.post("/api/training/runs", json=body, headers=headers)
        except httpx.ConnectError:  # the edge is still starting
            time.sleep(0.1)
            continue
        answer.raise_for_status()
        return str(answer.json()["data"]["run_id"]), began

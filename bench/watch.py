"""1,000 running trainings of two vendors, watched by one supervisor: its memory, and its calls to RunPod.

A cycle is one that looked at something. The supervisor is a process of its own, over the real provider and database;
the pods of RunPod's stand-in run nothing, and their heartbeats are entered into the database at the beginning.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import text

from bench.chaos_parts import Rules
from bench.chaos_world import World, world
from bench.results import Result
from mp_kit.contracts.training import RunHeartbeat, TrainingRequest
from mp_kit.server.house import House
from mp_kit.server.services import runs

RUNS = 1_000
VENDORS = 2
WATCH_SECONDS = 40.0
_START_SECONDS = 6.0
_KIB_PER_GIB = 1 << 20
_PATIENCE = 300.0


def run() -> list[Result]:
    """Peak memory, and list calls per vendor and cycle."""
    rules = Rules(faulty=False, containers=False, silence=3_600, pods=2.0)
    with (
        tempfile.TemporaryDirectory(prefix="mp-watch-") as folder,
        world(Path(folder), rules, supervisors=1, sweeper=False) as made,
        made.house() as house,
    ):
        took = _fill(made, house)
        lists = made.runpod("report")["requests"]
        cycles, peak, share = _watched(made)
        asked = made.runpod("report")["requests"]
    calls = {name: asked[name] - lists.get(name, 0) for name in asked}
    others = ", ".join(f"{count} {name}" for name, count in sorted(calls.items()) if count and name != "list") or "none"
    against = f"{RUNS} runs of {VENDORS} vendors, {cycles} cycles; other calls: {others}"
    per_cycle = calls["list"] / cycles / VENDORS
    return [
        Result("watch.rss_gib", peak, "GiB", f"{RUNS} runs; launched in {took:.0f} s", None, "<= 1 GiB"),
        Result("watch.list_calls_per_cycle", per_cycle, "per vendor", against, per_cycle, "<= 1"),
        Result("watch.cpu_share", share, "of a core", f"start of the process left out, {WATCH_SECONDS:.0f} s", share),
    ]


def _fill(made: World, house: House) -> float:
    """Orders all runs, waits until each has its pod, and lets each be heard; the seconds from first to last."""
    body = {"round_id": "current", "task": "signal", "provider": "runpod", "gpu": "L4"}
    request = TrainingRequest.model_validate(body | {"budget": {"max_hours": 24, "max_cost_usd": 24}})
    began = time.monotonic()
    with house.db.begin() as tx:
        owners = [row.id for row in tx.execute(text("SELECT id FROM marketplace_vendors"))]
        for number in range(RUNS):
            now, owner = datetime.now(UTC), owners[number % len(owners)]
            runs.create(tx, owner, request, idempotency_key=None, now=now, providers=house.providers)
    while len(ready := _launched(house)) < RUNS:
        if time.monotonic() - began > _PATIENCE:
            raise TimeoutError(made.logs())
        time.sleep(0.5)
    took = time.monotonic() - began
    with house.db.begin() as tx:
        for run_id in ready:
            runs.heartbeat(tx, run_id, RunHeartbeat(), now=datetime.now(UTC))
    return took


def _launched(house: House) -> list[str]:
    query = "SELECT id FROM training_runs WHERE provider_ref IS NOT NULL ORDER BY id"
    with house.db.begin() as tx:
        return [row.id for row in tx.execute(text(query))]


def _watched(made: World) -> tuple[int, float, float]:
    """Starts the supervisor anew, lets it watch for a while, and ends it.

    Returns:
        Its cycles, its peak in GiB, and its share of a core.
    """
    made.kill("supervisor-0")
    made.start("supervisor-0")
    process = made.processes["supervisor-0"]
    time.sleep(_START_SECONDS)
    before = _cpu_seconds(process.pid)
    time.sleep(WATCH_SECONDS)
    used = _cpu_seconds(process.pid) - before
    status = Path(f"/proc/{process.pid}/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    process.send_signal(signal.SIGTERM)
    process.wait()
    told = json.loads((made.folder / "supervisor-0.log").read_text().splitlines()[-1])
    return int(told["cycles"]), peak / _KIB_PER_GIB, used / WATCH_SECONDS


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

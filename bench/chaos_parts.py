"""The processes of the chaos rehearsal: a RunPod that misbehaves, supervisors, a sweeper; and what their pods run.

``python -m bench.chaos_parts fake|supervise|sweep RULES``; the marketplace is that of the environment. Times are
shorter than in earnest, and everything else is what runs in earnest.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mp_kit.errors import MarketplaceError
from mp_kit.server.house import House
from mp_kit.server.providers.runpod import COMMAND, RunPodProvider
from mp_kit.server.services import strays
from mp_kit.server.services.runs_states import Limits
from mp_kit.server.services.supervisor import Desk, watch
from mp_kit.server.wiring import open_house, runpod_keys
from mp_kit.testing.fake_runpod import FakeRunPod, Fault, Faults, Pace

log = logging.getLogger("sweep")

PREFIX = "mp-chaos"

JOB = """
import json, os, pathlib, signal, sys, time
spec = json.loads(os.environ["TRAINING_SPEC"])["hyperparams"]
book = pathlib.Path(os.environ["MP_RUN_DIR"], "job-starts")
start = int(book.read_text()) + 1 if book.exists() else 1
book.write_text(str(start))
for line in range(int(spec["lines"])):
    print(f"start {start} line {line}", flush=True)
    time.sleep(spec["seconds"] / spec["lines"])
with open(os.environ["MP_REPORT_FILE"], "a") as report:
    report.write(json.dumps({"step": 1, "metrics": {"loss": 0.5}}) + "\\n")
pathlib.Path(os.environ["MP_ARTIFACT_DIR"], "result.bin").write_bytes(spec["name"].encode() * 1000)
if spec["end"] in ("hang", "cancel"):
    time.sleep(3600)
if spec["end"] == "crash":
    os.kill(os.getppid(), signal.SIGKILL)
sys.exit(1 if spec["end"] == "exit" else 0)
"""
"""A tiny real job: it says numbered lines, reports a metric, writes an artifact, and ends as its order says."""

DEADLY = {"vanishes", "exits", "errors", "network_dead", "stuck"}
"""Faults of a pod after which its run may fail, whatever its job would have done."""

REFUSING = {"no_balance", "no_access"}
"""Faults of an order after which its run may fail."""

_LASTING = {Fault.STUCK, Fault.NETWORK_DEAD}

_FAULTS: list[tuple[str, Fault, float, dict[str, float]]] = [
    *(("create", fault, chance, {"seconds": 2.0}) for fault, chance in (
        (Fault.CREATED_BUT_500, 0.06), (Fault.CREATED_BUT_CUT, 0.04), (Fault.CREATED_BUT_SLOW, 0.05),
        (Fault.RATE_LIMITED, 0.04), (Fault.SERVER_ERROR, 0.02), (Fault.NO_ANSWER, 0.02), (Fault.NO_JSON, 0.02),
        (Fault.NO_CAPACITY, 0.05), (Fault.NO_ACCESS, 0.01), (Fault.NO_BALANCE, 0.005), (Fault.HIDDEN, 0.08),
        (Fault.HIDDEN_FROM_LIST, 0.05), (Fault.HIDDEN_FROM_GET, 0.05), (Fault.SLOW_PULL, 0.05),
        (Fault.STUCK, 0.015), (Fault.NETWORK_DEAD, 0.015), (Fault.KEY_FORBIDDEN, 0.06),
    )),
    ("create", Fault.PRICE_ABOVE_QUOTE, 0.02, {"factor": 4.0}),
    *(("create", fault, 0.02, {"seconds": 12.0}) for fault in (Fault.VANISHES, Fault.EXITS, Fault.ERRORS)),
    *((operation, fault, chance, {"seconds": 1.0})
      for operation in ("list", "get", "delete", "action", "catalog", "billing", "logs")
      for fault, chance in ((Fault.RATE_LIMITED, 0.03), (Fault.SERVER_ERROR, 0.03), (Fault.NO_ANSWER, 0.03),
                            (Fault.NO_JSON, 0.02), (Fault.SLOW_ANSWER, 0.03))),
    ("delete", Fault.DELETE_404, 0.06, {}),
    ("delete", Fault.DELETE_LINGERS, 0.06, {"seconds": 2.0}),
    ("delete", Fault.DONE_BUT_500, 0.04, {}),
    ("action", Fault.ACTION_NO_OP, 0.1, {}),
    ("action", Fault.DONE_BUT_CUT, 0.05, {}),
    ("logs", Fault.SSE_SILENT, 0.2, {}),
    ("logs", Fault.SSE_CUT, 0.1, {}),
]  # fmt: skip


@dataclass(frozen=True)
class Rules:
    """Times of a rehearsal, in seconds, and its seed.

    Attributes:
        seed: Of all that happens by chance.
        settle: Below this age a pod's absence proves nothing.
        overdue: Behind the deadline, until the supervisor ends a job.
        grace: Behind the deadline, until a sweep ends a machine.
        young: Below this age a sweep leaves a machine alone.
        sweep: Between two sweeps.
        lease: How long a dead supervisor holds its runs up.
        silence: Without a heartbeat, until a job is given up.
        faulty: Whether RunPod misbehaves.
        lasting: Whether pods may also be stuck, or cut off, until their budget is over.
        containers: Whether its pods run anything.
        pods: Requests for a list of pods are shared for this long.
    """

    seed: int = 7
    settle: float = 8.0
    overdue: float = 8.0
    grace: float = 16.0
    young: float = 12.0
    sweep: float = 5.0
    lease: float = 15.0
    silence: float = 60.0
    faulty: bool = True
    lasting: bool = True
    containers: bool = True
    pods: float = 1.0

    def text(self) -> str:
        """For a command line."""
        return json.dumps(asdict(self))

    def limits(self) -> Limits:
        """The supervisor's."""
        lived = timedelta(seconds=self.silence)
        short, soft = timedelta(seconds=self.overdue), timedelta(seconds=2)
        return Limits(launch=lived, silence=lived, overdue=short, stopped=short, soft_end=soft)

    def walls(self) -> strays.Walls:
        """The sweep's."""
        return strays.Walls(timedelta(seconds=self.young), timedelta(seconds=self.grace))


def provider_of(house: House, rules: Rules) -> RunPodProvider:
    """The provider as the marketplace builds it, but for its times and for what its pods run."""
    return RunPodProvider(
        runpod_keys(house.db, house.vault),
        image="mp-trainer:1",
        prefix=PREFIX,
        base_url=house.settings.runpod_url,
        command=(*COMMAND, "--", sys.executable, "-I", "-S", "-c", JOB),
        settle_seconds=rules.settle,
        list_seconds=rules.pods,
    )


def desk_of(house: House, provider: RunPodProvider, rules: Rules) -> Desk:
    """What a supervisor works with."""
    parts = (house.db, house.store, {"runpod": provider}, house.tokens.run_token)
    return Desk(*parts, house.settings.base_url, house.vault, limits=rules.limits(), lease_seconds=rules.lease)


def supervise(rules: Rules) -> None:
    """Supervises until it is killed; on SIGTERM it says what it did, as a line of JSON."""
    cycles = Counter[bool]()
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    with open_house() as house:
        desk = desk_of(house, provider_of(house, rules), rules)
        watch(desk, seconds=3_600, poll=1.0, stop=over.is_set, on_cycle=lambda looks: cycles.update([looks > 0]))
    print(json.dumps({"cycles": cycles[True], "idle": cycles[False]}), flush=True)


def sweep(rules: Rules) -> None:
    """Sweeps and reconciles until it is killed; an outage of the database costs one turn."""
    with open_house() as house:
        provider = provider_of(house, rules)
        while True:
            try:
                sweep_once(house, provider, rules)
            except MarketplaceError as error:
                log.warning("no sweep: %s", error)
            time.sleep(rules.sweep)


def sweep_once(
    house: House, provider: RunPodProvider, rules: Rules, *, later: timedelta = timedelta()
) -> strays.SweepReport:
    """One sweep, and the bills, which are asked for so much later: from a day after its end on a machine's is final."""
    now, providers = datetime.now(UTC), {"runpod": provider}
    with house.db.begin() as tx:
        accounts = strays.accounts_of(tx, providers)
    report = strays.sweep(house.db, providers, accounts, now=now, actor="chaos", walls=rules.walls())
    strays.reconcile(house.db, providers, now=now + later)
    return report


def fake(rules: Rules, keys: list[str], openapi: str) -> None:
    """RunPod, until its input ends: ``calm`` ends all faults, ``report`` tells everything as a line of JSON."""
    faults = Faults(rules.seed)
    for operation, fault, chance, numbers in _FAULTS if rules.faulty else ():
        if rules.lasting or fault not in _LASTING:
            faults.always(operation, fault, chance, **numbers)
    given: dict[str, Any] = {"faults": faults, "pace": Pace(0.2, 0.3, 1.0, 5.0), "run_containers": rules.containers}
    with FakeRunPod(dict.fromkeys(keys), openapi=Path(openapi) if openapi else None, **given) as runpod:
        print(runpod.url, flush=True)
        for order in sys.stdin:
            if order.strip() == "calm":
                faults.clear()
            print(json.dumps(_told(runpod) if order.strip() == "report" else {}), flush=True)


def _told(runpod: FakeRunPod) -> dict[str, Any]:
    asked = runpod.requests
    return {
        "pods": [{name: str(value) for name, value in asdict(pod).items()} for pod in runpod.pods],
        "violations": [str(violation) for violation in runpod.violations],
        "creates": [
            [one.body["name"], list(one.faults), one.at.timestamp()]
            for one in asked
            if one.operation == "create" and one.body
        ],
        "requests": Counter(one.operation for one in asked),
        "drawn": Counter(f"{operation}:{fault.value}" for operation, fault in runpod.faults.drawn),
    }


def main(arguments: list[str]) -> None:
    """Is one of the processes."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    part, rules = arguments[0], Rules(**json.loads(arguments[1]))
    if part == "fake":
        fake(rules, arguments[3:], arguments[2])
    {"supervise": supervise, "sweep": sweep}.get(part, lambda _: None)(rules)


if __name__ == "__main__":
    main(sys.argv[1:])

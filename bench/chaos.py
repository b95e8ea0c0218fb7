"""200 trainings at a RunPod that misbehaves, while supervisors, edge and Postgres are killed at random moments.

Real processes over real sockets: see :mod:`bench.chaos_parts` for who they are and what goes wrong,
:mod:`bench.chaos_verdict` for what must have come of it. ``MP_BENCH_RUNS=20`` is a smaller one, ``MP_BENCH_SEED``
another one.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import httpx
from sqlalchemy import text

from bench.chaos_parts import Rules, provider_of, sweep_once
from bench.chaos_verdict import Order, Verdict, judge
from bench.chaos_world import World, world
from bench.results import Result
from mp_kit.errors import DatabaseDownError
from mp_kit.server.house import House

RUNS = int(os.environ.get("MP_BENCH_RUNS", "200"))
SEED = int(os.environ.get("MP_BENCH_SEED", "7"))
_MIX = {"success": 45, "exit": 15, "hang": 10, "crash": 10, "cancel": 20}
_GPU = "H100"
_PRICE = 3.49
_TICK = 0.2


@dataclass(frozen=True)
class Weather:
    """How rough it gets.

    Attributes:
        runs: How many are ordered.
        at_once: How many are open at a time.
        rules: Times and seed.
        job_seconds: How long a job works.
        hours: Budget of a run that ends by itself.
        short_hours: Budget of one that hangs.
        calm_seconds: Least and most between two kills.
        patience: For the whole of it, in seconds.
    """

    runs: int
    at_once: int
    rules: Rules
    job_seconds: float = 2.0
    hours: float = 90 / 3_600
    short_hours: float = 20 / 3_600
    calm_seconds: tuple[float, float] = (4.0, 10.0)
    patience: float = 1_500.0


def run() -> list[Result]:
    """Everything that went wrong, as figures; sentences about it go to stderr."""
    weather = Weather(RUNS, 10, Rules(seed=SEED))
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mp-chaos-") as folder:
        verdict, kills = rehearse(Path(folder), weather)
    sys.stderr.writelines(f"chaos: {sentence}\n" for sentence in verdict.complaints)
    ends = ", ".join(f"{count} {name}" for name, count in sorted(verdict.states.items()))
    against = f"{RUNS} runs in {time.monotonic() - began:.0f} s, kill -9 of {kills}; {ends}"
    figures = {
        "wrong_end_states": len(verdict.ends),
        "double_billed": len(verdict.doubles),
        "over_budget": len(verdict.budgets),
        "ledger_off_usd": float(verdict.ledger_off),
        "log_lines_lost_or_doubled": len(verdict.logs),
        "artifacts_lost": len(verdict.artifacts),
        "pods_left": len(verdict.left),
        "contract_violations": len(verdict.violations),
    }
    units = {"ledger_off_usd": "USD"}
    return [
        Result(f"chaos.{name}", value, units.get(name, ""), against if name == "wrong_end_states" else "", None, "0")
        for name, value in figures.items()
    ]


def rehearse(folder: Path, weather: Weather) -> tuple[Verdict, str]:
    """Runs it, brings everything to rest, and judges; also says what was killed how often."""
    with world(folder, weather.rules) as made, made.house() as house:
        storm = Storm(made, house, weather)
        try:
            storm.rage()
            storm.settle()
        except TimeoutError as error:
            error.add_note(made.logs())
            raise
        verdict = judge(house, made.runpod("report"), storm.orders, weather.rules)
        return verdict, ", ".join(f"{name} x {count}" for name, count in sorted(made.kills.items()))


def _orders(weather: Weather) -> list[Order]:
    chance = random.Random(weather.rules.seed)
    ends = list(_MIX) + chance.choices(list(_MIX), list(_MIX.values()), k=max(weather.runs - len(_MIX), 0))
    chance.shuffle(ends)
    hours = {"hang": weather.short_hours}
    spent = [hours.get(end, weather.hours) for end in ends]
    return [
        Order(f"run-{number}", end, chance.randint(5, 40), span, round(_PRICE * 1.5 * span, 4))
        for number, (end, span) in enumerate(zip(ends, spent, strict=True))
    ]


@dataclass
class Storm:
    """Orders, cancels and kills, from one thread.

    Args:
        made: The processes.
        house: The marketplace, to look into its books.
        weather: How rough.
    """

    made: World
    house: House
    weather: Weather
    orders: Sequence[Order] = ()
    ordered: dict[str, str] = field(default_factory=dict)
    cancels: list[tuple[float, Order]] = field(default_factory=list)
    dead: list[tuple[float, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.orders = _orders(self.weather)
        self._chance = random.Random(self.weather.rules.seed + 1)
        self._waiting = list(self.orders)
        self._end = time.monotonic() + self.weather.patience
        vendors = [{"Authorization": f"Bearer {key}"} for key in self.made.keys]
        self._clients = [httpx.Client(base_url=self.made.url, headers=vendor, timeout=5) for vendor in vendors]

    def rage(self) -> None:
        """Until every run is over."""
        next_kill = time.monotonic() + self._chance.uniform(*self.weather.calm_seconds)
        while self._waiting or self.cancels or self._open() != 0:
            self._tick()
            self._order_next()
            self._cancel_due()
            if time.monotonic() > next_kill:
                self._kill()
                next_kill = time.monotonic() + self._chance.uniform(*self.weather.calm_seconds)
            self._revive()

    def settle(self) -> None:
        """Starts what is dead, ends all faults, and waits until nothing is left; one sweep and the bills come last."""
        self.made.runpod("calm")
        self._revive(at_once=True)
        self._until(lambda: all(pod["status"] == "TERMINATED" for pod in self.made.runpod("report")["pods"]))
        provider = provider_of(self.house, self.weather.rules)
        sweep_once(self.house, provider, self.weather.rules, later=timedelta(days=2))
        provider.close()
        for client in self._clients:
            client.close()

    def _until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            self._tick()

    def _tick(self) -> None:
        time.sleep(_TICK)
        if time.monotonic() > self._end:
            msg = f"after {self.weather.patience:.0f} s {self._open()} runs are open"
            raise TimeoutError(msg)

    def _open(self) -> int | None:
        """How many runs are not over; None while Postgres is away."""
        query = "SELECT count(*) FROM training_runs WHERE state NOT IN ('succeeded', 'failed', 'cancelled')"
        try:
            with self.house.db.begin() as tx:
                return int(tx.execute(text(query)).scalar_one())
        except DatabaseDownError:
            return None

    def _order_next(self) -> None:
        free = self.weather.at_once - found if (found := self._open()) is not None else 0
        while free > 0 and self._waiting and self._post(self._waiting[0]):
            order = self._waiting.pop(0)
            free -= 1
            if order.end == "cancel":
                self.cancels.append((time.monotonic() + self._chance.uniform(0, 12), order))

    def _post(self, order: Order) -> bool:
        body = {
            "round_id": "current",
            "task": "signal",
            "gpu": _GPU,
            "base_image": "mp-chaos:1",  # with an image of its own an order's hyperparameters are the job's to judge
            "hyperparams": {
                "name": order.name,
                "end": order.end,
                "lines": order.lines,
                "seconds": self.weather.job_seconds,
            },
            "budget": {"max_hours": order.hours, "max_cost_usd": order.usd},
        }
        data = self._ask(order, "/api/training/runs", json=body, headers={"X-Idempotency-Key": order.name})
        if data:
            self.ordered[order.name] = data["run_id"]
        return bool(data)

    def _cancel_due(self) -> None:
        for at, order in list(self.cancels):
            path = f"/api/training/runs/{self.ordered[order.name]}/cancel"
            if time.monotonic() > at and self._ask(order, path):
                self.cancels.remove((at, order))

    def _ask(self, order: Order, path: str, **sent: object) -> dict[str, str] | None:
        """POSTs as the order's vendor; None where the edge is away, to be repeated."""
        client = self._clients[self.orders.index(order) % len(self._clients)]
        try:
            answer = client.post(path, **sent)  # type: ignore[arg-type]
        except httpx.HTTPError:
            return None
        if answer.status_code in {429, 500, 502, 503}:
            return None
        answer.raise_for_status()
        return dict(answer.json()["data"])

    def _kill(self) -> None:
        dead = {name for _, name in self.dead}
        name = self._chance.choice([name for name in self.made.mortal if name not in dead])
        if name == "postgres" or self.made.processes[name].poll() is None:
            self.made.kill(name)
        self.dead.append((time.monotonic() + self._chance.uniform(0.2, 2.0), name))

    def _revive(self, *, at_once: bool = False) -> None:
        for at, name in list(self.dead):
            if at_once or time.monotonic() > at:
                self.made.start(name)
                self.dead.remove((at, name))

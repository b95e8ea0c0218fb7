"""Signals pushed by eight clients and an old one, while edge, worker, Postgres and they themselves are killed.

100 rounds; in each, one or more of them get ``kill -9`` and are started again over the same state. See
:mod:`bench.signal_chaos_plan` for what is pushed, :mod:`bench.signal_chaos_parts` for who they are, and
:mod:`bench.signal_chaos_verdict` for what must have come of it. ``MP_BENCH_ROUNDS=10`` is a smaller one,
``MP_BENCH_SEED`` another one.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import text

from bench.chaos_parts import Rules
from bench.chaos_world import World
from bench.edge_world import WIDE
from bench.results import Result
from bench.signal_chaos_parts import STOP, entries, journal_of
from bench.signal_chaos_plan import VERSIONS, Plan, Pusher, seats
from bench.signal_chaos_verdict import Verdict, judge
from mp_kit.contracts import DeploymentRequest, ModelRegistration, Stage
from mp_kit.errors import DatabaseDownError
from mp_kit.server import settings
from mp_kit.server.house import House
from mp_kit.server.processes import free_port
from mp_kit.server.services import deployments, models, vendors
from mp_kit.server.store import embedded, migrate

ROUNDS = int(os.environ.get("MP_BENCH_ROUNDS", "100"))
SEED = int(os.environ.get("MP_BENCH_SEED", "7"))
PARTS = "bench.signal_chaos_parts"
_TICK = 0.1


@dataclass(frozen=True)
class Storm:
    """How rough it gets.

    Args:
        rounds: Of kills.
        clients: How many push by way of an outbox; beside them one posts as the guide's does.
        seed: Of everything.
        calm_seconds: Least and most before a round's kills.
        dead_seconds: Least and most until each victim is started again.
        patience: For everything to come to rest, in seconds.
    """

    rounds: int
    clients: int = 8
    seed: int = 7
    calm_seconds: tuple[float, float] = (0.3, 3.0)
    dead_seconds: tuple[float, float] = (0.0, 0.7)
    patience: float = 300.0


@dataclass
class SignalWorld(World):
    """Postgres, edge, worker and clients, each of which may be killed and started again."""

    plan: Plan | None = None
    ended: list[str] = field(default_factory=list)

    @property
    def clients(self) -> list[str]:
        """The clients' names."""
        return [pusher.name for pusher in (self.plan.pushers if self.plan else ())]

    def kill(self, name: str) -> None:
        """``kill -9``; one that ended by itself before is told of."""
        if name != "postgres" and (code := self.processes[name].poll()) is not None:
            self.ended.append(f"{name} ended by itself with {code}")
        super().kill(name)

    def _command(self, name: str) -> list[str]:
        if name == "edge":
            return super()._command(name)
        part, _, number = name.partition("-")
        return [PARTS, part, str(self.folder), number] if part != "worker" else [PARTS, part]


def run() -> list[Result]:
    """Everything that went wrong, as figures; sentences about it go to stderr."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mp-chaos-") as folder:
        verdict, kills = rehearse(Path(folder), Storm(ROUNDS, seed=SEED))
    sys.stderr.writelines(f"signal-chaos: {sentence}\n" for sentence in verdict.complaints)
    against = (
        f"{ROUNDS} rounds in {time.monotonic() - began:.0f} s, kill -9 of {kills}; {verdict.stored:,} signals stored, "
        f"{verdict.acknowledged:,} acknowledged in {verdict.batches:,} pushes, {verdict.cut} cut off; "
        f"{verdict.bars:,} blends"
    )
    figures = {
        "lost": verdict.lost,
        "doubled": verdict.doubled,
        "invented": verdict.invented,
        "chains_broken": verdict.chains,
        "unflushed": verdict.unflushed,
        "consensus_wrong": verdict.consensus,
        "others": verdict.others,
    }
    return [
        Result(f"signal-chaos.{name}", len(found), "", against if name == "lost" else "", None, "0")
        for name, found in figures.items()
    ]


def rehearse(folder: Path, storm: Storm) -> tuple[Verdict, str]:
    """Runs it, brings everything to rest, and judges; also says what was killed how often."""
    made = SignalWorld(folder, Rules(storm.seed), url=f"http://127.0.0.1:{free_port()}")
    try:
        _set_up(made, storm)
        for name in ("edge", "worker", *made.clients):
            made.start(name)
        _rage(made, storm)
        with made.house() as house:
            _settle(made, house, storm)
            verdict = judge(house, folder, _planned(made))
    except (TimeoutError, subprocess.SubprocessError) as error:
        error.add_note(made.logs())
        raise
    finally:
        made.close()
    verdict.others += made.ended + [f"{name} logged an error" for name in _erring(made.folder)]
    return verdict, ", ".join(f"{name} x {count}" for name, count in sorted(made.kills.items()))


def _erring(folder: Path) -> list[str]:
    return [path.name for path in sorted(folder.glob("*.log")) if "Traceback" in path.read_text()]


def _rage(made: SignalWorld, storm: Storm) -> None:
    chance = random.Random(storm.seed)
    _until(lambda: all(_has_told(made.folder, pusher) for pusher in _planned(made).pushers), storm.patience)
    for _ in range(storm.rounds):
        time.sleep(chance.uniform(*storm.calm_seconds))
        kinds = chance.sample(["edge", "worker", "postgres", "client"], chance.choice((1, 1, 1, 2, 2, 4)))
        names = [chance.choice(made.clients) if kind == "client" else kind for kind in kinds]
        for name in names:
            made.kill(name)
        for name in chance.sample(names, len(names)):
            time.sleep(chance.uniform(*storm.dead_seconds))
            made.start(name)


def _settle(made: SignalWorld, house: House, storm: Storm) -> None:
    """The clients send what waits and end, the worker blends the rest, and the vendors check their receipts."""
    ends = time.monotonic() + storm.patience
    (made.folder / STOP).touch()
    for name in made.clients:
        code = made.processes[name].wait(max(0.0, ends - time.monotonic()))
        made.ended += [f"{name} ended with {code}"] if code else []
    _until(lambda: _unblended(house) == 0, storm.patience)
    made.start("verify")
    if code := made.processes["verify"].wait(storm.patience):
        raise subprocess.CalledProcessError(code, "verify")


def _until(is_so: Callable[[], bool], patience: float) -> None:
    ends = time.monotonic() + patience
    while not is_so():
        if time.monotonic() > ends:
            msg = "it does not come to rest"
            raise TimeoutError(msg)
        time.sleep(_TICK)


def _has_told(folder: Path, pusher: Pusher) -> bool:
    return any("told" in one for one in entries(journal_of(folder, pusher.number)))


def _unblended(house: House) -> int | None:
    """Batches that the consensus has not seen; None while Postgres is away."""
    query = "SELECT count(*) FROM signal_batches WHERE blended_at IS NULL AND accepted > 0"
    try:
        with house.db.begin() as tx:
            return int(tx.execute(text(query)).scalar_one())
    except DatabaseDownError:
        return None


def _planned(made: SignalWorld) -> Plan:
    assert made.plan is not None, "there is no plan before the marketplace is set up"
    return made.plan


def _set_up(made: SignalWorld, storm: Storm) -> None:
    home = made.folder / "home"
    settings.ensure_secrets(home)
    server = embedded.start(made.folder / "postgres", die_with_parent=True)
    embedded.ensure_database(server, "mp")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MP_", "INFRA_"))}
    own = {f"XDG_{name}_HOME": str(made.folder / name.lower()) for name in ("CONFIG", "STATE", "CACHE")}
    made.env = kept | own | {"MP_HOME": str(home), "MP_DATABASE_URL": server.url("mp"), "INFRA_BASE_URL": made.url}
    made.env["MP_LIMITS"] = WIDE
    with made.house() as house:
        with house.db.begin() as tx:
            migrate.upgrade(tx)
        made.plan = _furnish(house, storm, made.url)
    made.plan.save(made.folder)


def _furnish(house: House, storm: Storm, url: str) -> Plan:
    """A vendor, a model in pilot and a deployment for each group of clients."""
    places = seats(storm.clients)
    tokens: dict[int, tuple[str, str]] = {}
    keys: dict[str, str] = {}
    for group in sorted({place[0] for place in places}):
        with house.db.begin() as tx:
            vendor = vendors.create(tx, house.tokens, f"vendor {group}", actor="chaos")
            wanted = DeploymentRequest(name="live", provider="byoc", image="none")
            placed = deployments.create(tx, house.tokens, vendor.vendor_id, wanted, actor="chaos")
            for version in VERSIONS:
                model = ModelRegistration(name="m", task="signal", version=version, deployment_id=placed.deployment_id)
                made = models.register(tx, vendor.vendor_id, model)
                stage = {"actor": "chaos", "reason": None}
                models.change_stage(tx, vendor.vendor_id, made.model_id, version, Stage.PILOT, **stage)
            tokens[group] = (placed.deployment_id, placed.infra_token or "")
            keys[placed.deployment_id] = vendor.api_key
    pushers = [Pusher(number, place[0], *tokens[place[0]], *place[1:]) for number, place in enumerate(places)]
    newest = datetime.now(UTC).replace(second=0, microsecond=0)
    return Plan(storm.seed, url, newest, pushers, keys)

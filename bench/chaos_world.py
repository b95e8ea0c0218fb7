"""A marketplace in processes of its own, for rehearsals: Postgres, edge, supervisors, a sweeper, and RunPod's stand-in.

Each part may be killed (``kill -9``) and started again over the same state. All of them end with the block.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from pydantic import SecretStr

from bench.chaos_parts import Rules
from bench.edge_world import WIDE
from mp_kit.contracts import ManifestFile
from mp_kit.server import settings
from mp_kit.server.house import House
from mp_kit.server.processes import free_port
from mp_kit.server.services import connections, rounds, vendors
from mp_kit.server.spawning import after_fork
from mp_kit.server.storage import content_key
from mp_kit.server.store import embedded, migrate
from mp_kit.server.wiring import build

PARTS = "bench.chaos_parts"
OPENAPI = Path(__file__).parents[2] / "shared" / "facts" / "runpod-openapi-v2.json"
KEYS = ("rpa_0123456789abcdefghijklmnop", "rpa_9876543210abcdefghijklmnop")


@dataclass
class World:
    """The processes and where they are.

    Args:
        folder: Everything of it.
        rules: Its times.
        supervisors: How many.
        url: Of the edge.
        keys: The vendors' API keys.
    """

    folder: Path
    rules: Rules
    supervisors: int = 2
    url: str = ""
    keys: list[str] = field(default_factory=list, repr=False)
    env: dict[str, str] = field(default_factory=dict, repr=False)
    processes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    kills: dict[str, int] = field(default_factory=dict)

    @property
    def mortal(self) -> list[str]:
        """The parts that may be killed."""
        return ["edge", "postgres", *(f"supervisor-{n}" for n in range(self.supervisors))]

    def start(self, name: str) -> None:
        """Starts a part, over whatever state there is."""
        if name == "postgres":
            embedded.start(self.folder / "postgres", die_with_parent=True)
            return
        command = [sys.executable, "-m", *self._command(name)]
        log = (self.folder / f"{name}.log").open("a")
        pipe = subprocess.PIPE if name == "runpod" else None
        with log:
            self.processes[name] = subprocess.Popen(
                command,
                env=self.env,
                stdin=pipe or subprocess.DEVNULL,
                stdout=pipe or log,
                stderr=log,
                text=True,
                preexec_fn=after_fork(death_signal=signal.SIGKILL),  # noqa: PLW1509 - system calls only
            )

    def kill(self, name: str) -> None:
        """``kill -9``."""
        self.kills[name] = self.kills.get(name, 0) + 1
        if name == "postgres":
            os.kill(embedded.start(self.folder / "postgres").pid, signal.SIGKILL)
            return
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def runpod(self, order: str) -> dict[str, Any]:
        """Tells the stand-in something, and gives its answer."""
        pipes = self.processes["runpod"]
        _say(pipes.stdin, f"{order}\n")
        return dict(json.loads(_line(pipes.stdout)))

    @contextmanager
    def house(self) -> Iterator[House]:
        """The marketplace's parts for this process, for the length of a block."""
        opened = build(settings.load(self.folder / "home", self.env))
        try:
            yield opened
        finally:
            opened.close()

    def close(self) -> None:
        """Ends all of it."""
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.communicate()
        embedded.stop(self.folder / "postgres", "immediate")

    def logs(self) -> str:
        """What the parts wrote last, for an error."""
        return "\n".join(f"== {path.name}\n{path.read_text()[-2_000:]}" for path in sorted(self.folder.glob("*.log")))

    def _command(self, name: str) -> list[str]:
        if name == "edge":
            return ["mp_kit.server.serve", "--port", self.url.rpartition(":")[2]]
        if name == "runpod":
            openapi = str(OPENAPI) if OPENAPI.is_file() else ""
            return [PARTS, "fake", self.rules.text(), openapi, *KEYS]
        return [PARTS, "supervise" if name.startswith("supervisor") else "sweep", self.rules.text()]


@contextmanager
def world(folder: Path, rules: Rules, *, supervisors: int = 2, sweeper: bool = True) -> Iterator[World]:
    """A marketplace with a round and two vendors who have connected RunPod, everything started."""
    made = World(folder, rules, supervisors, url=f"http://127.0.0.1:{free_port()}")
    try:
        _set_up(made)
        for name in ("edge", *(f"supervisor-{n}" for n in range(supervisors)), *(["sweeper"] if sweeper else [])):
            made.start(name)
        yield made
    finally:
        made.close()


def _set_up(made: World) -> None:
    home = made.folder / "home"
    settings.ensure_secrets(home)
    server = embedded.start(made.folder / "postgres", die_with_parent=True)
    embedded.ensure_database(server, "mp")
    made.env = {name: value for name, value in os.environ.items() if not name.startswith(("MP_", "INFRA_"))}
    made.start("runpod")
    made.env |= {
        "MP_HOME": str(home),
        "MP_DATABASE_URL": server.url("mp"),
        "INFRA_BASE_URL": made.url,
        "MP_RUNPOD_URL": _line(made.processes["runpod"].stdout).strip(),
        "MP_TRAINER_IMAGE": "mp-trainer:1",
        "MP_LIMITS": WIDE,
    }
    _furnish(made)


def _furnish(made: World) -> None:
    content = b"bars"
    digest = hashlib.sha256(content).hexdigest()
    (made.folder / "bars").write_bytes(content)
    file = ManifestFile(name="train-EURUSD.parquet", type="train", size_bytes=len(content), sha256=digest, rows=1)
    manifest = {"name": "chaos", "timeframe": "1h", "symbols": ["EURUSD"], "horizon": 1, "embargo": 1, "source": {}}
    with made.house() as house:
        with house.db.begin() as tx:
            migrate.upgrade(tx)
        house.store.put_file(content_key(digest), made.folder / "bars")
        with house.db.begin() as tx:
            draft = rounds.Draft(manifest=manifest | {"code_version": "0"}, files=[file])
            rounds.publish(tx, house.signer, draft, actor="chaos")
            for number, key in enumerate(KEYS):
                vendor = vendors.create(tx, house.tokens, f"vendor {number}", actor="chaos")
                connections.put(tx, house.vault, vendor.vendor_id, "runpod", SecretStr(key), actor="chaos")
                made.keys.append(vendor.api_key)


def _line(pipe: IO[str] | None) -> str:
    if pipe is None or not (line := pipe.readline()):
        msg = "RunPod's stand-in has ended"
        raise RuntimeError(msg)
    return line


def _say(pipe: IO[str] | None, text: str) -> None:
    if pipe is not None:
        pipe.write(text)
        pipe.flush()

"""`mp up` as a person runs it: ready, killed, ready again, nothing lost, nothing left running."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from mp_kit.server import leftovers
from mp_kit.server.processes import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MP = [sys.executable, "-m", "mp_kit.cli.main"]


class Up:
    """An `mp up` in a process group of its own."""

    def __init__(self, home: Path, port: int) -> None:
        self.log = home.with_suffix(".log")
        with self.log.open("ab") as sink:
            self.process = subprocess.Popen(
                [*MP, "up", "--home", str(home), "--port", str(port), "--source", "none"],
                stdout=subprocess.PIPE,
                stderr=sink,
                text=True,
                start_new_session=True,
            )

    def ready(self) -> str:
        """Waits for the line on stdout; what it says."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line.startswith("ready "), self.log.read_text()
        return line.removeprefix("ready ")

    def kill_group(self) -> None:
        """Sends SIGKILL to everything in the group."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.close()

    def close(self) -> None:
        """Reaps it; a living one is asked to stop first."""
        with suppress(ProcessLookupError):
            self.process.terminate()
        self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[int], Up]]:
    """Starts `mp up` over the test's home; all of them end with the test."""
    started: list[Up] = []

    def begin(port: int) -> Up:
        started.append(Up(tmp_path / "home", port))
        return started[-1]

    yield begin
    for up in started:
        up.close()


def mp(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs an operator's command over a home."""
    argv = [*MP, *arguments, "--home", str(home)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)


def admin(home: Path, *arguments: str) -> dict[str, object]:
    """The JSON of an `mp admin` command that succeeds."""
    done = mp(home, "admin", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    told: dict[str, object] = json.loads(done.stdout)
    return told


def test_up_refuses_a_taken_port(tmp_path: Path):
    """Somebody else's port ends it with a sentence, before anything starts."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = mp(tmp_path / "home", "up", "--port", str(port))
    assert done.returncode == 7
    assert f"Port {port}" in done.stderr
    assert not (tmp_path / "home" / "postgres").exists()


@pytest.mark.hardening
def test_up_survives_kill_of_its_group(tmp_path: Path, start: Callable[[int], Up]):
    """A vendor and a round made through Prefect outlive kill -9; the port is free for the next; SIGTERM ends it all."""
    home, port = tmp_path / "home", free_port()
    first = start(port)
    assert first.ready() == f"http://127.0.0.1:{port}"
    assert (home / "state.json").stat().st_mode & 0o777 == 0o600
    second = mp(home, "up", "--port", "0")
    assert (second.returncode, "runs over" in second.stderr) == (7, True)
    vendor = admin(home, "vendor", "create", "ACME")
    published = admin(home, "round", "publish", "--source", "ecb", "--symbols", "EURUSD,EURGBP")
    assert published["created"]
    first.kill_group()

    again = start(port)
    base = again.ready()
    assert published["round_id"] == httpx.get(f"{base}/api/rounds/current").json()["data"]["round_id"]
    key = {"Authorization": f"Bearer {vendor['api_key']}"}
    assert vendor["vendor_id"] == httpx.get(f"{base}/api/vendors/me", headers=key).json()["data"]["id"]
    repeated = admin(home, "round", "publish", "--source", "ecb", "--symbols", "EURUSD,EURGBP")
    assert (repeated["round_id"], repeated["created"]) == (published["round_id"], False)
    logs = "".join(path.read_text(errors="replace") for path in (home / "logs").glob("*.log"))
    assert str(vendor["api_key"]) not in logs

    again.process.terminate()
    assert again.process.wait(60) == 0
    assert leftovers.find(home) == []

"""A whole marketplace, started as a person starts it: `mp up` in a home of its own, once per session."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kernels import ROOT, Executed, Kernel, prepared
from runpods import program

MP = str(Path(sys.executable).with_name("mp"))


@dataclass(frozen=True)
class Shell:
    """Runs `mp` as somebody: an outsider with a configuration of its own, or the operator of a home.

    Args:
        folder: Where it works and keeps its configuration.
        env: What it has in its environment besides.
    """

    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of the surrounding marketplace leaks in."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MP_", "PREFECT_", "INFRA_"))}
        own = {"XDG_CONFIG_HOME": str(self.folder / "config"), "XDG_CACHE_HOME": str(self.folder / "cache")}
        own["XDG_STATE_HOME"] = str(self.folder / "state")
        return kept | own | dict(self.env)

    def run(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Runs a command and gives what came of it."""
        return subprocess.run(
            [MP, *arguments],
            env=self.environment,
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )

    def json(self, *arguments: str, stdin: str | None = None) -> Any:
        """Runs a command that must succeed and reads its JSON."""
        done = self.run(*arguments, "--json", stdin=stdin)
        assert 0 == done.returncode, done.stderr
        return json.loads(done.stdout)


@dataclass(frozen=True)
class Marketplace:
    """A running marketplace: its URL, its operator, and a signed-in vendor with its key."""

    url: str
    home: Path
    operator: Shell
    vendor: Shell
    vendor_key: str = field(repr=False)
    runpod_key: str = field(default="", repr=False)
    spare_runpod_key: str = field(default="", repr=False)


def start(home: Path, port: int = 0, env: Mapping[str, str] | None = None) -> tuple[subprocess.Popen[str], str]:
    """Starts `mp up` and gives the process and the URL of its ready line."""
    with (home.parent / f"{home.name}.log").open("w") as log:
        process = subprocess.Popen(
            [MP, "up", "--home", str(home), "--port", str(port), "--source", "none", "--no-schedules"],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, **(env or {})},
        )
    line = process.stdout.readline() if process.stdout else ""
    assert line.startswith("ready "), (home.parent / f"{home.name}.log").read_text()
    return process, line.split()[1]


@pytest.fixture(scope="session")
def runpod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, str]]:
    """A stand-in RunPod as a process: its URL, a key with money, and one of another account."""
    keys = "rpa_0123456789abcdefghijklmnop", "rpa_zyxwvutsrqponmlkjihgfedcba"
    with program(tmp_path_factory.mktemp("pods"), *(f"{key}=25" for key in keys)) as url:
        yield url, *keys


@pytest.fixture(scope="session")
def marketplace(tmp_path_factory: pytest.TempPathFactory, runpod: tuple[str, str, str]) -> Iterator[Marketplace]:
    """A marketplace with a current round of two symbols and one vendor, published and created by the CLI."""
    folder = tmp_path_factory.mktemp("marketplace")
    home = folder / "home"
    env = {"MP_RUNPOD_URL": runpod[0], "MP_TRAINER_IMAGE": "mp-kit/trainer:test", "MP_WEBHOOK_ALLOW_PRIVATE": "1"}
    process, url = start(home, env=env | {"MP_LIMITS": "off"})  # a session's worth of vendors are one vendor here
    operator = Shell(folder / "operator", {"MP_HOME": str(home)})
    operator.folder.mkdir()
    vendor = Shell(folder / "vendor")
    vendor.folder.mkdir()
    try:
        operator.json("admin", "round", "publish", "--symbols", "EURUSD,EURJPY")
        key = operator.json("admin", "vendor", "create", "ACME")["api_key"]
        assert 0 == vendor.run("login", "--api-url", url, "--api-key", "-", stdin=key).returncode
        yield Marketplace(url, home, operator, vendor, key, *runpod[1:])
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


SMALLER: dict[str, dict[str, Any]] = {
    "01_quickstart": {"epochs": 2},
    "04_train_locally": {"epochs": 2},
    "05_train_on_runpod": {"epochs": 2, "gpu": "L4"},
    "06_deploy": {"epochs": 2},
    "08_live_performance": {"epochs": 2},
}
"""Parameters of the vendor's notebooks in tests."""


@pytest.fixture(scope="session")
def vendor_notebook(marketplace: Marketplace) -> Iterator[Callable[[str], Executed]]:
    """Runs a notebook of ``notebooks/vendor`` as the vendor, by its name; each once per session."""
    vendor = marketplace.vendor
    kernel = Kernel(vendor.folder, vendor.environment | {"RUNPOD_API_KEY": marketplace.runpod_key})

    @functools.cache
    def run(name: str) -> Executed:
        return kernel.execute(prepared(ROOT / f"notebooks/vendor/{name}.ipynb", SMALLER.get(name, {})))

    yield run
    kernel.close()

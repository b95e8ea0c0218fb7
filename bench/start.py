"""How fast things start: the import and the command's version, against the bare interpreter."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

from bench.results import Result

ROUNDS = 7
MP = str(Path(sys.executable).with_name("mp"))


def run() -> list[Result]:
    """CPU seconds, best of several, children only."""
    commands = {
        "bare": [sys.executable, "-c", "pass"],
        "import_mp_kit": [sys.executable, "-c", "import mp_kit"],
        "mp_version": [MP, "--version"],
        "mp_help": [MP, "--help"],
        "httpx": [sys.executable, "-c", "import httpx"],
    }
    best = dict.fromkeys(commands, float("inf"))
    for _ in range(ROUNDS):
        for name, command in commands.items():
            best[name] = min(best[name], _cpu(command))
    bare = f"python -c pass, {best['bare']:.3f} s"
    targets = {"import_mp_kit": "<= 0.3 s", "mp_version": "<= 0.25 s", "mp_help": "<= 0.25 s"}
    return [
        *(Result(f"start.{n}", best[n], "CPU s", bare, best[n] / best["bare"], t) for n, t in targets.items()),
        Result("start.import_httpx", best["httpx"], "CPU s", bare, best["httpx"] / best["bare"], "a peer's import"),
    ]


def _cpu(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)

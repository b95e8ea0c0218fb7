"""A vendor's project on disk: what it is for, and its server as a process."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx

from mp_kit.contracts.common import Task
from mp_kit.errors import InvalidInputError, SetupError, TimeoutExceededError

__all__ = ["Project", "find_project", "free_port", "running", "start", "stop"]

_LAST_LINES = 5
_TRACE_LINES = 12
_GRACE_SECONDS = 15.0
_TELLING = ("MARKETPLACE_TOKEN", "DEPLOYMENT_ID")


@dataclass(frozen=True)
class Project:
    """What ``[tool.mp-kit]`` in a project's ``pyproject.toml`` says.

    Attributes:
        folder: Where it lies.
        task: What its server is for.
        entry: The file that starts the server.
    """

    folder: Path
    task: Task
    entry: str


def find_project(folder: Path) -> Project:
    """Reads the project in a folder.

    Raises:
        InvalidInputError: There is none, or it has no server.
    """
    hint = "Make one: mp init --template runpod-signal-http. Or check a server elsewhere: mp validate --url URL."
    try:
        table = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mp-kit"]
        found = Project(folder, Task(table["task"]), str(table["server"]))
    except FileNotFoundError:
        raise InvalidInputError(f"There is no project in {folder}: it has no pyproject.toml.", hint=hint) from None
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError):
        raise InvalidInputError(
            f"{folder / 'pyproject.toml'} names no server: [tool.mp-kit] with task and server is missing or wrong.",
            hint=hint,
        ) from None
    if not (folder / found.entry).is_file():
        raise InvalidInputError(f"The project's server {found.entry} is not there.", hint=hint)
    return found


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def start(
    project: Project, port: int, environ: Mapping[str, str], stderr: IO[Any] | None = None
) -> subprocess.Popen[bytes]:
    """Starts the project's server on this machine's loopback."""
    env = {**environ, "HOST": "127.0.0.1", "PORT": str(port), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen([sys.executable, project.entry], cwd=project.folder, env=env, stdout=stderr, stderr=stderr)


def stop(process: subprocess.Popen[bytes], seconds: float = _GRACE_SECONDS) -> None:
    """Asks a server to end, and ends it if it does not."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def running(
    project: Project,
    environ: Mapping[str, str] | None = None,
    seconds: float = 60.0,
    hear: Callable[[str], object] = lambda _: None,
) -> Iterator[str]:
    """The project's server, started for a while; it sends nothing to any marketplace.

    Args:
        project: Whose server.
        environ: Its environment; this process's by default.
        seconds: To wait until it is ready.
        hear: Hears the last traceback of its log, if there is one.

    Yields:
        Its address, once it is ready.

    Raises:
        SetupError: It ended instead; the message has its last words.
        TimeoutExceededError: It did not become ready.
    """
    given = os.environ if environ is None else environ
    silent = {name: value for name, value in given.items() if name not in _TELLING}
    port = free_port()
    with tempfile.TemporaryFile() as log:
        process = start(project, port, silent, log)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(process, url, seconds, log)
            yield url
        finally:
            stop(process)
            if trace := _last_trace(log):
                hear(f"the server's log has:\n{trace}")


def _last_trace(log: IO[bytes]) -> str:
    log.seek(0)
    _, found, rest = log.read().decode(errors="replace").rpartition("Traceback (most recent call last):")
    return "\n".join([found, *rest.strip("\n").splitlines()[-_TRACE_LINES:]]) if found else ""


def _wait(process: subprocess.Popen[bytes], url: str, seconds: float, log: IO[bytes]) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if process.poll() is not None:
            raise SetupError(f"The server ended with exit code {process.returncode}: {_last_words(log)}")
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/ready", timeout=2.0).status_code == httpx.codes.OK:
                return
        time.sleep(0.1)
    raise TimeoutExceededError(
        f"The server was not ready within {seconds:.0f} s: {_last_words(log)}",
        hint="GET /ready must answer 200 once the model is loaded.",
    )


def _last_words(log: IO[bytes]) -> str:
    log.seek(0)
    lines = [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    return " / ".join(lines[-_LAST_LINES:]) or "it said nothing."

"""The supervisor behind ``mp up``: a few child processes, started in order, watched, stopped in reverse.

1. A child is started when the one before it is ready. One that dies or does not get ready in time ends the start,
   with its exit status and the last lines of its log; those before it are stopped.
2. Children stay in the supervisor's process group, and Linux sends them SIGTERM when the supervisor dies: neither a
   kill of the group nor ``kill -9`` of the supervisor leaves one behind. Start and watch from the main thread: the
   kernel watches the thread that started a child.
3. The first SIGINT or SIGTERM asks for a clean stop, a second one cuts the grace short.
4. ``stop`` always returns: SIGTERM, a grace, SIGKILL to the child and its descendants, a last bounded wait.
"""

from __future__ import annotations

import http.client
import logging
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from mp_kit.errors import SetupError
from mp_kit.server.spawning import after_fork, open_log, tail

__all__ = ["Child", "Supervisor", "free_port", "http_probe"]

_log = logging.getLogger(__name__)

_POLL_SECONDS = 0.1
_PROBE_SECONDS = 0.05
_KILLED_SECONDS = 5.0
_SECOND_SIGNAL_SECONDS = 0.3
_FAST_DEATH_SECONDS = 30.0
_FAST_DEATHS_ALLOWED = 5
_BACKOFF_SECONDS = 0.2
_BACKOFF_LIMIT_SECONDS = 10.0


@dataclass(frozen=True)
class Child:
    """One process to keep alive.

    Attributes:
        name: Its name in messages; its log is ``NAME.log``.
        argv: Program and arguments. No secrets: every account of the machine can read them.
        env: Variables added to the supervisor's own; they may hold secrets, so a repr leaves them out.
        cwd: The working directory; the supervisor's by default.
        probe: Tells whether it is ready; without one it is ready once started. It must return within seconds.
        restart: Whether a death is mended by a new start; otherwise it ends the whole.
        ready_timeout: Seconds that the probe may take to say yes at the first start.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: Path | None = None
    probe: Callable[[], bool] | None = None
    restart: bool = True
    ready_timeout: float = 60.0


@dataclass
class _Running:
    """A child's present process, and how its starts went."""

    child: Child
    process: subprocess.Popen[bytes]
    started: float
    fast_deaths: int = 0
    restart_at: float | None = None


class Supervisor:
    """Starts, watches and stops children; as a context manager it starts on entry and stops on exit.

    Args:
        children: In the order of their start.
        log_dir: Where each child's ``NAME.log`` goes; made where absent.
        grace: Seconds between SIGTERM and SIGKILL for each child.
    """

    def __init__(self, children: Sequence[Child], log_dir: Path, *, grace: float = 10.0) -> None:
        self._children = list(children)
        self._log_dir = log_dir
        self._grace = grace
        self._running: list[_Running] = []
        self._asked_at: float | None = None
        self._hastened = False
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def stopping(self) -> bool:
        """Whether a signal has asked for the end."""
        return self._asked_at is not None

    @property
    def pids(self) -> dict[str, int]:
        """The present process id of each started child, by name."""
        return {each.child.name: each.process.pid for each in self._running}

    def start(self) -> bool:
        """Starts the children in order, each when the one before it is ready.

        Returns:
            Whether all are ready; False when a signal asked for the end meanwhile (they are stopped then).

        Raises:
            SetupError: One died or was not ready in time; the others are stopped.
        """
        self._log_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._asked_at, self._hastened = None, False
        self._catch_signals()
        try:
            for child in self._children:
                self._running.append(_Running(child, self._spawn(child), time.monotonic()))
                self._await_ready(self._running[-1])
                if self.stopping:
                    break
        except BaseException:
            self.stop()
            raise
        if self.stopping:
            self.stop()
        return not self.stopping

    def watch(self) -> None:
        """Keeps the children alive until a signal asks for the end; stopping them is left to ``stop``.

        Raises:
            SetupError: A child that is not to be restarted ended, or one died quickly too many times in a row.
        """
        while not self.stopping:
            for each in self._running:
                self._mend(each)
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """Stops all children, the last started first, and gives the signals back; never hangs, may be repeated."""
        while self._running:
            self._end(self._running[-1])
            self._running.pop()
        self._release_signals()

    def _spawn(self, child: Child) -> subprocess.Popen[bytes]:
        log = open_log(self._log_path(child))
        try:
            return subprocess.Popen(
                child.argv,
                env={**os.environ, **child.env},
                cwd=child.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=after_fork(death_signal=signal.SIGTERM),  # noqa: PLW1509 (system calls only, see there)
            )
        except OSError as error:
            raise SetupError(f"{child.name} cannot be started: {error}.") from error
        finally:
            os.close(log)

    def _await_ready(self, each: _Running) -> None:
        child = each.child
        deadline = each.started + child.ready_timeout
        while child.probe and not self.stopping:
            ready = child.probe()
            if each.process.poll() is not None:
                raise self._failure(each, "ended before it was ready")
            if ready:
                return
            if time.monotonic() > deadline:
                raise self._failure(each, f"was not ready in {child.ready_timeout:g} s")
            time.sleep(_PROBE_SECONDS)

    def _mend(self, each: _Running) -> None:
        now = time.monotonic()
        if each.restart_at is None:
            if each.process.poll() is not None and not self.stopping:
                each.restart_at = now + self._backoff(each, now - each.started)
        elif now >= each.restart_at:
            each.process, each.started, each.restart_at = self._spawn(each.child), now, None

    def _backoff(self, each: _Running, lived: float) -> float:
        """Counts a death and returns the seconds to wait before the next start."""
        if not each.child.restart:
            raise self._failure(each, "ended")
        each.fast_deaths = each.fast_deaths + 1 if lived < _FAST_DEATH_SECONDS else 1
        if each.fast_deaths > _FAST_DEATHS_ALLOWED:
            raise self._failure(each, f"died {each.fast_deaths} times in a row")
        wait: float = min(_BACKOFF_SECONDS * 2.0 ** (each.fast_deaths - 1), _BACKOFF_LIMIT_SECONDS)
        _log.warning("%s %s; starting it again in %.1f s", each.child.name, _ending(each.process), wait)
        return wait

    def _end(self, each: _Running) -> None:
        process = each.process
        if process.poll() is None:
            process.terminate()
        deadline = time.monotonic() + self._grace
        while process.poll() is None and time.monotonic() < deadline and not self._hastened:
            time.sleep(_PROBE_SECONDS / 2)
        if process.poll() is not None:
            return
        _log.warning("%s did not stop when asked; killing it", each.child.name)
        for pid in (*_descendants(process.pid), process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):  # stuck in the kernel: nothing more can be done from here
            process.wait(_KILLED_SECONDS)

    def _failure(self, each: _Running, what: str) -> SetupError:
        path = self._log_path(each.child)
        how = f" ({_ending(each.process)})" if each.process.poll() is not None else ""
        return SetupError(f"{each.child.name} {what}{how}.", hint=f"The last lines of {path}:\n{tail(path)}")

    def _log_path(self, child: Child) -> Path:
        return self._log_dir / f"{child.name}.log"

    def _catch_signals(self) -> None:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers.setdefault(number, signal.signal(number, self._on_signal))

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._asked_at is None:
            self._asked_at = now
        # Terminals and wrappers often deliver one Ctrl-C twice.
        self._hastened = self._hastened or now - self._asked_at > _SECOND_SIGNAL_SECONDS

    def _release_signals(self) -> None:
        while self._handlers:
            number, before = self._handlers.popitem()
            signal.signal(number, before)


def http_probe(url: str, *, timeout: float = 2.0) -> Callable[[], bool]:
    """A probe that asks a URL on this machine.

    Args:
        url: An ``http://`` URL; proxies of the environment are not used.
        timeout: Seconds until silence counts as not ready.

    Returns:
        A function that tells whether the answer is 2xx or 3xx.
    """
    parts = urlsplit(url)

    def probe() -> bool:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
        try:
            connection.request("GET", parts.path or "/")
            return connection.getresponse().status < http.client.BAD_REQUEST
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return probe


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that nobody listens on at this moment; somebody may be quicker than the caller.

    Args:
        host: The address to bind.

    Returns:
        The port.
    """
    with socket.socket() as listener:
        listener.bind((host, 0))
        port: int = listener.getsockname()[1]
        return port


def _ending(process: subprocess.Popen[bytes]) -> str:
    code = process.returncode
    return f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit status {code}"


def _descendants(pid: int) -> list[int]:
    """The living descendants of a process, parents first; none without /proc."""
    found: list[int] = []
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # the thread ended meanwhile
            for child in map(int, listed.read_text().split()):
                found += [child, *_descendants(child)]
    return found

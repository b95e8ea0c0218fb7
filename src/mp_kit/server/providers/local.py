"""The local provider: the same wrapper as in a container, as a process of this machine.

1. A job is in a session of its own and outlives the supervisor that started it.
2. Whether it lives is told by a lock that the launcher takes *before* the start and the process inherits: there is no
   moment at which a live job looks dead, and a reused pid is never taken for it.
3. A signal is sent only to a pid whose start time is the one that was written down.
4. The job's environment is the container's, plus a few harmless variables of this machine. The server's own secrets
   are not in it, and nothing secret is in the argument list.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from mp_kit.errors import ProviderError
from mp_kit.server.providers.base import Found, Handle, LaunchOrder, Observed, Offer, Phase
from mp_kit.server.spawning import open_log, tail
from mp_kit.trainer.state import RunFolder, process_start, write_json

__all__ = ["LocalProvider"]

_COMMAND = (sys.executable, "-m", "mp_kit.trainer")
_HANDED_ON = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "PYTHONPATH"),
    *("LD_LIBRARY_PATH", "SSL_CERT_FILE", "OPENBLAS_CORETYPE"),
    *("HF_ENDPOINT", "WANDB_BASE_URL"),  # where the keys of a job belong
)
_TRIES = 20
_TRY_SECONDS = 0.05
_KILL_AFTER_SECONDS = 60.0
_CHILDREN: list[subprocess.Popen[bytes]] = []  # children are the process's, whichever provider object started them


class LocalProvider:
    """Runs jobs below a folder, one folder per run and attempt.

    Args:
        root: The folder; made if missing.
        command: The wrapper's argument list.
    """

    def __init__(self, root: Path, command: Sequence[str] = _COMMAND) -> None:
        self._root = root
        self._command = tuple(command)

    def check(self, machine: Mapping[str, Any]) -> None:
        """Takes every order."""

    def offers(self, vendor_id: str, machine: Mapping[str, Any]) -> Sequence[Offer]:  # noqa: ARG002 - the protocol's
        """This machine, which costs nothing."""
        return [Offer("this machine", Decimal(0))]

    def launch(self, order: LaunchOrder) -> Handle:
        """Starts the wrapper, or adopts the one that an earlier call of the same attempt started.

        Raises:
            ProviderError: The process cannot be started.
        """
        handle = Handle(ref=f"{order.run_id}/{order.attempt}", vendor_id=order.vendor_id)
        folder = self._folder(handle)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = _lock_file(folder)
        try:
            if _take_soon(lock, folder) and not (folder / "process.json").exists():
                self._start(handle, order, lock)
        except OSError as error:
            raise ProviderError(f"The job's process could not be started: {error}.") from error
        finally:
            os.close(lock)
        return handle

    def find(self, run_id: str, attempt: int, vendor_id: str, since: datetime) -> Handle | None:  # noqa: ARG002 - the protocol's
        """The handle of an attempt whose process was started."""
        handle = Handle(ref=f"{run_id}/{attempt}", vendor_id=vendor_id)
        folder = self._folder(handle)
        return handle if _process(folder) or _is_held(folder) else None

    def observe(self, handles: Sequence[Handle]) -> Mapping[str, Observed]:
        """Looks at each run's lock and exit file."""
        _reap()
        return {handle.ref: _look(self._folder(handle)) for handle in handles}

    def terminate(self, handle: Handle) -> None:
        """Sends SIGTERM to the wrapper, which ends the job and tells the outcome; SIGKILL if that took too long."""
        folder = self._folder(handle)
        known = _process(folder)
        if not known or not _is_held(folder) or process_start(known["pid"]) != known["start"]:
            return
        asked = folder / "asked_to_end"
        patient = not asked.exists() or time.time() - asked.stat().st_mtime < _KILL_AFTER_SECONDS
        if not asked.exists():
            asked.touch()
        os.kill(known["pid"], signal.SIGTERM if patient else signal.SIGKILL)

    def mine(self, vendor_id: str) -> Sequence[Found]:
        """The vendor's processes that live, known to a run or not."""
        alive = [path.parent for path in self._root.glob("*/*/process.json") if _is_held(path.parent)]
        return [found for found in map(_found, alive) if found.handle.vendor_id == vendor_id]

    def billed(self, handles: Sequence[Handle], since: datetime) -> Mapping[str, Decimal]:  # noqa: ARG002 - the protocol's
        """Nothing: each handle's bill is zero."""
        return {handle.ref: Decimal(0) for handle in handles}

    def _start(self, handle: Handle, order: LaunchOrder, lock: int) -> None:
        folder = self._folder(handle)
        log = open_log(folder / "wrapper.log")
        try:
            process = subprocess.Popen(
                self._command,
                env=_environment(order, folder),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=(lock,),  # the lock lives as long as the process does
            )
        finally:
            os.close(log)
        _CHILDREN.append(process)
        known = {"pid": process.pid, "start": process_start(process.pid), "vendor_id": handle.vendor_id}
        write_json(folder / "process.json", known)

    def _folder(self, handle: Handle) -> Path:
        run, _, attempt = handle.ref.partition("/")
        return self._root / run / attempt


def _reap() -> None:
    """Collects the exit codes of ended children, so that no zombies stay."""
    _CHILDREN[:] = [child for child in _CHILDREN if child.poll() is None]


def _environment(order: LaunchOrder, folder: Path) -> dict[str, str]:
    own = {name: os.environ[name] for name in _HANDED_ON if name in os.environ}
    deadline = order.deadline.isoformat().replace("+00:00", "Z")
    return {**own, **order.env, "MP_RUN_DIR": str(folder), "MP_DEADLINE": deadline}


def _look(folder: Path) -> Observed:
    if _is_held(folder):
        return Observed(Phase.RUNNING)
    ended = RunFolder(folder).read_exit() if folder.exists() else None
    if ended:
        return Observed(Phase.GONE, exit_code=ended.outcome.exit_code, outcome=ended.outcome)
    return Observed(Phase.GONE, detail=tail(folder / "wrapper.log", 5)[-1_000:])


def _found(folder: Path) -> Found:
    path = folder / "process.json"
    run_id, attempt = folder.parent.name, folder.name
    handle = Handle(ref=f"{run_id}/{attempt}", vendor_id=str((_process(folder) or {}).get("vendor_id", "")))
    return Found(handle, run_id, int(attempt), datetime.fromtimestamp(path.stat().st_mtime, UTC))


def _process(folder: Path) -> dict[str, Any] | None:
    path = folder / "process.json"
    return dict(json.loads(path.read_text())) if path.exists() else None


def _lock_file(folder: Path) -> int:
    return os.open(folder / "wrapper.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _take(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _take_soon(lock: int, folder: Path) -> bool:
    """Takes the lock; an observer may hold it for an instant, a job that lives has left its pid."""
    for _ in range(_TRIES):
        if _take(lock):
            return True
        if (folder / "process.json").exists():
            return False
        time.sleep(_TRY_SECONDS)
    return False


def _is_held(folder: Path) -> bool:
    if not (folder / "wrapper.lock").exists():
        return False
    lock = _lock_file(folder)
    try:
        return not _take(lock)
    finally:
        os.close(lock)

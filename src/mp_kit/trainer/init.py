"""The first process of a container: it starts the wrapper, buries the dead, hands signals on, and ends the pod.

1. It is one thread and does nothing that can hang, so it lives when everything else is stuck or killed.
2. Orphans of the job become its children and are reaped at once: no zombies pile up.
3. A wrapper that was killed (out of memory, ``kill -9``) is started again in place; the wrapper itself counts starts
   on disk and fails the run that is in a crash loop.
4. A second wall behind the wrapper's watchdog: a wrapper that still runs minutes after the deadline on disk is killed.
5. Whatever happened, the pod is ended last; outside of a pod the wrapper's exit code becomes this process's.
6. Its environment holds the pod's key, so that other processes of the same user are kept from reading it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from mp_kit.trainer.pod import end_pod
from mp_kit.trainer.watchdog import Watchdog, boot_clock, boot_id

__all__ = ["OVERDUE_SECONDS", "is_wanted", "lead"]

OVERDUE_SECONDS = 300.0
"""A wrapper has this long after the deadline to end its job and to tell the outcome."""

MOST_STARTS = 5
"""One more than the wrapper needs to notice a crash loop and to tell of it."""

_LOOK_SECONDS = 5.0
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 1, 4, 36
_LIBC = ctypes.PyDLL(None, use_errno=True) if sys.platform == "linux" else None
_KILLED = 128


def is_wanted(environ: Mapping[str, str]) -> bool:
    """Whether this process is the first of a container, or runs in a pod, whatever started it there."""
    return os.getpid() == 1 or bool(environ.get("RUNPOD_POD_ID"))


def lead(work: Callable[[], int], environ: Mapping[str, str], folder: Path | None) -> int:
    """Runs the wrapper in a child to its end, then ends the pod.

    Args:
        work: The wrapper; returns its exit code.
        environ: Says whether this is a pod.
        folder: The run's folder, where the deadline lies; None if the environment is too incomplete to say.

    Returns:
        The wrapper's exit code, 128 and the signal's number if it was killed; in a pod it does not return.
    """
    _control(_PR_SET_CHILD_SUBREAPER, 1)
    _control(_PR_SET_DUMPABLE, 0)
    code = _Leader(work, folder).run()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # from here on the kernel reaps
    for number in _FORWARDED[:2]:
        signal.signal(number, lambda *_: sys.exit(code))
    end_pod(environ)
    return code


class _Leader:
    def __init__(self, work: Callable[[], int], folder: Path | None) -> None:
        self._work = work
        self._folder = folder
        self._pid = 0
        self._ending = False

    def run(self) -> int:
        code = 1
        for _ in range(MOST_STARTS):
            code = self._once()
            if code >= 0 or self._ending:
                break
        return code if code >= 0 else _KILLED - code

    def _once(self) -> int:
        everything = signal.valid_signals()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, everything)  # none may come before we can hand it on
        self._pid = os.fork()
        if self._pid == 0:
            _be_the_wrapper(self._work, before)
        for number in _FORWARDED:
            signal.signal(number, self._hand_on)
        signal.signal(signal.SIGALRM, self._look)
        signal.setitimer(signal.ITIMER_REAL, _LOOK_SECONDS, _LOOK_SECONDS)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        try:
            return self._bury()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _bury(self) -> int:
        """Reaps whoever dies until it is the wrapper."""
        while True:
            pid, status = os.waitpid(-1, 0)
            if pid == self._pid:
                return os.waitstatus_to_exitcode(status)

    def _hand_on(self, number: int, _: FrameType | None) -> None:
        self._ending = self._ending or number in {signal.SIGTERM, signal.SIGINT}
        self._send(number)

    def _look(self, *_: object) -> None:
        if self._folder is not None and _seconds_left(self._folder) < -OVERDUE_SECONDS:
            self._ending = True
            self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has just ended, which is what waitpid tells next
            os.kill(self._pid, number)


def _be_the_wrapper(work: Callable[[], int], mask: set[int | signal.Signals]) -> None:
    """What the forked child does instead of returning."""
    code = 1
    try:
        _control(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        for number in (*_FORWARDED, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        code = work()
    except BaseException:  # noqa: BLE001 - nothing may return into the leader's frames; it is printed
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _seconds_left(folder: Path) -> float:
    """Until the deadline on disk; endless while there is none, or none that can be read."""
    try:
        known = json.loads((folder / "state.json").read_text())
        deadline = datetime.fromisoformat(known["deadline"]).astimezone(UTC)
        same = bool(known.get("boot")) and known["boot"] == boot_id()
        left = Watchdog(deadline, known["boot_end"] if same else None, boot=boot_clock).left()
    except (OSError, ValueError, TypeError, KeyError):
        return float("inf")
    return float("inf") if left is None else left


def _control(option: int, value: int) -> None:
    if _LIBC is not None:
        _LIBC.prctl(option, value, 0, 0, 0)

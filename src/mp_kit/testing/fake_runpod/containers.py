"""Containers: each pod's command as a process of this machine, with a container's manners.

1. A main process that ends is started again, whatever its exit code, as long as its pod is RUNNING.
2. A container's end is the end of everything in it: SIGTERM, a grace, SIGKILL to the whole session.
3. A container dies with the fake, even on ``kill -9`` (Linux): its main process by the kernel's hand, all else by the
   warden's. The thread that starts it lives as long as it does, because the kernel watches that thread.
4. Its environment is the pod's, what RunPod adds, and a few harmless variables of this machine.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

from mp_kit.testing.fake_runpod.clock import Clock
from mp_kit.testing.fake_runpod.cloud import Cloud, Pace
from mp_kit.testing.fake_runpod.commands import command_of
from mp_kit.testing.fake_runpod.faults import Fault
from mp_kit.testing.fake_runpod.pods import Pod, Status
from mp_kit.testing.fake_runpod.warden import Warden, kill_session

__all__ = ["Container"]

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.PyDLL(None, use_errno=True) if sys.platform == "linux" else None
_HANDED_ON = ("PATH", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "OPENBLAS_CORETYPE")
_DEAD_END = "http://127.0.0.1:9"  # the discard port: nothing listens there
_LINE = 1 << 16
_READ_SECONDS = 5.0


class Container(threading.Thread):
    """Keeps one pod's process as its timeline says.

    Args:
        pod: The pod.
        cloud: Where it lives.
        folder: Its disk.
        image_command: What runs if the pod names no command.
        warden: Ends it if the fake is killed.
    """

    def __init__(self, pod: Pod, cloud: Cloud, folder: Path, image_command: tuple[str, ...], warden: Warden) -> None:
        super().__init__(name=f"container-{pod.id}", daemon=True)
        self._pod = pod
        self._cloud = cloud
        self._clock: Clock = cloud.clock
        self._pace: Pace = cloud.pace
        self._folder = folder
        self._image_command = image_command
        self._warden = warden
        self._changed = threading.Condition()
        self._news = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._reader = threading.Thread()
        self._generation = -1
        self._not_before: datetime | None = None
        self._closing = False
        pod.wake = self.wake

    def wake(self) -> None:
        """Something has changed: look again."""
        with self._changed:
            self._news += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Ends the container at once."""
        self._closing = True
        self.wake()

    def run(self) -> None:
        """Looks, acts, waits for the next change, until the pod is terminated."""
        unsubscribe = self._clock.subscribe(self.wake)
        try:
            while self._look():
                pass
        finally:
            unsubscribe()
            self._end(0.0)

    def _look(self) -> bool:
        seen = self._news
        now = self._clock.now()
        status = self._pod.status(now)
        if self._closing:
            return False
        if status is Status.TERMINATED:
            self._end(self._pace.grace)
            return False
        if status is not Status.RUNNING or self._generation not in (-1, self._pod.generation):
            self._end(self._pace.grace)
        self._tend(now, status)
        self._wait(seen, now)
        return True

    def _tend(self, now: datetime, status: Status) -> None:
        """Starts the process if it should run and does not; notes it if it has ended."""
        if self._process and self._process.poll() is not None:
            code = self._process.returncode
            self._end(0.0)
            self._say(f"container exited with code {code}")
            self._not_before = now + timedelta(seconds=self._pace.restart)
        if status is Status.RUNNING and not self._process and not (self._not_before and now < self._not_before):
            self._start()

    def _wait(self, seen: int, now: datetime) -> None:
        instants = [at for at in (self._pod.next_change(now), self._not_before) if at and at > now]
        pauses = [self._clock.seconds_until(at) for at in instants]
        real = [pause for pause in pauses if pause is not None]
        with self._changed:
            self._changed.wait_for(lambda: self._news != seen, min(real, default=None))

    def _start(self) -> None:
        again = self._generation == self._pod.generation
        self._generation = self._pod.generation
        self._not_before = None
        with self._cloud.lock:
            self._pod.catch_up(self._clock.now())
            if again:
                self._pod.mark(Status.RUNNING, self._clock.now(), keep_future=True)
        try:
            self._process = self._popen()
        except OSError as error:
            self._say(f"failed to start container: {error.strerror}: {error.filename}")
            self._not_before = self._clock.now() + timedelta(seconds=self._pace.restart)
            return
        self._warden.begin(self._process.pid)
        self._watch(self._process)

    def _popen(self) -> subprocess.Popen[bytes]:
        self._folder.mkdir(parents=True, exist_ok=True)
        return subprocess.Popen(
            command_of(self._pod.spec, self._image_command),
            env=self._environment(),
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call on a library loaded before the fork
        )

    def _environment(self) -> dict[str, str]:
        env = {name: os.environ[name] for name in _HANDED_ON if name in os.environ}
        env |= {"HOME": str(self._folder), "TMPDIR": str(self._folder)} | self._added()
        env |= self._pod.spec["env"]
        env |= self._pod.added_env
        if any(trouble.fault is Fault.NETWORK_DEAD for trouble in self._pod.troubles):
            env |= {name: _DEAD_END for name, value in env.items() if name.endswith("_URL") and "://" in value}
        return env

    def _added(self) -> dict[str, str]:
        count = self._pod.spec.get("gpu", {}).get("count", 0)
        return {
            "RUNPOD_POD_ID": self._pod.id,
            "RUNPOD_API_KEY": self._pod.key,
            "RUNPOD_DC_ID": self._pod.place,
            "RUNPOD_GPU_COUNT": str(count),
            "RUNPOD_POD_HOSTNAME": f"{self._pod.id}-fake",
        }

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """Two threads: a grandchild that holds the pipe open must not hide the end of the main process."""
        self._reader = threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
        self._reader.start()
        threading.Thread(target=self._wait_for, args=(process,), daemon=True).start()

    def _wait_for(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self.wake()

    def _read(self, pipe: IO[bytes]) -> None:
        with pipe:
            while raw := pipe.readline(_LINE):
                self._pod.log.write("container", raw.decode(errors="replace").rstrip("\r\n"), self._clock.now())

    def _end(self, grace: float) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None and grace > 0:
            _signal(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(grace)
        if process.poll() is None:
            process.kill()
        kill_session([process.pid])
        process.wait()
        self._warden.end(process.pid)
        self._reader.join(_READ_SECONDS)

    def _say(self, text: str) -> None:
        self._pod.log.write("system", text, self._clock.now())


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended: what was wanted
        os.killpg(group, number)


def _die_with_parent() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)

"""The wrapper around a training job: counts, watches, reports, and ends it in time.

1. Starts are counted on disk; the deadline is fixed at the first start and never renewed.
2. A job whose outcome is on disk is not run again: a restarted wrapper only delivers it. One that had ended well and
   was still uploading goes on uploading.
3. Nothing that the marketplace does or fails to do stops a job, except its order to stop.
4. The thread that waits for the deadline makes no network call while the job lives.
5. The outcome is sent last, after all log lines and artifacts; it is repeated until it is taken or the patience ends.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from mp_kit.contracts.training import ArtifactRequest, RunOrders, RunOutcome
from mp_kit.errors import MarketplaceError
from mp_kit.trainer.api import RunApi
from mp_kit.trainer.child import Child
from mp_kit.trainer.delivery import MOST_FAILURE, deliver
from mp_kit.trainer.environment import JobEnv
from mp_kit.trainer.heartbeats import DATASET_FILE, Heartbeats
from mp_kit.trainer.machine import MachineProbe
from mp_kit.trainer.patience import Patience
from mp_kit.trainer.pod import HIDDEN
from mp_kit.trainer.report import REPORT_FILE, ReportReader
from mp_kit.trainer.shipping import LogShipper, Shipping
from mp_kit.trainer.spool import LogSpool
from mp_kit.trainer.state import JobState, RunFolder
from mp_kit.trainer.uploads import upload_all
from mp_kit.trainer.watchdog import Watchdog

__all__ = ["MAX_STARTS", "REFERENCE_JOB", "Patience", "Wrapper"]

REFERENCE_JOB = (sys.executable, "-m", "mp_kit.trainer.job")
"""The command that trains by the spec's task."""

MAX_STARTS = 3
"""A container that was started more often than this is in a crash loop, and its run is failed."""

_OVER = "The time of the budget is used up; the job was stopped."


@dataclass(frozen=True)
class _Ended:
    code: int


@dataclass(frozen=True)
class _Stop:
    reason: str


@dataclass(frozen=True)
class _Uploaded:
    artifacts: tuple[ArtifactRequest, ...] = ()
    failure: str = ""


_Event = _Ended | _Stop | _Uploaded


class Wrapper:
    """One start of one job.

    Args:
        env: The job's environment.
        api: The marketplace.
        command: What to run.
        environ: The environment that the command inherits, but for what would let it end or order pods.
        patience: How long to wait for what.
    """

    def __init__(
        self,
        env: JobEnv,
        api: RunApi,
        command: Sequence[str] = REFERENCE_JOB,
        *,
        environ: Mapping[str, str] | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._env = env
        self._api = api
        self._command = command
        self._environ = os.environ if environ is None else environ
        self._patience = patience or Patience()
        self._folder = RunFolder(env.folder)
        self._report = ReportReader(self._folder.report)
        self._spool = LogSpool(self._folder.logs, env.secrets)
        self._shipper = LogShipper(self._spool, api, self._folder.log_base)
        self._probe = MachineProbe(self._folder.path)
        # A SimpleQueue may be filled from a signal handler; an Event's lock could deadlock there.
        self._inbox: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._over = threading.Event()
        self._watchdog = Watchdog(env.deadline)

    def stop(self, reason: str) -> None:
        """Asks for the job's end; safe from signal handlers and threads."""
        self._inbox.put(_Stop(reason))

    def run(self) -> RunOutcome:
        """Runs the job to its end and delivers the outcome.

        Returns:
            The outcome, delivered or not; it lies in the run's folder in any case.
        """
        known = self._folder.read_exit()
        if known is None:
            state = self._folder.count_start(self._env, datetime.now(UTC))
            self._watchdog = Watchdog(state.deadline, state.boot_end)
            outcome = self._crash_loop(state) or self._watched(state)
            self._spool.end()
            self._folder.save_exit(outcome, delivered=False)
        else:
            outcome = known.outcome
        if known is None or not known.delivered:
            self._deliver(outcome)
        self._spool.close()
        return outcome

    def _crash_loop(self, state: JobState) -> RunOutcome | None:
        if state.starts <= MAX_STARTS:
            return None
        return RunOutcome(
            status="failed", failure=f"The job's container was started {state.starts} times without reaching an end."
        )

    def _watched(self, state: JobState) -> RunOutcome:
        self._note(f"start {state.starts} of {self._env.task} on round {self._env.round_id}, until {state.deadline}")
        beats = Heartbeats(
            self._api,
            self._report,
            self._probe,
            starts=state.starts,
            obey=self._obey,
            seconds=self._patience.heartbeat,
            urls=self._folder.urls,
        )
        shipping = Shipping(self._spool, self._shipper, self._patience.shipping)
        try:
            child = None if self._folder.has_trained() else self._start()
        except OSError as error:
            return RunOutcome(status="failed", failure=f"The command {self._command[0]} cannot be started: {error}.")
        self._probe.start()
        beats.start()
        shipping.start()
        try:
            return self._judge(child) if child else self._with_artifacts()
        finally:
            self._over.set()
            beats.stop()
            self._probe.stop()
            shipping.rest()  # the shipper must be at rest before the delivery ships; a heartbeat may overlap

    def _start(self) -> Child:
        self._folder.artifacts.mkdir(exist_ok=True)
        extra = {
            REPORT_FILE: str(self._folder.report),
            DATASET_FILE: str(self._folder.urls),
            "MP_ARTIFACT_DIR": str(self._folder.artifacts),
            "MP_RUN_DIR": str(self._folder.path),
            "PYTHONUNBUFFERED": "1",
        }
        inherited = {name: value for name, value in self._environ.items() if name not in HIDDEN}
        child = Child(
            self._command,
            env={**inherited, **extra},
            folder=self._folder.path,
            spool=self._spool,
            ended=lambda code: self._inbox.put(_Ended(code)),
        )
        self._probe.watch(child.pid)
        return child

    def _judge(self, child: Child) -> RunOutcome:
        """Waits for the first of: the job's end, an order to stop, the deadline."""
        event = self._wait()
        if isinstance(event, _Ended):
            return self._ended(event.code)
        self._note(f"stopping: {event.reason if isinstance(event, _Stop) else 'the deadline is over'}")
        code = self._end(child)
        if event is None:
            return self._outcome("failed", exit_code=code, failure=_OVER)
        return self._outcome("cancelled", exit_code=code)

    def _wait(self) -> _Event | None:
        """The next event; None once the deadline is over. Looks up each second: clocks jump, orders come."""
        while True:
            left = self._watchdog.left()
            if left is not None and left <= 0:
                return None
            try:
                return self._inbox.get(timeout=1.0 if left is None else min(left, 1.0))
            except queue.Empty:
                continue

    def _end(self, child: Child) -> int | None:
        for number, patience in ((signal.SIGTERM, self._patience.grace), (signal.SIGKILL, 10.0)):
            child.signal(number)
            until = time.monotonic() + patience
            while (left := until - time.monotonic()) > 0:
                try:
                    event = self._inbox.get(timeout=left)
                except queue.Empty:
                    break
                if isinstance(event, _Ended):
                    return event.code
        return None

    def _ended(self, code: int) -> RunOutcome:
        if code == 0:
            self._folder.note_trained()
            return self._with_artifacts()
        how = f"was ended by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
        failure = self._report.poll().failure or f"The job {how}; the last lines of its log say why."
        return self._outcome("failed", exit_code=code, failure=failure)

    def _with_artifacts(self) -> RunOutcome:
        """Uploads in a thread of its own, so that an order to stop and the deadline are heard meanwhile."""
        threading.Thread(target=self._upload, name="uploads", daemon=True).start()
        event = self._wait()
        self._over.set()
        if isinstance(event, _Stop):
            return self._outcome("cancelled", exit_code=0)
        if isinstance(event, _Uploaded) and not event.failure:
            return self._outcome("succeeded", exit_code=0, artifacts=list(event.artifacts))
        why = event.failure if isinstance(event, _Uploaded) else "the time of the budget is used up."
        failure = f"The job succeeded, but its artifacts could not be stored: {why}"
        return self._outcome("failed", exit_code=0, failure=failure)

    def _upload(self) -> None:
        try:
            stored = upload_all(self._api, self._folder.artifacts, self._patience.upload, is_over=self._over.is_set)
        except (MarketplaceError, OSError) as error:
            self._inbox.put(_Uploaded(failure=str(error) or type(error).__name__))
        else:
            self._inbox.put(_Uploaded(tuple(stored)))

    def _outcome(self, status: str, *, failure: str | None = None, **facts: object) -> RunOutcome:
        told = failure[:MOST_FAILURE] if failure else None
        metrics = self._report.poll().summary()
        return RunOutcome.model_validate({"status": status, "failure": told, "metrics": metrics, **facts})

    def _obey(self, orders: RunOrders) -> None:
        self._watchdog.order(self._env.here(orders.deadline))
        if orders.command == "stop":
            self.stop("the marketplace ordered it")

    def _deliver(self, outcome: RunOutcome) -> None:
        left, seconds = self._watchdog.left(), self._patience.delivery
        if left is not None:
            seconds = min(seconds, max(left, 0.0) + self._patience.overtime)
        told = deliver(self._api, self._shipper, outcome, seconds)
        if told is not None:
            self._folder.save_exit(told, delivered=True)

    def _note(self, text: str) -> None:
        self._spool.write("system", text)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # the real-time ones between the first and the last have no name
        return f"signal {number}"

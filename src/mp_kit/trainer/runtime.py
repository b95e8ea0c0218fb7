"""The wrapper around a training job: counts, watches, reports, and ends it in time.

1. Starts are counted on disk; the deadline is fixed at the first start and never renewed.
2. A job whose outcome is on disk is not run again: a restarted wrapper only delivers it.
3. Nothing that the marketplace does or fails to do stops a job, except its order to stop.
4. The outcome is sent last, after all log lines and artifacts; it is repeated until it is taken or the patience ends.
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

from mp_kit.contracts.training import RunHeartbeat, RunOrders, RunOutcome
from mp_kit.errors import MarketplaceError
from mp_kit.trainer.api import RunApi, insist
from mp_kit.trainer.child import Child
from mp_kit.trainer.environment import JobEnv
from mp_kit.trainer.report import REPORT_FILE, ReportReader
from mp_kit.trainer.spool import LogShipper, LogSpool
from mp_kit.trainer.state import JobState, RunFolder
from mp_kit.trainer.uploads import upload_all

__all__ = ["REFERENCE_JOB", "Patience", "Wrapper", "run"]

REFERENCE_JOB = (sys.executable, "-m", "mp_kit.trainer.job")
"""The command that trains by the spec's task."""

MAX_STARTS = 3
"""A container that was started more often than this is in a crash loop, and its run is failed."""

EXIT_CANCELLED = 143
EXIT_FAILED = 1


@dataclass(frozen=True)
class Patience:
    """How long the wrapper waits, in seconds.

    Attributes:
        grace: From SIGTERM to SIGKILL.
        heartbeat: Between heartbeats until the marketplace names another interval.
        shipping: Between shipments of log lines.
        upload: For all artifacts together.
        delivery: For the last log lines and the outcome, however long the marketplace is away.
    """

    grace: float = 20.0
    heartbeat: float = 5.0
    shipping: float = 1.0
    upload: float = 1_800.0
    delivery: float = 900.0


@dataclass(frozen=True)
class _Ended:
    code: int


@dataclass(frozen=True)
class _Stop:
    reason: str


class Wrapper:
    """One start of one job.

    Args:
        env: The job's environment.
        api: The marketplace.
        command: What to run.
        environ: The environment that the command inherits.
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
        # A SimpleQueue may be filled from a signal handler; an Event's lock could deadlock there.
        self._inbox: queue.SimpleQueue[_Ended | _Stop] = queue.SimpleQueue()
        self._over = threading.Event()
        self._ordered_deadline: datetime | None = None

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
            outcome = self._crash_loop(state) or self._watched(state)
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
        threads = [
            threading.Thread(target=self._beat, args=(state.starts,), daemon=True),
            threading.Thread(target=self._ship, daemon=True),
        ]
        try:
            child = self._start()
        except OSError as error:
            return RunOutcome(status="failed", failure=f"The command {self._command[0]} cannot be started: {error}.")
        for thread in threads:
            thread.start()
        try:
            return self._judge(child, state)
        finally:
            self._over.set()
            self._spool.grown.set()
            threads[1].join(30)  # the shipper must be at rest before the delivery ships; a heartbeat may overlap

    def _start(self) -> Child:
        self._folder.artifacts.mkdir(exist_ok=True)
        extra = {
            REPORT_FILE: str(self._folder.report),
            "MP_ARTIFACT_DIR": str(self._folder.artifacts),
            "MP_RUN_DIR": str(self._folder.path),
            "PYTHONUNBUFFERED": "1",
        }
        return Child(
            self._command,
            env={**self._environ, **extra},
            folder=self._folder.path,
            spool=self._spool,
            ended=lambda code: self._inbox.put(_Ended(code)),
        )

    def _judge(self, child: Child, state: JobState) -> RunOutcome:
        """Waits for the first of: the job's end, an order to stop, the deadline."""
        event = self._wait(state.deadline)
        if isinstance(event, _Ended):
            return self._ended(event.code)
        self._note(f"stopping: {event.reason if event else 'the deadline is over'}")
        code = self._end(child)
        if event is None:
            failure = "The time of the budget is used up; the job was stopped."
            return RunOutcome(status="failed", exit_code=code, failure=failure, metrics=self._metrics())
        return RunOutcome(status="cancelled", exit_code=code, metrics=self._metrics())

    def _wait(self, deadline: datetime | None) -> _Ended | _Stop | None:
        """The next event; None once the deadline is over. Looks up each second: an order may bring it forward."""
        while True:
            ends = [end for end in (deadline, self._ordered_deadline) if end]
            left = (min(ends) - datetime.now(UTC)).total_seconds() if ends else 1.0
            if left <= 0:
                return None
            try:
                return self._inbox.get(timeout=min(left, 1.0))
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
        progress = self._report.poll()
        if code == 0:
            return self._with_artifacts()
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        failure = progress.failure or f"The job {how}; the last lines of its log say why."
        return RunOutcome(status="failed", exit_code=code, failure=failure, metrics=self._metrics())

    def _with_artifacts(self) -> RunOutcome:
        try:
            uploaded = upload_all(self._api, self._folder.artifacts, self._patience.upload)
        except MarketplaceError as error:
            failure = f"The job succeeded, but its artifacts could not be stored: {error}"[:4_000]
            return RunOutcome(status="failed", exit_code=0, failure=failure, metrics=self._metrics())
        return RunOutcome(status="succeeded", exit_code=0, metrics=self._metrics(), artifacts=uploaded)

    def _metrics(self) -> dict[str, object]:
        return self._report.poll().summary()

    def _beat(self, starts: int) -> None:
        pause = self._patience.heartbeat
        while True:
            pause = self._one_beat(starts, pause)
            if self._over.wait(pause):
                return

    def _one_beat(self, starts: int, pause: float) -> float:
        progress = self._report.poll()
        beat = RunHeartbeat(
            step=progress.step, total_steps=progress.total_steps, metrics=progress.summary(), started_count=starts
        )
        try:
            orders = self._api.heartbeat(beat)
        except MarketplaceError as error:
            _say(f"no heartbeat: {error}")
            return min(pause, self._patience.heartbeat)
        self._obey(orders)
        return orders.heartbeat_seconds

    def _obey(self, orders: RunOrders) -> None:
        self._ordered_deadline = orders.deadline
        if orders.command == "stop":
            self.stop("the marketplace ordered it")

    def _ship(self) -> None:
        wait = self._patience.shipping
        while not self._over.is_set():
            self._spool.grown.wait()
            self._spool.grown.clear()
            try:
                while not self._shipper.is_done:
                    self._shipper.step()
                wait = self._patience.shipping
            except MarketplaceError as error:
                _say(f"log lines wait on disk: {error}")
                self._spool.grown.set()
                wait = min(wait * 2, 15.0) if error.retryable else 3_600.0
            self._over.wait(wait)

    def _deliver(self, outcome: RunOutcome) -> None:
        until = time.monotonic() + self._patience.delivery
        try:
            while not self._shipper.is_done:
                insist(self._shipper.step, until=until)
            insist(lambda: self._api.finish(outcome), until=until)
        except MarketplaceError as error:
            _say(f"the outcome could not be delivered: {error}")
            return
        self._folder.save_exit(outcome, delivered=True)

    def _note(self, text: str) -> None:
        self._spool.write("system", text)


def _say(text: str) -> None:
    sys.stderr.write(f"mp-kit trainer: {text}\n")
    sys.stderr.flush()


def run(command: Sequence[str] = (), environ: Mapping[str, str] | None = None) -> int:
    """Runs a job by the environment; what ``python -m mp_kit.trainer`` does.

    Args:
        command: What to run; the reference trainer if empty.
        environ: The environment; the process's own by default.

    Returns:
        The exit code for the process: 0 succeeded, 143 cancelled, else 1.

    Raises:
        SetupError: The environment is incomplete.
    """
    environ = os.environ if environ is None else environ
    env = JobEnv.read(environ)
    api = RunApi(env)
    wrapper = Wrapper(env, api, command or REFERENCE_JOB, environ=environ)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, _frame: wrapper.stop(f"signal {signal.Signals(got).name}"))
    try:
        return _exit_code(wrapper.run())
    finally:
        api.close()


def _exit_code(outcome: RunOutcome) -> int:
    return {"succeeded": 0, "cancelled": EXIT_CANCELLED}.get(outcome.status, EXIT_FAILED)

"""A training run in your hands: its state, its log, its results."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mp_kit.client import html, log_follow, run_card
from mp_kit.client import run_words as words
from mp_kit.client.display import progress as reporter
from mp_kit.client.http import Api, Call, path, read
from mp_kit.client.opener import Opener
from mp_kit.client.partial import Wanted
from mp_kit.client.progress import OnProgress
from mp_kit.client.results import Rows, Shown
from mp_kit.client.run_events import COLUMNS, EventView
from mp_kit.client.run_watch import StoppedWaiting, show_here
from mp_kit.client.transfer import Transfer
from mp_kit.client.urls import Signed, UrlBook
from mp_kit.client.views import EnvironmentView, LogPage
from mp_kit.contracts.training import (
    ArtifactFile,
    Artifacts,
    LogLine,
    RunStatus,
    TrainingRun,
)
from mp_kit.errors import ConflictError, IntegrityError, MarketplaceError, TimeoutExceededError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIRST_POLL = 1.0
LONGEST_POLL = 5.0
WATCHED_POLL = 2.0
OUTAGE_SECONDS = 600.0
"""So long may the marketplace be gone while we wait for a run, which goes on meanwhile."""
_FLAT_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._\-]*$")


OnUpdate = Callable[["Run", list[LogLine]], None]
"""Told after each look at a run, with the log lines that are new."""


class Run(Shown):
    """A training run; properties tell what was seen last, :meth:`refresh` looks again.

    Example:
        >>> run = m.train.start("signal", hyperparams={"lr": 0.001}, max_hours=1)
        >>> run.watch().metrics
    """

    def __init__(
        self,
        api: Api,
        seen: TrainingRun,
        opener: Callable[[], Opener],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._api = api
        self._seen = seen
        self._opener = opener
        self._sleep = sleep

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._seen.run_id

    @property
    def status(self) -> RunStatus:
        """queued, running, succeeded, failed or cancelled, as last seen."""
        return self._seen.status

    @property
    def metrics(self) -> dict[str, Any]:
        """What the job measured, as last seen."""
        return dict(self._seen.metrics)

    @property
    def artifacts(self) -> Artifacts:
        """What the job produced, as last seen."""
        return self._seen.artifacts

    @property
    def record(self) -> TrainingRun:
        """Everything, as last seen."""
        return self._seen

    def refresh(self) -> Run:
        """Looks again; returns itself.

        Example:
            >>> run.refresh().status
        """
        self._seen = self._api.get(TrainingRun, path("training", "runs", self.run_id))
        return self

    def cancel(self, *, idempotency_key: str | None = None) -> Run:
        """Asks the run to stop; harmless to repeat, with or without a key.

        Example:
            >>> run.cancel()
        """
        where = path("training", "runs", self.run_id, "cancel")
        self._seen = read(
            TrainingRun, self._api.send(Call("POST", where, repeatable=True, idempotency_key=idempotency_key)), where
        )
        return self

    def environment(self) -> EnvironmentView:
        """What the job of a ``byoc`` run needs in its environment, with its run token: treat it as a secret.

        Raises:
            ConflictError: The run runs elsewhere, or it is over.

        Example:
            >>> run.environment().env
        """
        where = path("training", "runs", self.run_id, "environment")
        return read(EnvironmentView, self._api.send(Call("POST", where, repeatable=True)), where)

    def logs(self, after: int = 0) -> LogPage:
        """A page of the log; pass the page's ``next`` as ``after`` to go on.

        Example:
            >>> run.logs()
        """
        return self._api.get(LogPage, path("training", "runs", self.run_id, "logs"), after=after)

    def lines(self, after: int = 0) -> Iterator[LogLine]:
        """Yields the log's lines that are there by now, from number ``after`` on.

        Example:
            >>> [line.text for line in run.lines()]
        """
        page = self.logs(after)
        yield from page.lines
        while page.lines and not page.complete:
            page = self.logs(page.next)
            yield from page.lines

    def follow(self, after: int = 0) -> Iterator[LogLine]:
        """Yields the log's lines as they appear, each once, until the run ends; resumes through broken connections.

        Args:
            after: The number of the first line that is wanted.

        Example:
            >>> for line in run.follow():
            ...     print(line.text)
        """
        return log_follow.follow(self._api, self.run_id, after, sleep=self._sleep)

    def events(self) -> Rows[EventView]:
        """The run's history, oldest first: what happened to it, when, and why.

        Example:
            >>> run.events()
        """
        found = self._api.get(list[EventView], path("training", "runs", self.run_id, "events"))
        return Rows(found, f"History of run {self.run_id}", COLUMNS)

    def plot(self, *metrics: str) -> list[Axes]:
        """Draws the metrics by step; those named, or the first six.

        Raises:
            ConflictError: The job has reported no steps (yet).
            InvalidInputError: There is no such metric.
            MissingExtraError: matplotlib is not installed.

        Example:
            >>> run.plot("loss")
            >>> axes = run.plot()
            >>> axes[0].figure.savefig("run.png")
        """
        from mp_kit.client.run_plot import plot_metrics

        return plot_metrics(self._seen, metrics)

    def wait(
        self,
        timeout: float | None = None,
        on_update: OnUpdate | None = None,
        *,
        progress: bool = True,
    ) -> Run:
        """Waits for the end, however the run ends. An interrupt ends the waiting, not the run.

        Args:
            timeout: Seconds; for ever by default.
            on_update: Told after each look, with the log lines that are new.
            progress: Show the steps as a bar, on a terminal or in a notebook; :meth:`watch` shows everything.

        Raises:
            TimeoutExceededError: The run is still going; it goes on.
            NetworkError: The marketplace has not answered for ten minutes.

        Example:
            >>> run.wait(timeout=3600).metrics
        """
        with reporter(f"Run {self.run_id}", wanted=progress, unit="steps") as report:
            look = on_update if report is None else _reporting(report, on_update)
            return self._wait(timeout, look, LONGEST_POLL)

    def watch(self, timeout: float | None = None) -> Run:
        """Waits and shows: a live card in a notebook, the log on a terminal, only new states when piped.

        It ends with the run. An interrupt ends the watch and not the run; :meth:`Training.attach` takes it up again.

        Args:
            timeout: Seconds; for ever by default.

        Raises:
            TimeoutExceededError: The run is still going; it goes on.
            NetworkError: The marketplace has not answered for ten minutes.

        Example:
            >>> run.watch()
        """
        show = show_here()
        show.seen(self._seen, [])
        try:
            return self._wait(timeout, lambda run, lines: show.seen(run.record, lines), WATCHED_POLL, show.note)
        except (StoppedWaiting, TimeoutExceededError) as error:
            show.left(str(error))
            raise

    def _wait(
        self,
        timeout: float | None,
        on_update: OnUpdate | None,
        longest_poll: float,
        note: Callable[[str], None] = lambda _: None,
    ) -> Run:
        clock = time.monotonic
        deadline = None if timeout is None else clock() + timeout
        after, poll, answered = 0, FIRST_POLL, clock()
        try:
            while True:
                try:
                    after, answered = self._look(after, on_update), clock()
                    if self.status.is_final:
                        return self
                except MarketplaceError as error:
                    if not error.retryable or clock() - answered > OUTAGE_SECONDS:
                        raise
                    note(f"The marketplace does not answer; the run goes on. {error.message}")
                if deadline is not None and clock() + poll > deadline:
                    raise self._still_going(timeout)
                self._sleep(poll)
                poll = min(longest_poll, poll * 1.5)
        except KeyboardInterrupt:
            raise StoppedWaiting(self.run_id) from None

    def _look(self, after: int, on_update: OnUpdate | None) -> int:
        """Looks at the run and, for somebody who wants them, at its new lines; returns the next line's number."""
        self.refresh()
        if on_update is None:
            return after
        lines = list(self.lines(after))
        on_update(self, lines)
        return lines[-1].seq + 1 if lines else after

    def _still_going(self, timeout: float | None) -> TimeoutExceededError:
        return TimeoutExceededError(
            f"Run {self.run_id} is still {self.status.value} after {timeout:g} s.",
            hint="It goes on: wait again, or cancel it.",
        )

    def download(self, folder: str | Path | None = None, *, progress: bool | OnProgress = True) -> list[Path]:
        """Fetches the artifacts, each verified by its sha256.

        Args:
            folder: Where to; ``runs/<run id>`` by default.
            progress: As for ``data.pull``.

        Raises:
            ConflictError: The run has produced no files (yet).
            IntegrityError: Bytes differ from what the run reported, or a name is no plain file name.

        Example:
            >>> run.wait().download("model")
        """
        files = self.refresh().artifacts.files or []
        if not files:
            why = f": {self._seen.failure}" if self._seen.failure else ""
            raise ConflictError(f"Run {self.run_id} is {self.status.value} and has no files to download{why}")
        target = Path(folder) if folder is not None else Path("runs") / self.run_id
        wanted = [Wanted(_flat(file), file.size_bytes, file.sha256, target / file.name) for file in files]
        opener = self._opener()
        try:
            with reporter("Downloading", wanted=progress) as report:
                Transfer(opener, UrlBook(self._sign), on_progress=report).run(wanted)
        finally:
            opener.close()
        return [item.target for item in wanted]

    def _sign(self) -> Signed:
        files = self.refresh().artifacts.files or []
        return Signed({file.name: file.url for file in files if file.url})

    def _title(self) -> str:
        return f"Run {self.run_id}: {self.status.value}"

    def _facts(self) -> Mapping[str, Any]:
        seen, now = self._seen, datetime.now(UTC)
        left = words.time_left(seen, now)
        values = run_card.measured(seen).items()
        return {
            "state": words.doing(seen),
            "progress": words.progress(seen),
            "left": left and f"about {words.duration(left)}",
            "task": seen.task,
            "round": seen.round_id,
            "provider": seen.provider,
            "machine": seen.machine,
            "created_at": seen.created_at,
            "started_at": seen.started_at,
            "deadline": words.until(seen, now),
            "finished_at": seen.finished_at,
            "took": words.took(seen),
            "bound": words.bound(seen),
            "cost": words.cost(seen),
            "failure": seen.failure,
            "metrics": ", ".join(f"{name}={html.text(value)}" for name, value in values) or None,
            "files": [file.name for file in seen.artifacts.files or ()] or None,
        }

    def _repr_html_(self) -> str:
        return run_card.card(self._seen)


def _reporting(report: OnProgress, other: OnUpdate | None) -> OnUpdate:
    """Tells a bar what a look has seen, and whoever else wants to know."""

    def look(run: Run, lines: list[LogLine]) -> None:
        told = run.record.progress
        step = told.step if told is not None and told.step is not None else 0
        total = told.total_steps if told is not None and told.total_steps else step + 1
        report(step, total, words.doing(run.record))
        if other is not None:
            other(run, lines)

    return look


def _flat(file: ArtifactFile) -> str:
    if not _FLAT_NAME.match(file.name):
        raise IntegrityError(f"An artifact is called {file.name!r}, which is no plain file name; nothing was fetched.")
    return file.name

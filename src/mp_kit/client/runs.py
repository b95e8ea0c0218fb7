"""A training run in your hands: its state, its log, its results."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mp_kit.client import html
from mp_kit.client.display import in_kernel, live_html
from mp_kit.client.display import progress as reporter
from mp_kit.client.http import Api, Call, path, read
from mp_kit.client.opener import Opener
from mp_kit.client.partial import Wanted
from mp_kit.client.progress import OnProgress
from mp_kit.client.results import Shown
from mp_kit.client.transfer import Transfer
from mp_kit.client.urls import Signed, UrlBook
from mp_kit.contracts.training import ArtifactFile, Artifacts, LogLine, RunEnvironment, RunLogs, RunStatus, TrainingRun
from mp_kit.errors import ConflictError, IntegrityError, TimeoutExceededError

if TYPE_CHECKING:
    from mp_kit.client.display import Handle

FIRST_POLL = 1.0
LONGEST_POLL = 5.0
TAIL_LINES = 15
_FLAT_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._\-]*$")


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
        """Looks again; returns itself."""
        self._seen = self._api.get(TrainingRun, path("training", "runs", self.run_id))
        return self

    def cancel(self, *, idempotency_key: str | None = None) -> Run:
        """Asks the run to stop; harmless to repeat, with or without a key."""
        where = path("training", "runs", self.run_id, "cancel")
        self._seen = read(
            TrainingRun, self._api.send(Call("POST", where, repeatable=True, idempotency_key=idempotency_key)), where
        )
        return self

    def environment(self) -> RunEnvironment:
        """What the job of a ``byoc`` run needs in its environment, with its run token: treat it as a secret.

        Raises:
            ConflictError: The run runs elsewhere, or it is over.
        """
        where = path("training", "runs", self.run_id, "environment")
        return read(RunEnvironment, self._api.send(Call("POST", where, repeatable=True)), where)

    def logs(self, after: int = 0) -> RunLogs:
        """A page of the log; pass the page's ``next`` as ``after`` to go on."""
        return self._api.get(RunLogs, path("training", "runs", self.run_id, "logs"), after=after)

    def wait(
        self,
        timeout: float | None = None,
        on_update: Callable[[Run, list[LogLine]], None] | None = None,
    ) -> Run:
        """Waits for the end, however the run ends.

        Args:
            timeout: Seconds; for ever by default.
            on_update: Told after each look, with the log lines that are new.

        Raises:
            TimeoutExceededError: The run is still going; it goes on.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        after, poll = 0, FIRST_POLL
        while True:
            self.refresh()
            if on_update is not None:
                after, lines = self._new_lines(after)
                on_update(self, lines)
            if self.status.is_final:
                return self
            if deadline is not None and time.monotonic() + poll > deadline:
                raise TimeoutExceededError(
                    f"Run {self.run_id} is still {self.status.value} after {timeout:g} s.",
                    hint="It goes on: wait again, or cancel it.",
                )
            self._sleep(poll)
            poll = min(LONGEST_POLL, poll * 1.5)

    def watch(self, timeout: float | None = None) -> Run:
        """Waits and shows: a live card in a notebook, lines elsewhere."""
        show = _CardShow(live_html()) if in_kernel() else _LineShow()
        return self.wait(timeout, show)

    def download(self, folder: str | Path | None = None, *, progress: bool | OnProgress = True) -> list[Path]:
        """Fetches the artifacts, each verified by its sha256.

        Args:
            folder: Where to; ``runs/<run id>`` by default.
            progress: As for ``data.pull``.

        Raises:
            ConflictError: The run has produced no files (yet).
            IntegrityError: Bytes differ from what the run reported, or a name is no plain file name.
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

    def _new_lines(self, after: int) -> tuple[int, list[LogLine]]:
        page = self.logs(after)
        return page.next, page.lines

    def _title(self) -> str:
        return f"Run {self.run_id}: {self.status.value}"

    def _facts(self) -> Mapping[str, Any]:
        seen = self._seen
        return {
            "task": seen.task,
            "round": seen.round_id,
            "provider": seen.provider,
            "created_at": seen.created_at,
            "started_at": seen.started_at,
            "finished_at": seen.finished_at,
            "cost_usd": seen.cost_usd,
            "failure": seen.failure,
            "metrics": ", ".join(f"{name}={html.text(value)}" for name, value in self._measured().items()) or None,
            "files": [file.name for file in seen.artifacts.files or ()] or None,
        }

    def _measured(self) -> dict[str, Any]:
        """The metrics that are one value; histories and the like are for plots."""
        return {name: value for name, value in self.metrics.items() if not isinstance(value, (list, dict))}

    def _repr_html_(self) -> str:
        return self._card()

    def _card(self, below: str = "") -> str:
        facts = {name: value for name, value in self._facts().items() if name != "metrics"}
        measured = [{"metric": name, "value": value} for name, value in self._measured().items()]
        return html.card(self._title(), facts, (html.table(measured) if measured else "") + below)


class _CardShow:
    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._tail: list[str] = []

    def __call__(self, run: Run, lines: list[LogLine]) -> None:
        self._tail = [*self._tail, *(line.text for line in lines)][-TAIL_LINES:]
        self._handle.update(run._card(html.log_lines(self._tail)))  # noqa: SLF001 - same module


class _LineShow:
    def __init__(self) -> None:
        self._status: RunStatus | None = None

    def __call__(self, run: Run, lines: list[LogLine]) -> None:
        if run.status is not self._status:
            self._status = run.status
            sys.stderr.write(f"run {run.run_id}: {run.status.value}\n")
        for line in lines:
            sys.stderr.write(f"  {line.text}\n")
        sys.stderr.flush()


def _flat(file: ArtifactFile) -> str:
    if not _FLAT_NAME.match(file.name):
        raise IntegrityError(f"An artifact is called {file.name!r}, which is no plain file name; nothing was fetched.")
    return file.name

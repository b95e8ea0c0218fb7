"""The fake's training runs: each look moves them on."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from mp_kit import errors
from mp_kit.contracts import (
    ArtifactFile,
    Artifacts,
    Estimate,
    LogLine,
    MachineOffer,
    Provider,
    RunEnvironment,
    RunEvent,
    RunLogs,
    RunStatus,
    TrainingRequest,
    TrainingRun,
)
from mp_kit.testing.rounds import Shelf


class RunDesk:
    """All training runs.

    Args:
        url: Root of the marketplace.
        shelf: The round, and the place for artifacts.
        now: The clock.

    Attributes:
        statuses: What looks at a run show, one after the other.
        streams: Logs are offered as live streams too; each of them is cut off after the lines that are there.
    """

    def __init__(self, url: str, shelf: Shelf, now: Callable[[], datetime]) -> None:
        self._url = url
        self._shelf = shelf
        self._now = now
        self.statuses = [RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.SUCCEEDED]
        self.streams = True
        self._runs: dict[str, tuple[TrainingRun, int]] = {}

    def start(self, body: Any) -> TrainingRun:
        """Orders a run."""
        wanted = TrainingRequest.model_validate(body)
        self._shelf.check(wanted.round_id)
        run = TrainingRun(
            run_id=f"run_{len(self._runs) + 1}",
            provider=wanted.provider,
            status=self.statuses[0],
            created_at=self._now(),
            logs_url=f"{self._url}/api/training/runs/run_{len(self._runs) + 1}/logs",
            task=wanted.task,
            round_id=self._shelf.manifest.round_id,
            state=self.statuses[0].value,
            attempt=1,
            max_cost_usd=wanted.budget.max_cost_usd,
        )
        self._runs[run.run_id] = (run, 1)
        return run

    def estimate(self, body: Any) -> Estimate:
        """Quotes one machine, which costs nothing."""
        wanted = TrainingRequest.model_validate(body)
        offer = MachineOffer(name="fake", stock="any", price_per_hour_usd=0, worst_case_usd=0, fits=True)
        hours = wanted.budget.max_hours or 4.0
        return Estimate(provider=wanted.provider, max_hours=hours, worst_case_usd=0, offers=[offer], committed_usd=0)

    def get(self, run_id: str) -> TrainingRun:
        """A run as it was last seen."""
        return self._find(run_id)[0]

    def files(self, run_id: str) -> list[ArtifactFile]:
        """What a run has given."""
        return self.get(run_id).artifacts.files or []

    def look(self, run_id: str) -> TrainingRun:
        """A look at a run, which moves it on."""
        run, looks = self._find(run_id)
        if not run.status.is_final:
            status = self.statuses[min(looks, len(self.statuses) - 1)]
            update: dict[str, Any] = {"status": status, "state": status.value}
            if update["status"] is RunStatus.SUCCEEDED:
                update |= {"metrics": {"accuracy": 0.5}, "artifacts": self._artifacts()}
            run = run.model_copy(update=update)
            self._runs[run_id] = (run, looks + 1)
        return run

    def _artifacts(self) -> Artifacts:
        contents = {"model.onnx": b"no model", "model_card.json": json.dumps({"model": "fake"}).encode()}
        return Artifacts(files=[self._artifact(name, content) for name, content in contents.items()])

    def _artifact(self, name: str, content: bytes) -> ArtifactFile:
        digest = hashlib.sha256(content).hexdigest()
        self._shelf.files.setdefault(digest, content)
        return ArtifactFile(name=name, size_bytes=len(content), sha256=digest, url=self._shelf.url(digest))

    def looks(self) -> list[TrainingRun]:
        """A look at all runs."""
        return [self.look(run_id) for run_id in self._runs]

    def cancel(self, run_id: str) -> TrainingRun:
        """Ends a run that has not ended."""
        run, looks = self._find(run_id)
        if not run.status.is_final:
            run = run.model_copy(update={"status": RunStatus.CANCELLED, "state": "cancelled"})
        self._runs[run_id] = (run, looks)
        return run

    def environment(self, run_id: str) -> RunEnvironment:
        """What a byoc run's job would need; the fake takes no reports with its token."""
        run, _ = self._find(run_id)
        if run.provider is not Provider.BYOC:
            raise errors.ConflictError(f"Run {run_id} runs on {run.provider.value}: its environment is not handed out.")
        if run.status.is_final:
            raise errors.ConflictError(f"Run {run_id} is {run.status.value}: there is nothing left to run.")
        env = {"MP_API_URL": self._url, "MP_RUN_TOKEN": f"fake.run.{secrets.token_hex(8)}"}
        env |= {"ROUND_ID": run.round_id or "", "TASK": run.task or ""}
        return RunEnvironment(run_id=run_id, env=env, deadline=self._now() + timedelta(hours=1))

    def logs(self, run_id: str, after: int) -> RunLogs:
        """One line per look."""
        run, looks = self._find(run_id)
        lines = [LogLine(seq=seq, at=self._now(), text=f"step {seq}") for seq in range(looks)]
        return RunLogs(logs_url=run.logs_url, lines=lines[after:], next=len(lines), complete=run.status.is_final)

    def stream(self, run_id: str, after: int) -> bytes:
        """A look at a run, and its lines from ``after`` on as server-sent events; at the end an ``end``."""
        self.look(run_id)
        page = self.logs(run_id, after)
        events = [f"id: {line.seq + 1}\r\nevent: log\r\ndata: {line.model_dump_json()}\r\n\r\n" for line in page.lines]
        ends = [f"id: {page.next}\r\nevent: end\r\ndata: {{}}\r\n\r\n"] if page.complete else []
        return "".join([": connected\r\n\r\n", *events, *ends]).encode()

    def events(self, run_id: str) -> list[RunEvent]:
        """One entry for the order, one for each state that a look has shown."""
        run, looks = self._find(run_id)
        shown = dict.fromkeys(self.statuses[min(at, len(self.statuses) - 1)].value for at in range(looks))
        states = [*shown, *([] if run.status.value in shown else [run.status.value])]
        first = RunEvent(seq=0, at=run.created_at, kind="created", means="It was ordered.", to_state=states[0])
        later = [
            RunEvent(seq=seq, at=self._now(), kind="transition", means=f"It is {state}.", to_state=state)
            for seq, state in enumerate(states[1:], start=1)
        ]
        return [first, *later]

    def _find(self, run_id: str) -> tuple[TrainingRun, int]:
        if run_id not in self._runs:
            raise errors.NotFoundError(f"There is no training run {run_id!r}.")
        return self._runs[run_id]

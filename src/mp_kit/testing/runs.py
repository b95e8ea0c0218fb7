"""The fake's training runs: each look moves them on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from mp_kit import errors
from mp_kit.contracts import (
    ArtifactFile,
    Artifacts,
    Estimate,
    LogLine,
    MachineOffer,
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
    """

    def __init__(self, url: str, shelf: Shelf, now: Callable[[], datetime]) -> None:
        self._url = url
        self._shelf = shelf
        self._now = now
        self.statuses = [RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.SUCCEEDED]
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
        )
        self._runs[run.run_id] = (run, 1)
        return run

    def estimate(self, body: Any) -> Estimate:
        """Quotes one machine, which costs nothing."""
        wanted = TrainingRequest.model_validate(body)
        offer = MachineOffer(name="fake", stock="any", price_per_hour_usd=0, worst_case_usd=0, fits=True)
        hours = wanted.budget.max_hours or 4.0
        return Estimate(provider=wanted.provider, max_hours=hours, worst_case_usd=0, offers=[offer], committed_usd=0)

    def look(self, run_id: str) -> TrainingRun:
        """A look at a run, which moves it on."""
        run, looks = self._find(run_id)
        if not run.status.is_final:
            update: dict[str, Any] = {"status": self.statuses[min(looks, len(self.statuses) - 1)]}
            if update["status"] is RunStatus.SUCCEEDED:
                update |= {"metrics": {"accuracy": 0.5}, "artifacts": self._artifacts()}
            run = run.model_copy(update=update)
            self._runs[run_id] = (run, looks + 1)
        return run

    def _artifacts(self) -> Artifacts:
        content = json.dumps({"model": "fake"}).encode()
        digest = hashlib.sha256(content).hexdigest()
        self._shelf.files.setdefault(digest, content)
        file = ArtifactFile(name="model.json", size_bytes=len(content), sha256=digest, url=self._shelf.url(digest))
        return Artifacts(files=[file])

    def looks(self) -> list[TrainingRun]:
        """A look at all runs."""
        return [self.look(run_id) for run_id in self._runs]

    def cancel(self, run_id: str) -> TrainingRun:
        """Ends a run that has not ended."""
        run, looks = self._find(run_id)
        if not run.status.is_final:
            run = run.model_copy(update={"status": RunStatus.CANCELLED})
        self._runs[run_id] = (run, looks)
        return run

    def logs(self, run_id: str, after: int) -> RunLogs:
        """One line per look."""
        run, looks = self._find(run_id)
        lines = [LogLine(seq=seq, at=self._now(), text=f"step {seq}") for seq in range(looks)]
        return RunLogs(logs_url=run.logs_url, lines=lines[after:], next=len(lines), complete=run.status.is_final)

    def _find(self, run_id: str) -> tuple[TrainingRun, int]:
        if run_id not in self._runs:
            raise errors.NotFoundError("No such run.")
        return self._runs[run_id]

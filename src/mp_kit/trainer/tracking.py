"""Logging a training to Weights & Biases (extra ``wandb``), which reads its own ``WANDB_…`` variables.

A fault of the tracker is told once and ends the tracking, never the training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mp_kit.errors import MissingExtraError

__all__ = ["PROJECT", "Tracker"]

PROJECT = "mp-kit"
"""Where no project is named."""

_SECONDS = 60.0


class Tracker:
    """One run at Weights & Biases.

    Args:
        fault: Called with what went wrong; after that the tracker is silent.
    """

    def __init__(self, fault: Callable[[Exception], None]) -> None:
        self._fault = fault
        self._run: Any = None

    def start(self, *, project: str | None, run_id: str, config: Mapping[str, Any], folder: Path) -> None:
        """Begins the run, or takes it up again after a restart.

        Args:
            project: Its name; ``mp-kit`` by default.
            run_id: The training run's, which is the run's there too.
            config: What is to be seen beside the curves.
            folder: Where wandb keeps its files.
        """
        self._guarded(lambda: self._init(project or PROJECT, run_id, dict(config), folder))

    def observe(self, step: int | None, values: Mapping[str, Any]) -> None:
        """Takes a measurement: a step's into the curves, the whole run's into the summary."""
        if self._run is None:
            return
        given = dict(values)
        self._guarded(lambda: self._run.log(given, step=step) if step is not None else self._run.summary.update(given))

    def finish(self, exit_code: int = 0) -> None:
        """Ends the run; what was logged is sent, or kept for ``wandb sync``."""
        if self._run is not None:
            self._guarded(lambda: self._run.finish(exit_code=exit_code))

    def _init(self, project: str, run_id: str, config: dict[str, Any], folder: Path) -> None:
        if find_spec("wandb") is None:
            raise MissingExtraError.for_extra("wandb", "Logging to Weights & Biases")
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        settings = wandb.Settings(console="off", silent=True, init_timeout=_SECONDS, disable_git=True)
        self._run = wandb.init(
            project=project, id=run_id, name=run_id, resume="allow", config=config, dir=str(folder), settings=settings
        )

    def _guarded(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - whatever wandb raises must not cost the vendor the training
            self._run = None
            self._fault(error)

"""How a reference trainer speaks: lines for the log, numbers for the report, warnings that cost nobody the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mp_kit.trainer import report

__all__ = ["Observer", "Telemetry"]

Observer = Callable[[int | None, Mapping[str, Any]], None]
"""Takes a step's number (None for the whole run) and what was measured."""


class Telemetry:
    """What a training tells while it goes on.

    Args:
        observers: Take every measurement, besides the wrapper's report.

    Attributes:
        observers: The same; more may be appended.
        warnings: What was warned of so far.
    """

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self.observers = list(observers)
        self.warnings: list[str] = []

    def say(self, text: str) -> None:
        """One line of the job's log."""
        print(text, flush=True)  # noqa: T201 - a job's stdout is its log

    def metric(self, step: int | None = None, *, total_steps: int | None = None, **values: Any) -> None:
        """Reports what was measured; see :func:`mp_kit.trainer.report.metric`."""
        report.metric(step=step, total_steps=total_steps, **values)
        for observer in self.observers:
            observer(step, values)

    def warn(self, sentence: str) -> None:
        """Says what went wrong beside the training: in the log, and among the run's metrics as ``warnings``."""
        self.warnings.append(sentence)
        self.say(f"warning: {sentence}")
        report.metric(warnings=list(self.warnings))

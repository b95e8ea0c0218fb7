"""A run's metrics as curves, through matplotlib, which is imported when the first plot is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mp_kit.client import plot_style
from mp_kit.client import run_words as words
from mp_kit.client.invalid import invalid_choice
from mp_kit.errors import ConflictError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mp_kit.contracts.training import TrainingRun

__all__ = ["plot_metrics"]

MOST_PANELS = 6
_FEW = 40


def plot_metrics(run: TrainingRun, names: Sequence[str] = ()) -> list[Axes]:
    """Draws a curve per metric, each upon axes of its own, because their scales differ.

    Args:
        run: As last seen.
        names: Which metrics; the first six by default.

    Returns:
        The axes; ``axes[0].figure.savefig("run.svg")`` exports them.

    Raises:
        ConflictError: The job has reported no steps (yet).
        InvalidInputError: There is no such metric.
        MissingExtraError: matplotlib is not installed.
    """
    curves = words.history(run)
    if not curves:
        raise ConflictError(
            f"Run {run.run_id} is {run.status.value} and has reported no metrics by step.",
            hint="The job reports them with mp_kit.trainer.report.metric(step=…, loss=…).",
        )
    for name in names:
        if name not in curves:
            raise invalid_choice("metric of this run", name, list(curves))
    chosen = list(names) or list(curves)[:MOST_PANELS]
    drawn = plot_style.grid(len(chosen), columns=2)
    for ax, name in zip(drawn, chosen, strict=True):
        steps, values = zip(*curves[name], strict=True)
        ax.plot(steps, values, linewidth=1.5, marker="." if len(steps) < _FEW else "")
        plot_style.title(ax, name.replace("_", " "))
        ax.set_xlabel("step")
    return drawn

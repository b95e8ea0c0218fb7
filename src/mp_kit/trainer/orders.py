"""What the reference trainers say of an order before it is one: a job would refuse the same, on a paid machine."""

from __future__ import annotations

from collections.abc import Mapping

from mp_kit.contracts import Task
from mp_kit.contracts.training import HyperParam

__all__ = ["check_hyperparams"]


def check_hyperparams(task: Task, given: Mapping[str, HyperParam]) -> None:
    """Judges hyperparameters as the task's trainer does.

    Raises:
        InvalidInputError: One is unknown or out of its bounds; the message names it, the hint those that are known.
    """
    # Where they are needed: a trainer brings numerics that nobody else waits for.
    if task is Task.SIGNAL:
        from mp_kit.trainer.models import Hyperparams

        Hyperparams.read(given)
    elif task is Task.CONSENSUS:
        from mp_kit.trainer.consensus import ConsensusParams

        ConsensusParams.read(given)
    else:
        from mp_kit.trainer.optimizer import OptimizerParams

        OptimizerParams.read(given)

"""The reference job, ``python -m mp_kit.trainer.job``: spec -> data -> fit -> evaluate -> artifacts -> report.

It runs under the wrapper, which ships what it prints and uploads what it leaves in ``MP_ARTIFACT_DIR``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from mp_kit.contracts.common import Task
from mp_kit.errors import InvalidInputError, MarketplaceError, MissingExtraError
from mp_kit.trainer import report
from mp_kit.trainer.api import RunApi
from mp_kit.trainer.data import fetch, role_of
from mp_kit.trainer.environment import JobEnv

__all__ = ["main", "work"]

_ROLES = ("train", "validation")


def work(environ: Mapping[str, str]) -> None:
    """Does the spec's task.

    Raises:
        InvalidInputError: There is no reference trainer for the task.
        MarketplaceError: The data or the hyperparameters do not do; the message says why.
    """
    env = JobEnv.read(environ)
    if env.task is not Task.SIGNAL:
        raise InvalidInputError(
            f"This release has no reference trainer for the task {env.task.value!r}; it trains 'signal' models.",
            hint="Train with a command of your own: python -m mp_kit.trainer -- COMMAND.",
        )
    try:
        from mp_kit.trainer.signal import train_signal
    except ImportError:
        raise MissingExtraError.for_extra("train", "Training") from None
    wanted = [file for file in env.files if role_of(file.name) in _ROLES]
    api = RunApi(env)
    try:
        paths = fetch(wanted, env.folder / "data", renew=lambda names: api.sign(env.round_id, names))
    finally:
        api.close()
    target = Path(environ.get("MP_ARTIFACT_DIR") or env.folder / "artifacts")
    train_signal(paths, target, hyperparams=env.spec.hyperparams, round_id=env.round_id)


def main() -> int:
    """Runs the job; a failure is told in one sentence and by the exit code 1."""
    try:
        work(os.environ)
    except MarketplaceError as error:
        sentence = " ".join(part for part in (str(error), error.hint) if part)
        report.failure(sentence)
        sys.stderr.write(f"{sentence}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

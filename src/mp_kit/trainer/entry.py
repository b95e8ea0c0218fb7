"""From an environment to an exit code: what ``python -m mp_kit.trainer`` does, with whatever command."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence

from mp_kit.contracts.training import RunOutcome
from mp_kit.trainer.api import RunApi
from mp_kit.trainer.environment import JobEnv
from mp_kit.trainer.patience import Patience
from mp_kit.trainer.runtime import REFERENCE_JOB, Wrapper

__all__ = ["EXIT_CANCELLED", "EXIT_FAILED", "run"]

EXIT_CANCELLED = 143
EXIT_FAILED = 1


def run(command: Sequence[str] = (), environ: Mapping[str, str] | None = None, patience: Patience | None = None) -> int:
    """Runs a job by the environment.

    Args:
        command: What to run; the reference trainer if empty.
        environ: The environment; the process's own by default.
        patience: How long to wait for what.

    Returns:
        The exit code for the process: 0 succeeded, 143 cancelled, else 1.

    Raises:
        SetupError: The environment is incomplete.
    """
    environ = os.environ if environ is None else environ
    env = JobEnv.read(environ)
    api = RunApi(env)
    wrapper = Wrapper(env, api, command or REFERENCE_JOB, environ=environ, patience=patience)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, _frame: wrapper.stop(f"signal {signal.Signals(got).name}"))
    try:
        return _exit_code(wrapper.run())
    finally:
        api.close()


def _exit_code(outcome: RunOutcome) -> int:
    return {"succeeded": 0, "cancelled": EXIT_CANCELLED}.get(outcome.status, EXIT_FAILED)

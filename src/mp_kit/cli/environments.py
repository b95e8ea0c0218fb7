"""A byoc run's environment: printed, or written to a file that only its owner can read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mp_kit.cli.output import emit, say
from mp_kit.errors import SetupError, UnavailableError

if TYPE_CHECKING:
    from mp_kit.client.runs import Run
    from mp_kit.contracts.training import RunEnvironment

__all__ = ["env_lines", "hand_over", "started", "write_env"]


def env_lines(environment: RunEnvironment) -> str:
    """Lines of ``NAME=value`` as ``docker run --env-file`` and ``python -m mp_kit.trainer --env-file`` read them."""
    pairs = [f"{name}={value}" for name, value in environment.env.items()]
    return "\n".join([f"# run {environment.run_id}, until {environment.env['MP_DEADLINE']}", *pairs])


def write_env(environment: RunEnvironment, path: Path) -> None:
    """Writes the lines to a file with mode 0600, also if it was there with another one.

    Raises:
        SetupError: It cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(path, flags, 0o600), "w") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(env_lines(environment) + "\n")
    except OSError as error:
        raise SetupError(f"The file {path} cannot be written: {error.strerror}.") from None


def hand_over(environment: RunEnvironment, output: Path | None, *, as_json: bool) -> None:
    """Prints an environment, or writes it and prints where it lies."""
    if output is None:
        emit(environment, as_json=as_json, text=lambda: env_lines(environment))
        return
    write_env(environment, output)
    facts = {"run_id": environment.run_id, "file": str(output), "deadline": environment.deadline}
    emit(facts, as_json=as_json, text=str(output))


def started(run: Run, output: Path | None, *, as_json: bool) -> None:
    """Shows a byoc run that was just ordered, with its environment.

    The supervisor's first look at the run makes it; where that takes too long, the command that fetches it is named.
    """
    try:
        environment = run.environment()
    except UnavailableError:
        say(f"not prepared yet; fetch its environment with: mp train env {run.run_id}")
        emit(run.record, as_json=as_json, text=run.run_id)
        return
    if output is not None:
        write_env(environment, output)
        emit(run.record, as_json=as_json, text=run.run_id)
        say(f"environment in {output}; run it with: python -m mp_kit.trainer --env-file {output}")
        return
    told = run.record.model_dump(mode="json") | {"environment": environment.env}
    emit(told, as_json=as_json, text=lambda: env_lines(environment))

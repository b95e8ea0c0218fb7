"""``python -m mp_kit.trainer [--env-file FILE] [-- command ...]``: the main process of a training container.

Only what the first process of a container needs is imported here: whatever else is broken, it can still end its pod.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from mp_kit.errors import MarketplaceError, SetupError
from mp_kit.trainer.init import is_wanted, lead

__all__ = ["EXIT_SETUP", "main", "read_env_file"]

EXIT_SETUP = 2
_ENV_FILE = "--env-file"


def main(arguments: list[str]) -> int:
    """Runs the command after ``--``, or the reference trainer.

    Returns:
        The exit code: 0 succeeded, 143 cancelled, 1 failed, 2 the environment is incomplete. In a RunPod pod it does
        not return.
    """
    environ = dict(os.environ)
    try:
        arguments = _take_env_file(arguments, environ)
    except MarketplaceError as error:
        return _complain(error)
    command = arguments[1:] if arguments[:1] == ["--"] else arguments
    if is_wanted(environ):
        return lead(lambda: _work(command, environ), environ, _folder(environ))
    return _work(command, environ)


def read_env_file(path: Path) -> dict[str, str]:
    """Reads lines of ``NAME=value``, as ``docker run --env-file`` does: no quotes, no expansion, ``#`` begins a remark.

    Raises:
        SetupError: It cannot be read.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"The environment file {path} cannot be read: {type(error).__name__}.") from None
    pairs = (line.partition("=") for line in lines if line.strip() and not line.startswith("#"))
    return {name.strip(): value for name, _, value in pairs}


def _take_env_file(arguments: list[str], environ: dict[str, str]) -> list[str]:
    if arguments[:1] != [_ENV_FILE]:
        return arguments
    if len(arguments) < len([_ENV_FILE, "FILE"]):
        raise SetupError(f"{_ENV_FILE} needs a file: python -m mp_kit.trainer {_ENV_FILE} run.env [-- command ...].")
    environ.update(read_env_file(Path(arguments[1])))
    return arguments[2:]


def _folder(environ: Mapping[str, str]) -> Path | None:
    try:
        from mp_kit.trainer.environment import run_folder

        return run_folder(environ)
    except (ImportError, MarketplaceError):
        return None  # the wrapper will say what is wrong, with its exit code


def _work(command: list[str], environ: Mapping[str, str]) -> int:
    from mp_kit.trainer.entry import run

    try:
        return run(command, environ)
    except MarketplaceError as error:
        return _complain(error)


def _complain(error: MarketplaceError) -> int:
    sys.stderr.write(f"{error}\n{error.hint}\n".rstrip() + "\n")
    return EXIT_SETUP


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

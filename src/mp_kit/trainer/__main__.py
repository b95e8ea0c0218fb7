"""``python -m mp_kit.trainer [-- command ...]``: the main process of a training container."""

from __future__ import annotations

import sys

from mp_kit.errors import MarketplaceError
from mp_kit.trainer.runtime import run

EXIT_SETUP = 2


def main(arguments: list[str]) -> int:
    """Runs the command after ``--``, or the reference trainer."""
    command = arguments[1:] if arguments[:1] == ["--"] else arguments
    try:
        return run(command)
    except MarketplaceError as error:
        sys.stderr.write(f"{error}\n{error.hint}\n".rstrip() + "\n")
        return EXIT_SETUP


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Entry point of ``mp``. ``--version`` is answered before anything else is imported."""

from __future__ import annotations

import sys
from typing import NoReturn

from mp_kit.version import __version__


def run() -> NoReturn:
    """Runs the command line of this process and ends it."""
    args = sys.argv[1:]
    if args[:1] in (["--version"], ["-V"]):
        sys.stdout.write(f"mp {__version__}\n")
        sys.exit(0)
    from mp_kit.cli.app import main

    sys.exit(main(args))


if __name__ == "__main__":
    run()

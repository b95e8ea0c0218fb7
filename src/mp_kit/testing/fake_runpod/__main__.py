"""The fake as a program: ``python -m mp_kit.testing.fake_runpod --port 8700 --keys rp-key=25``.

It prints ``ready URL`` and ``folder PATH``, the containers' disks, and serves until it is ended. Nothing survives it;
on Linux not even ``kill -9`` leaves a container behind.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path

from mp_kit.testing.fake_runpod.cloud import Pace
from mp_kit.testing.fake_runpod.fake import FakeRunPod
from mp_kit.testing.fake_runpod.faults import Fault, Faults


def _key(text: str) -> tuple[str, Decimal | None]:
    name, _, credit = text.partition("=")
    try:
        return name, Decimal(credit) if credit else None
    except InvalidOperation:
        raise argparse.ArgumentTypeError(f"{text!r} must be KEY or KEY=US-DOLLARS") from None


def _chance(text: str) -> tuple[str, Fault, float]:
    try:
        operation, fault, chance = text.split(":")
        return operation, Fault(fault), float(chance)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} must be OPERATION:FAULT:CHANCE, create:hidden:0.1 say") from None


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m mp_kit.testing.fake_runpod", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="of the loopback; any free one by default")
    parser.add_argument("--keys", type=_key, nargs="+", default=[("rp-key", None)], metavar="KEY[=USD]")
    parser.add_argument("--folder", type=Path, help="the containers' disks; a temporary folder by default")
    parser.add_argument("--openapi", type=Path, help="RunPod's OpenAPI document, to check each request against")
    parser.add_argument("--pull", type=float, default=1.0, help="seconds that an image pull takes")
    parser.add_argument("--grace", type=float, default=10.0, help="seconds from SIGTERM to SIGKILL")
    parser.add_argument("--seed", type=int, default=7, help="of the faults")
    parser.add_argument("--faults", type=_chance, nargs="*", default=[], metavar="OPERATION:FAULT:CHANCE")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Serves until SIGTERM or SIGINT.

    Returns:
        0; 1 if a request broke RunPod's contract, and then says which.
    """
    given = _arguments(arguments)
    faults = Faults(given.seed)
    for operation, fault, chance in given.faults:
        faults.always(operation, fault, chance)
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    pace = Pace(pull=given.pull, grace=given.grace)
    options = {"port": given.port, "folder": given.folder, "openapi": given.openapi}
    with FakeRunPod(dict(given.keys), faults=faults, pace=pace, **options) as fake:
        sys.stdout.write(f"ready {fake.url}\nfolder {fake.folder}\n")
        sys.stdout.flush()
        over.wait()
        sys.stderr.writelines(f"{violation}\n" for violation in fake.violations)
    return 1 if fake.violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

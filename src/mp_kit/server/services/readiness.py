"""Whether a process can do its work: its database answers, the schema is one that it knows, objects can be reached.

1. What is told outside is a word for each; why one fails is logged, when it begins and when it ends.
2. However often somebody asks, the parts are asked once in a few seconds, and a part that hangs costs one thread.
3. A schema behind the code is failing. One ahead of it is not: a newer release has migrated, and the edges of the last
   one serve until they are replaced.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

from mp_kit.errors import MarketplaceError, NotFoundError
from mp_kit.server.storage import ObjectStore
from mp_kit.server.store.engine import Database

__all__ = ["Readiness", "Ready"]

log = logging.getLogger(__name__)

_PARTS = ("database", "schema", "store")
_NO_OBJECT = "health/none"
_WAIT_SECONDS = 2.5


@dataclass(frozen=True)
class Ready:
    """How the parts are.

    Attributes:
        faults: Why each part fails that does, for the operator's eyes.
        schema: The database's revision; empty where it cannot be read.
    """

    faults: Mapping[str, str]
    schema: str = ""

    @property
    def checks(self) -> dict[str, bool]:
        """Each part, and whether it is well."""
        return {part: part not in self.faults for part in _PARTS}


class Readiness:
    """Asks the parts of one process.

    Args:
        db: Transactions.
        store: Objects.
        keep_seconds: An answer is told again for so long.
        wait_seconds: A part that takes longer is failing.
    """

    def __init__(
        self, db: Database, store: ObjectStore, *, keep_seconds: float = 3.0, wait_seconds: float = _WAIT_SECONDS
    ) -> None:
        self._db = db
        self._store = store
        self._keep_seconds = keep_seconds
        self._wait_seconds = wait_seconds
        self._lock = threading.Lock()
        self._under_way: dict[str, Future[str]] = {}
        self._last: tuple[float, Ready] | None = None

    def ask(self) -> Ready:
        """How the parts are, or were a moment ago."""
        with self._lock:
            if self._last is None or time.monotonic() - self._last[0] > self._keep_seconds:
                found = self._look()
                _tell_changes({} if self._last is None else self._last[1].faults, found.faults)
                self._last = (time.monotonic(), found)
            return self._last[1]

    def _look(self) -> Ready:
        parts: dict[str, Callable[[], str]] = {"database": self._revision, "store": self._reach_store}
        for name, part in parts.items():
            if name not in self._under_way or self._under_way[name].done():  # else it hangs since the last time
                self._under_way[name] = _begin(part)
        wait(self._under_way.values(), self._wait_seconds)
        faults = {name: fault for name, future in self._under_way.items() if (fault := _fault(future))}
        schema = "" if "database" in faults else self._under_way["database"].result()
        if behind := _behind(schema):
            faults["schema"] = behind
        return Ready(faults, schema)

    def _revision(self) -> str:
        from mp_kit.server.store import migrate  # here, so that an edge starts without Alembic

        with self._db.begin() as tx:
            return migrate.revision(tx) or ""

    def _reach_store(self) -> str:
        with suppress(NotFoundError):  # which took the store to say
            self._store.stat(_NO_OBJECT)
        return "reached"


def _begin(part: Callable[[], str]) -> Future[str]:
    """Asks a part in a thread that holds up no end of the process."""
    future: Future[str] = Future()

    def run() -> None:
        try:
            future.set_result(part())
        except Exception as error:  # noqa: BLE001 - told by whoever waits
            future.set_exception(error)

    threading.Thread(target=run, name="readiness", daemon=True).start()
    return future


def _fault(future: Future[str]) -> str:
    if not future.done():
        return "it does not answer in time"
    error = future.exception()
    if error is None:
        return ""
    return str(error) if isinstance(error, MarketplaceError) else type(error).__name__


def _behind(schema: str) -> str:
    if schema in _known()[-1:]:
        return ""
    if not schema:
        return "there are no tables, or nobody can tell: mp admin migrate makes them"
    return f"it is at {schema}, this code wants {_known()[-1]}: run mp admin migrate" if schema in _known() else ""


@cache
def _known() -> tuple[str, ...]:
    from mp_kit.server.store import migrate

    return migrate.known()


def _tell_changes(before: Mapping[str, str], now: Mapping[str, str]) -> None:
    for part, fault in now.items():
        if part not in before:
            log.error("not ready: %s: %s", part, fault)
    for part in before.keys() - now.keys():
        log.warning("ready again: %s", part)

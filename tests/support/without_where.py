"""Takes the vendor's condition out of every query on its way to Postgres: what row-level security is there for.

Only of queries in a vendor's scope: signing in asks for one vendor before there is any.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import event

from mp_kit.server.store import scope
from mp_kit.server.store.engine import Database

_GIVEN = r"\s*=\s*(?:CAST\(\s*)?%\(\w+\)[sbt](?:\s+AS\s+\w+\s*\)|::\w+)?"
_OWNER = re.compile(rf"(?<![\w.])(?:\w+\.)?vendor_id{_GIVEN}", re.IGNORECASE)
_SELF = re.compile(rf"(?<![\w.])marketplace_vendors\.id{_GIVEN}", re.IGNORECASE)
_READS = re.compile(r"(?:\s|--[^\n]*\n)*(?:SELECT|WITH|\()", re.IGNORECASE)


def stripped(query: str, *, itself: bool = True) -> str:
    """A reading query in which every ``vendor_id = :given`` is true; others as they are.

    Args:
        query: As the driver gets it.
        itself: Also of the vendor's own row, without which nobody stays signed in unless a policy finds it.
    """
    if not _READS.match(query):
        return query
    query = _OWNER.sub("true", query)
    return _SELF.sub("true", query) if itself else query


class _Forgetful(psycopg.Cursor[Any]):
    """A cursor that forgets whose rows were asked for."""

    itself = True

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        """Executes what is left."""
        if scope.present().kind == "vendor":
            said = query.decode() if isinstance(query, bytes) else query
            query = stripped(said, itself=self.itself) if isinstance(said, str) else query
        return super().execute(query, *args, **kwargs)


class _ForgetfulOfOthers(_Forgetful):
    """One that still finds the vendor's own row."""

    itself = False


@contextmanager
def forgetting(db: Database, *, itself: bool = True) -> Iterator[None]:
    """Every connection that the database opens meanwhile forgets; see :func:`stripped`."""

    def forget(connection: Any, _: object) -> None:
        connection.cursor_factory = _Forgetful if itself else _ForgetfulOfOthers

    event.listen(db._engine, "connect", forget)
    yield
    event.remove(db._engine, "connect", forget)

"""Buckets of tokens that all processes share: statements that run on a connection of their own, outside the pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import psycopg

from mp_kit.errors import DatabaseDownError
from mp_kit.server.store.engine import Database
from mp_kit.server.store.queries import named

__all__ = ["Ask", "Buckets", "Grant"]

_BOUNDS = {"connect_timeout": 2, "options": "-c timezone=UTC -c statement_timeout=2000", "tcp_user_timeout": 3_000}


class Ask(NamedTuple):
    """What a process wants of a bucket.

    Args:
        key: The bucket.
        step: Seconds in which it gains a token.
        burst: Tokens that it holds when it is full.
        need: Tokens for requests that wait.
        share: Eighths of the rest that are leased beside them.
        back: Tokens leased before and not spent, which go back.
    """

    key: str
    step: float
    burst: int
    need: int
    share: int = 1
    back: int = 0


class Grant(NamedTuple):
    """What it got.

    Args:
        granted: Tokens that are the process's now.
        full_in: Seconds until the bucket is full again.
    """

    granted: int
    full_in: float


class Buckets:
    """The buckets in the database; one thread's, who connects when it is asked and again after a failure.

    Args:
        db: The marketplace's database.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._connection: psycopg.Connection | None = None

    def take(self, asks: Sequence[Ask]) -> dict[str, Grant]:
        """Leases tokens; asks are one a bucket.

        Raises:
            DatabaseDownError: They could not be leased.
        """
        columns = zip(*sorted(asks), strict=True)  # in one order everywhere: no deadlocks
        names = ("keys", "steps", "bursts", "needs", "shares", "backs")
        values = {name: list(column) for name, column in zip(names, columns, strict=True)}
        rows = self._execute("take_tokens", values)
        return {key: Grant(granted, full_in) for key, granted, full_in in rows}

    def forget_full(self) -> None:
        """Forgets buckets that are full again.

        Raises:
            DatabaseDownError: They could not be forgotten.
        """
        self._execute("forget_buckets")

    def close(self) -> None:
        """Closes the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _execute(self, name: str, values: dict[str, list[object]] | None = None) -> list[tuple[str, int, float]]:
        try:
            if self._connection is None:
                self._connection = self._db.connect(**_BOUNDS)
            cursor = self._connection.execute(named(name).encode(), values, prepare=True, binary=True)
            return cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            self.close()
            raise DatabaseDownError("The limits' buckets cannot be reached.", retry_after=1) from error

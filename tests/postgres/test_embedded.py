"""The embedded server's life: starts, stops, murders, and the identities that it runs under."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from mp_kit.errors import DatabaseDownError, SetupError
from mp_kit.server.store import dropping, embedded, pgbin, pgprocess
from mp_kit.server.store.dropping import Identity
from mp_kit.server.store.embedded import Server

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has another identity to take")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="death signals and /proc are Linux's")

START = "import sys; from pathlib import Path; from mp_kit.server.store import embedded as e; "


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for one server, which is stopped afterwards; its path is short, because a socket's has 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="mp-", ignore_cleanup_errors=True) as name:
        yield Path(name) / "home" / "postgres"
        embedded.stop(Path(name) / "home" / "postgres", "immediate")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every account may enter: pytest's own is closed to others."""
    made = Path(tempfile.mkdtemp(prefix="mp-test-"))
    made.chmod(0o755)
    yield made
    embedded.stop(made / "postgres", "immediate")
    shutil.rmtree(made)


def python(code: str, *args: object, **options: object) -> subprocess.Popen[str]:
    """Another process that may import mp_kit, with its stdout at hand."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    argv = [sys.executable, "-c", START + code, *map(str, args)]
    return subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload,no-any-return]


def until(condition: Callable[[], bool], seconds: float = 30) -> bool:
    """Waits for something that another process brings about."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def write_rows(server: Server, count: int) -> None:
    """Commits rows one by one."""
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
        for number in range(count):
            connection.execute("INSERT INTO kept VALUES (%s)", [number])


def count_rows(server: Server) -> int:
    with psycopg.connect(server.url("postgres")) as connection:
        row = connection.execute("SELECT count(*) FROM kept").fetchone()
    return int(row[0]) if row else -1


def test_stop_of_nothing_is_fine(folder: Path):
    """No folder, no server: nothing to stop, and nothing is made."""
    embedded.stop(folder)
    assert not folder.exists()


def test_start_refuses_a_data_folder_of_a_version_that_is_not_here(folder: Path):
    """The refusal names both versions and what to install."""
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "PG_VERSION").write_text("9.6\n")
    with pytest.raises(SetupError, match="PostgreSQL 9") as caught:
        embedded.start(folder)
    assert "postgresql-9" in caught.value.hint


def test_start_says_which_folder_it_cannot_use(tmp_path: Path):
    """A file in the way is named, with the system's reason."""
    (tmp_path / "home").touch()
    with pytest.raises(SetupError, match=r"home/postgres cannot be used: (Not a directory|File exists)"):
        embedded.start(tmp_path / "home" / "postgres")


def test_start_shows_the_log_of_a_server_that_does_not_come_up(folder: Path):
    """A broken configuration is quoted from the log, and no process stays."""
    embedded.start(folder)
    embedded.stop(folder)
    with (folder / "data" / "postgresql.conf").open("a") as conf:
        conf.write("\nno_such_setting = 1\n")
    with pytest.raises(SetupError, match="ended at start") as caught:
        embedded.start(folder)
    assert "no_such_setting" in caught.value.hint
    assert pgprocess.living(folder / "data") == set()


def test_ensure_database_says_when_the_server_is_gone(folder: Path):
    """A dead server is the retryable database error, not the driver's."""
    with pytest.raises(DatabaseDownError):
        embedded.ensure_database(Server(folder / "data", folder / "socket", 1), "mp")


def test_start_cold_then_adopt_then_stop_then_warm(folder: Path):
    """A killed initdb's leavings don't matter; a second start adopts; rows survive a restart."""
    (folder / "data.new").mkdir(parents=True)
    (folder / "data.new" / "leavings").touch()
    server = embedded.start(folder)
    assert server == embedded.start(folder)
    write_rows(server, 3)
    embedded.stop(folder)
    assert pgprocess.living(folder / "data") == set()
    again = embedded.start(folder)
    assert count_rows(again) == 3
    assert server.pid != again.pid


def test_start_is_closed_to_others(folder: Path):
    """No TCP port is open, and the folders of data and socket are their owner's alone."""
    server = embedded.start(folder)
    with psycopg.connect(server.url("postgres")) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        assert connection.execute("SHOW fsync").fetchone() == ("on",)
    assert [path.stat().st_mode & 0o777 for path in (folder, server.data, server.socket_dir)] == [0o700] * 3


def test_ensure_database_twice_with_a_name_that_needs_quoting(postgres: Server):
    """The name goes through SQL and URL unharmed."""
    name = 'a "b" c/d'
    embedded.ensure_database(postgres, name)
    embedded.ensure_database(postgres, name)
    with psycopg.connect(postgres.url(name)) as connection:
        assert (name,) == connection.execute("SELECT current_database()").fetchone()


def test_kill_of_the_postmaster_keeps_committed_rows(folder: Path):
    """Started again at once, while its backends may still live and its pid is a zombie's."""
    for expected in (50, 100):
        server = embedded.start(folder)
        write_rows(server, 50)
        os.kill(server.pid, signal.SIGKILL)
        assert expected == count_rows(embedded.start(folder))


@on_linux
def test_a_busy_orphan_of_a_killed_postmaster_does_not_block_the_next_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    """A backend in the middle of a long query does not notice the death: it is told to go."""
    monkeypatch.setattr(embedded, "_ORPHAN_QUIT_SECONDS", 0.1)
    server = embedded.start(folder)
    with closing(psycopg.connect(server.url("postgres"), autocommit=True)) as busy:
        backend = busy.info.backend_pid
        busy.pgconn.send_query(b"DO $$ BEGIN LOOP NULL; END LOOP; END $$")
        assert until(lambda: _is_active(server, backend))
        os.kill(server.pid, signal.SIGKILL)
        write_rows(again := embedded.start(folder), 1)
        assert backend not in pgprocess.living(again.data)


def _is_active(server: Server, backend: int) -> bool:
    with psycopg.connect(server.url("postgres")) as connection:
        row = connection.execute("SELECT state FROM pg_stat_activity WHERE pid = %s", [backend]).fetchone()
    return row == ("active",)


def test_a_stale_pid_of_another_live_process_is_no_server(folder: Path):
    """Pid files that name a stranger are removed, and the stranger is left alone."""
    server = embedded.start(folder)
    pid_file, lock = server.data / "postmaster.pid", server.socket_dir / ".s.PGSQL.5432.lock"
    texts = {path: path.read_text() for path in (pid_file, lock)}
    embedded.stop(folder)
    with subprocess.Popen(["sleep", "60"]) as stranger:
        for path, text in texts.items():
            path.write_text(text.replace(str(server.pid), str(stranger.pid), 1))
        assert stranger.pid != embedded.start(folder).pid
        embedded.stop(folder)
        assert stranger.poll() is None
        stranger.kill()


def test_four_cold_starts_at_once_make_one_server(folder: Path):
    """Whoever comes first makes the data folder; the others adopt its server."""
    code = "print(e.start(Path(sys.argv[1])).pid)"
    starters = [python(code, folder) for _ in range(4)]
    pids = {starter.communicate(timeout=60)[0] for starter in starters}
    assert [starter.returncode for starter in starters] == [0] * 4
    assert {f"{embedded.start(folder).pid}\n"} == pids


def test_long_home_uses_a_short_socket_folder(tmp_path: Path):
    """The short folder is private, and goes with the server."""
    folder = tmp_path / ("long" * 20) / "postgres"
    server = embedded.start(folder)
    try:
        write_rows(server, 1)
        assert folder not in server.socket_dir.parents
        assert server.socket_dir.stat().st_mode & 0o777 == 0o700
    finally:
        embedded.stop(folder)
    assert not server.socket_dir.exists()


def test_long_home_refuses_a_squatted_socket_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder that others can enter is not used for the socket."""
    monkeypatch.setattr(tempfile, "tempdir", tempfile.mkdtemp(prefix="mp-test-"))
    folder = tmp_path / ("long" * 20)
    squatted = embedded._socket_dir(folder, Identity())
    squatted.chmod(0o755)
    with pytest.raises(SetupError, match="0700"):
        embedded._socket_dir(folder, Identity())
    shutil.rmtree(tempfile.gettempdir())


@on_linux
def test_die_with_parent_shuts_down_cleanly_on_kill(folder: Path):
    """``kill -9`` of the owner is a fast shutdown of the server, not a crash."""
    code = "print(e.start(Path(sys.argv[1]), die_with_parent=True).pid, flush=True); sys.stdin.read()"
    with python(code, folder, stdin=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        write_rows(server := Server(folder / "data", folder / "socket", pid), 5)
        owner.kill()
        assert until(lambda: not pgprocess.living(server.data))
    assert "database system is shut down" in (folder / "postgres.log").read_text().splitlines()[-1]
    assert count_rows(embedded.start(folder)) == 5


@on_linux
def test_kill_of_the_whole_process_group_then_start_at_once(folder: Path):
    """The start after it waits for what still shuts down, and no committed row is lost."""
    code = "print(e.start(Path(sys.argv[1]), die_with_parent=True).pid, flush=True); sys.stdin.read()"
    with python(code, folder, stdin=subprocess.PIPE, start_new_session=True) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        write_rows(Server(folder / "data", folder / "socket", pid), 5)
        os.killpg(owner.pid, signal.SIGKILL)
        owner.wait()
        assert count_rows(server := embedded.start(folder)) == 5
    assert pid != server.pid


@as_root
def test_a_thread_that_a_fork_brings_along(tmp_path: Path):
    """Libraries start threads after a fork (OpenTelemetry does): root's server has its namespace all the same."""
    hook = "import os, threading; "
    hook += "os.register_at_fork(after_in_child=threading.Thread(target=threading.Event().wait, daemon=True).start); "
    code = "from mp_kit.server.store import dropping; print(dropping.choose(Path(sys.argv[1])).namespace_uid)"
    told = []
    for before in ("", hook):
        process = python(before + code, tmp_path / "data")
        told.append(process.communicate(timeout=60)[0])
    assert told[0] == told[1]


@as_root
def test_root_without_namespaces_drops_to_an_account(open_folder: Path):
    """The data folder becomes the account's and stays so, namespaces or not."""
    _skip_where_closed()
    folder = open_folder / "postgres"
    server = embedded.start(folder, namespaces=False)
    write_rows(server, 2)
    owner = server.data.stat().st_uid
    assert owner == dropping._first_account().pw_uid
    embedded.stop(folder)
    assert count_rows(embedded.start(folder)) == 2
    assert owner == server.data.stat().st_uid


@as_root
def test_root_hands_its_own_data_folder_over_when_namespaces_go_away(open_folder: Path):
    """A home that once ran in a namespace still starts where namespaces are forbidden."""
    _skip_where_closed()
    write_rows(embedded.start(open_folder / "postgres"), 2)
    embedded.stop(open_folder / "postgres")
    assert count_rows(embedded.start(open_folder / "postgres", namespaces=False)) == 2


@as_root
def test_root_never_opens_a_closed_parent(open_folder: Path):
    """The refusal names the first closed folder; its mode is as before."""
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(SetupError, match=f"cannot enter {closed}\\."):
        embedded.start(closed / "home" / "postgres", namespaces=False)
    assert closed.stat().st_mode & 0o777 == 0o700


@as_root
def test_root_copies_binaries_that_the_account_cannot_reach(open_folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Once, whole, readable by all; the closed installation stays closed."""
    monkeypatch.setattr(dropping, "_COPY_PLACES", (open_folder,))
    programs = open_folder / "closed" / "install" / "bin"
    programs.mkdir(parents=True)
    (programs / "postgres").write_text("#!/bin/sh\n")
    (programs / "postgres").chmod(0o700)
    (open_folder / "closed").chmod(0o700)
    identity, found = Identity(account=pwd.getpwnam("nobody")), pgbin.Binaries(programs, 18)
    copy = dropping.prepare(identity, open_folder, found)
    assert open_folder == copy.folder.parents[1]
    assert (copy.folder / "postgres").stat().st_mode & 0o777 == 0o755
    assert copy == dropping.prepare(identity, open_folder, found)
    assert (open_folder / "closed").stat().st_mode & 0o777 == 0o700


@as_root
def test_an_ordinary_user_runs_it_as_itself(open_folder: Path, postgres: Server):
    """A process of the account ``nobody`` starts, writes and stops a server of its own."""
    _skip_where_closed("nobody")
    count_before = postgres.pid  # the driver is loaded: nobody may not read the interpreter's own folders
    account = pwd.getpwnam("nobody")
    os.chown(open_folder, account.pw_uid, account.pw_gid)
    child = os.fork()  # not subprocess: the interpreter itself may lie in root's closed home
    if child == 0:
        os._exit(_as_user(account, open_folder / "postgres"))
    assert (child, 0) == os.waitpid(child, 0)
    assert account.pw_uid == (open_folder / "postgres" / "data").stat().st_uid
    assert count_before == postgres.pid


def _as_user(account: pwd.struct_passwd, folder: Path) -> int:
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    try:
        write_rows(server := embedded.start(folder), 4)
        rows = count_rows(server)
        embedded.stop(folder)
    except BaseException as error:  # noqa: BLE001 (it is shown, and the exit status tells the test)
        os.write(2, repr(error).encode())
        return 1
    return 0 if rows == 4 and not pgprocess.living(server.data) else 1


def _skip_where_closed(name: str = "") -> None:
    account = pwd.getpwnam(name) if name else dropping._first_account()
    if not dropping._reaches(Identity(account=account), pgbin.find().folder / "postgres"):
        pytest.skip("this checkout lies below a folder that other accounts cannot enter")

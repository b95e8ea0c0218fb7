"""deployments/postgres/roles.sql, run by psql as an administrator who is no superuser: a managed Postgres."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg
import pytest
from sqlalchemy import text

from mp_kit.server.store import migrate, pgbin
from mp_kit.server.store.engine import Database
from mp_kit.server.store.scope import EDGE_ROLE, PUBLIC, within

if TYPE_CHECKING:
    from mp_kit.server.store.embedded import Server

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deployments" / "postgres" / "roles.sql"
PASSWORDS = {"MP_OWNER_PASSWORD": "one", "MP_EDGE_PASSWORD": "two", "MP_PREFECT_PASSWORD": "three"}


@pytest.fixture(scope="module")
def managed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of its own, because roles belong to all databases of one; its administrator is no superuser."""
    from mp_kit.server.store import embedded

    folder = tmp_path_factory.mktemp("managed")
    server = embedded.start(folder, die_with_parent=True)
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute("CREATE ROLE admin LOGIN CREATEROLE CREATEDB")
    yield server
    embedded.stop(folder)


def url(server: Server, user: str, database: str) -> str:
    return f"postgresql://{user}@/{database}?host={quote(str(server.socket_dir))}"


def run(server: Server) -> subprocess.CompletedProcess[str]:
    psql = pgbin.find().folder / "psql"
    command = [str(psql), "-X", url(server, "admin", "postgres"), "-f", str(SCRIPT)]
    return subprocess.run(command, env=os.environ | PASSWORDS, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def made(managed: Server) -> Server:
    """Run twice: a second time changes nothing."""
    for _ in range(2):
        done = run(managed)
        assert 0 == done.returncode, done.stderr
    return managed


def test_roles_own_what_they_should(made: Server):
    """The owner its database, the edge nothing; none may make roles, none passes by policies."""
    with psycopg.connect(made.url("postgres")) as connection:
        owners = dict(
            connection.execute(
                "SELECT datname, datdba::regrole::text FROM pg_database WHERE datname IN ('marketplace', 'prefect')"
            ).fetchall()
        )
        rights = connection.execute(
            "SELECT bool_or(rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls) FROM pg_roles"
            " WHERE rolname LIKE 'mp_%'"
        ).fetchone()
    assert {"marketplace": "mp_owner", "prefect": "mp_prefect"} == owners
    assert (False,) == rights


def test_passwords_are_set(made: Server):
    """Each role that may log in has one, as a digest."""
    with psycopg.connect(made.url("postgres")) as connection:
        kept = dict(
            connection.execute(
                "SELECT rolname, rolpassword FROM pg_authid WHERE rolname LIKE 'mp_%' AND rolcanlogin"
            ).fetchall()
        )
    assert {"mp_owner", "mp_edge", "mp_prefect"} == set(kept)
    assert all(word.startswith("SCRAM-SHA-256$") for word in kept.values())


def test_owner_migrates_and_the_edge_may_come_in(made: Server):
    """As `mp admin migrate` does; Prefect's role gets its extension; each stays out of the other's database."""
    db = Database(url(made, "mp_owner", "marketplace"))
    with db.begin() as tx:
        migrate.upgrade(tx)
    db.close()
    edge = Database(url(made, "mp_edge", "marketplace"), role=EDGE_ROLE)
    with within(PUBLIC), edge.begin() as tx:
        assert [] == tx.execute(text("SELECT id FROM models")).all()
    edge.close()
    with (
        psycopg.connect(url(made, "mp_edge", "marketplace")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("DROP TABLE marketplace_vendors")
    with psycopg.connect(url(made, "mp_prefect", "prefect"), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION pg_trgm")
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(url(made, "mp_edge", "prefect"))


def test_prefects_database_may_be_made_anew(made: Server):
    """By the same administrator, who does not own it: the way back over a newer Prefect (docs/deploy.md)."""
    with psycopg.connect(url(made, "mp_prefect", "prefect"), autocommit=True) as connection:
        connection.execute("CREATE TABLE of_a_newer_release ()")
    with psycopg.connect(url(made, "admin", "postgres"), autocommit=True) as connection:
        connection.execute("DROP DATABASE prefect")
    assert 0 == run(made).returncode
    with psycopg.connect(url(made, "mp_prefect", "prefect")) as connection:
        assert (None,) == connection.execute("SELECT to_regclass('of_a_newer_release')").fetchone()


def test_missing_password_stops_the_script(managed: Server):
    """Nothing is half made: psql stops at the first statement without it."""
    psql = pgbin.find().folder / "psql"
    env = {name: value for name, value in os.environ.items() if name not in PASSWORDS}
    command = [str(psql), "-X", url(managed, "admin", "postgres"), "-f", str(SCRIPT)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert 0 != done.returncode

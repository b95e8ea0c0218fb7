"""Fixtures shared by every layer: one embedded Postgres per session, an empty database per need."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # a run of the unit tests alone never imports the database driver
    from mp_kit.server.house import House
    from mp_kit.server.store.embedded import Server
    from mp_kit.server.store.engine import Database, Tx

_MARKETPLACE = re.compile(r"\b(marketplace|vendor_notebook): ")
"""A test's argument: the fixtures of the one marketplace."""


def pytest_configure() -> None:
    """No test trusts an authority of the machine's, and reading all of them costs each HTTP client 30 ms."""
    for name in ("SSL_CERT_DIR", "SSL_CERT_FILE"):
        os.environ.setdefault(f"MACHINES_{name}", os.environ.pop(name, ""))  # for what fetches packages
    os.environ["SSL_CERT_FILE"] = str(Path(__file__).parent / "support" / "nobody.pem")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keeps a file in one process, and together whatever uses the one marketplace, so that it is started once.

    xdist's own groups have no effect since pytest 9.2: they stand in an attribute of tests that nobody reads any more.
    """
    from xdist.scheduler import LoadFileScheduling

    class ByMarketplace(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "the marketplace" if _uses_the_marketplace(config.rootpath / file) else file

    return ByMarketplace(config, log)


@functools.cache
def _uses_the_marketplace(file: Path) -> bool:
    return file.parent.name == "acceptance" and bool(_MARKETPLACE.search(file.read_text(encoding="utf-8")))


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An embedded Postgres in a temporary folder; it goes with the test process, however that ends."""
    from mp_kit.server.services import tokens
    from mp_kit.server.store import embedded

    folder = tmp_path_factory.mktemp("postgres")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens, "COST", replace(tokens.COST, time_cost=1, memory_cost=64))  # a fourth of edges' time
        yield embedded.start(folder, die_with_parent=True)
    embedded.stop(folder)


@pytest.fixture
def create_database(postgres: Server) -> Iterator[Callable[[], str]]:
    """A factory of empty databases: each call gives the URL of a new one; all are dropped afterwards."""
    import psycopg

    from mp_kit.server.store import embedded

    names: list[str] = []

    def create() -> str:
        names.append(f"test_{next(_numbers)}")
        embedded.ensure_database(postgres, names[-1])
        return postgres.url(names[-1])

    yield create
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        for name in names:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
def template(postgres: Server) -> str:
    """Name of a database with our schema, migrated once; others are cloned from it."""
    from mp_kit.server.store import embedded, migrate
    from mp_kit.server.store.engine import Database

    embedded.ensure_database(postgres, "template_mp")
    db = Database(postgres.url("template_mp"))
    with db.begin() as tx:
        migrate.upgrade(tx)
    db.close()
    return "template_mp"


@pytest.fixture(scope="session")
def migrated_url(postgres: Server, template: str) -> Callable[[], str]:
    """A factory of migrated databases; they live until the server ends."""
    import psycopg

    def create() -> str:
        name = f"mp_{next(_numbers)}"
        with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return postgres.url(name)

    return create


@pytest.fixture(scope="session")
def shared_db(migrated_url: Callable[[], str]) -> Iterator[Database]:
    """One migrated database for every test that rolls back."""
    from mp_kit.server.store.engine import Database

    db = Database(migrated_url())
    yield db
    db.close()


@pytest.fixture
def tx(shared_db: Database) -> Iterator[Tx]:
    """A transaction that is rolled back at the end of the test."""
    with contextlib.suppress(_RollbackError), shared_db.begin() as open_tx:
        yield open_tx
        raise _RollbackError


@pytest.fixture(scope="module")
def house(migrated_url: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house over a database and a home of the module's own."""
    from mp_kit.server import settings as settings_module
    from mp_kit.server.wiring import build

    home = tmp_path_factory.mktemp("home")
    settings_module.ensure_secrets(home)
    env = {"MP_DATABASE_URL": migrated_url(), "MP_ALLOW_LOCAL": "1", "MP_LIMITS": "off"}
    built = build(settings_module.load(home, env))
    yield built
    built.close()


class _RollbackError(Exception):
    """Ends a test's transaction."""


@pytest.fixture
def postgres_url(create_database: Callable[[], str]) -> str:
    """The URL of an empty database."""
    return create_database()


_numbers = itertools.count(1)

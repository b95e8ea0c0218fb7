"""Fixtures shared by every layer: one embedded Postgres per session, an empty database per need."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # a run of the unit tests alone never imports the database driver
    from mp_kit.server.store.embedded import Server


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An embedded Postgres in a temporary folder; it goes with the test process, however that ends."""
    from mp_kit.server.store import embedded

    folder = tmp_path_factory.mktemp("postgres")
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


@pytest.fixture
def postgres_url(create_database: Callable[[], str]) -> str:
    """The URL of an empty database."""
    return create_database()


_numbers = itertools.count(1)

"""A real edge over loopback: uvicorn in a thread, a migrated database and a home of the module's own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from types import SimpleNamespace

import httpx
import pytest
from desks import Visitor
from github_visits import Person, Persons
from oauth_server import OAuthServer, github

from mp_kit.contracts import DeploymentRequest
from mp_kit.server.house import House
from mp_kit.server.processes import free_port
from mp_kit.server.services import deployments, vendors
from mp_kit.server.wiring import build
from tests.support.edges import serving


@pytest.fixture(scope="module")
def edge_house(house: House) -> Iterator[House]:
    """The house with its base URL set to where the edge listens."""
    built = build(replace(house.settings, base_url=f"http://127.0.0.1:{free_port()}"))
    yield built
    built.close()


@pytest.fixture(scope="module")
def edge(edge_house: House) -> Iterator[httpx.Client]:
    """A client of the running edge."""
    with serving(edge_house), httpx.Client(base_url=edge_house.settings.base_url, timeout=30) as client:
        yield client


@pytest.fixture
def new_vendor(edge_house: House) -> Callable[[], SimpleNamespace]:
    """A factory of vendors: id, key, headers."""

    def create() -> SimpleNamespace:
        with edge_house.db.begin() as tx:
            made = vendors.create(tx, edge_house.tokens, f"vendor {time.monotonic_ns()}", actor="test")
        return SimpleNamespace(id=made.vendor_id, key=made.api_key, name=made.name, headers=bearing(made.api_key))

    return create


@pytest.fixture
def vendor(new_vendor: Callable[[], SimpleNamespace]) -> SimpleNamespace:
    """A vendor."""
    return new_vendor()


@pytest.fixture
def visitor(edge: httpx.Client, vendor: SimpleNamespace) -> Iterator[Visitor]:
    """The vendor, signed in to the console."""
    with Visitor(str(edge.base_url), vendor.key) as made:
        yield made


@pytest.fixture
def other(edge: httpx.Client, new_vendor: Callable[[], SimpleNamespace]) -> Iterator[Visitor]:
    """Another vendor, signed in to the console."""
    with Visitor(str(edge.base_url), new_vendor().key) as made:
        yield made


@pytest.fixture
def deployment(edge_house: House, vendor: SimpleNamespace) -> SimpleNamespace:
    """A deployment of the vendor's: id, token, headers."""
    wanted = DeploymentRequest(name="live", provider="byoc", image="none")
    with edge_house.db.begin() as tx:
        made = deployments.create(tx, edge_house.tokens, vendor.id, wanted, actor="test")
    return SimpleNamespace(id=made.deployment_id, token=made.infra_token, headers=bearing(made.infra_token or ""))


@pytest.fixture(scope="module")
def hub() -> Iterator[OAuthServer]:
    """A GitHub."""
    with github() as made:
        yield made


@pytest.fixture
def persons(edge: httpx.Client, hub: OAuthServer) -> Iterator[Persons]:
    """A factory of persons."""
    hub.misdeeds.clear()
    with ExitStack() as stack:
        yield lambda: stack.enter_context(Person(str(edge.base_url), hub))


@pytest.fixture
def person(persons: Persons) -> Person:
    """Somebody."""
    return persons()


@pytest.fixture
def login(hub: OAuthServer) -> str:
    """An account at GitHub that no other test has."""
    number = len(hub.accounts) + 5_000
    hub.accounts[f"user{number}"] = number
    return f"user{number}"


def bearing(token: str) -> dict[str, str]:
    """The header that bears a token."""
    return {"Authorization": f"Bearer {token}"}

"""A vendor's routes with every condition on the vendor out of every query: the database alone keeps others' rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from desks import Visitor
from edges import answering
from litestar import Litestar
from sqlalchemy import text

from mp_kit.server.edge.app import create_app
from mp_kit.server.house import House
from mp_kit.server.processes import free_port
from mp_kit.server.services import vendors
from mp_kit.server.store.engine import Database
from mp_kit.server.store.scope import EDGE_ROLE
from tests.support.belongings import furnish_all
from tests.support.without_where import forgetting, stripped

OTHER = "zebu"  # four letters, so that the end of a credential can bear it
PARAMETERS = {
    "deployment_id": "dep",
    "hook_id": "whk",
    "model_id": "mod",
    "report_id": "rep",
    "run_id": "run",
    "webhook_id": "whk",
}
"""A path's parameter, and what the other vendor's id of that kind ends with."""
WORDS = {"name": "wandb"}
"""Parameters that are words of the contract."""
OWNERS = "postgres"

CANNOT_LEAK = {
    "/api/marketplace/vendor/me": "this walk leaves the vendor's own row alone",
    "/api/rounds": "rounds are everybody's",
    "/api/vendors/me": "as above",
    "/marketplace/device": "a form for a code",
    "/marketplace/vendor/reports/{report_id}": "its document is not in the store",
    "/marketplace/vendor/training/new": "rounds and machines",
}
"""Routes where even the owner's connection shows nothing of others, and why."""


@dataclass
class Walk:
    """What a walk along every route found: statuses by route, and where anything of another vendor's was."""

    statuses: dict[str, int] = field(default_factory=dict)
    leaks: set[str] = field(default_factory=set)


def vendors_routes(house: House) -> list[str]:
    """Paths that a vendor may GET: those whose guards let a vendor in."""
    app: Any = create_app(house)
    while not isinstance(app, Litestar):  # below what wraps it
        app = app._app
    found = set()
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            if "GET" in getattr(handler, "http_methods", ()) and any(map(admits_vendors, handler.resolve_guards())):
                found.add(re.sub(r":\w+}", "}", route.path))
    return sorted(found)


def admits_vendors(guard: Any) -> bool:
    """Whether a guard asks for a vendor."""
    kinds = [cell.cell_contents for cell in guard.__closure__ or ()]
    return guard.__name__ == "signed_in" or any(isinstance(each, tuple) and "vendor" in each for each in kinds)


def path_of(route: str, mark: str) -> str:
    """The route for the things of a vendor; a parameter that is new has to be named above."""
    return re.sub(r"{(\w+)}", lambda found: WORDS.get(found[1]) or mark + PARAMETERS[found[1]], route)


@pytest.fixture(scope="module")
def me(edge_house: House) -> SimpleNamespace:
    """A vendor with nothing, among two with something everywhere, one of them with a model in pilot."""
    with edge_house.db.begin() as tx:
        made = vendors.create(tx, edge_house.tokens, "looking on", actor="test")
        furnish_all(tx, OTHER, 1, "shadow")
        furnish_all(tx, f"2{OTHER}", 2, "pilot")
    return SimpleNamespace(id=made.vendor_id, key=made.api_key)


@pytest.fixture
def walk(edge_house: House, me: SimpleNamespace) -> Callable[[str], Walk]:
    """Visits every route of a vendor for the others' things, over an edge that forgets its WHEREs."""

    def visit(role: str) -> Walk:
        done, db = Walk(), Database(edge_house.settings.database_url, role=role)
        settings = replace(edge_house.settings, base_url=f"http://127.0.0.1:{free_port()}")
        house = replace(edge_house, db=db, settings=settings)
        with forgetting(db, itself=role == EDGE_ROLE), answering(house), Visitor(settings.base_url, me.key) as visitor:
            for route in vendors_routes(house):
                path = path_of(route, OTHER)
                headers = {"Authorization": f"Bearer {me.key}"} if route.startswith("/api/") else {}
                answer = visitor.client.get(path, headers=headers)
                done.statuses[route] = answer.status_code
                asked = [part for part in path.split("/") if part.startswith(OTHER)]
                said = re.sub("|".join(asked) or "$^", "", answer.text)  # a refusal may repeat what was asked
                if OTHER in said or (asked and answer.is_success):
                    done.leaks.add(route)
        db.close()
        return done

    return visit


def test_conditions_are_taken_out():
    """However they are written; what is no condition on the vendor stays, and so does what writes."""
    before = "SELECT 1 FROM t WHERE t.vendor_id = %(vendor_id)s AND t.id = %(id)s::VARCHAR"
    assert "SELECT 1 FROM t WHERE true AND t.id = %(id)s::VARCHAR" == stripped(before)
    for condition in ("vendor_id = %(a)s::VARCHAR", "m.vendor_id = CAST(%(viewer)s AS text)", "vendor_id=%(v)b"):
        assert "WITH x AS (SELECT 1 WHERE true)" == stripped(f"WITH x AS (SELECT 1 WHERE {condition})")
    writing = "UPDATE t SET vendor_id = %(v)s"
    assert (writing, "SELECT d.vendor_id = m.vendor_id") == (
        stripped(writing),
        stripped("SELECT d.vendor_id = m.vendor_id"),
    )


def test_no_route_shows_another_vendors_rows(walk: Callable[[str], Walk]):
    """Every one answers as if there were nobody else: lists are empty, things are absent, nothing breaks."""
    done = walk(EDGE_ROLE)
    assert len(done.statuses) >= 40
    assert set() == done.leaks
    assert {200, 404} == set(done.statuses.values()), done.statuses
    assert {404} == {status for route, status in done.statuses.items() if "_id}" in route}


def test_without_the_policies_the_same_walk_leaks(walk: Callable[[str], Walk]):
    """As the tables' owner each of these routes shows others' things, or breaks over so many."""
    done = walk(OWNERS)
    quiet = {route for route, status in done.statuses.items() if status < 500 and route not in done.leaks}
    assert set(CANNOT_LEAK) == quiet
    assert len(done.leaks) >= 30


def test_deeds_are_recorded_with_address_and_outcome(edge: httpx.Client, edge_house: House, vendor: SimpleNamespace):
    """Through the edge the log says from where; the operator's own commands come from nowhere."""
    made = edge.post("/api/vendors/keys", json={"name": "spare"}, headers=vendor.headers)
    assert 200 == made.status_code, made.text
    entry = text("SELECT address, outcome FROM audit_log WHERE action = :action AND detail::text LIKE :about")
    with edge_house.db.begin() as tx:
        given = {"action": "key.create", "about": f"%{vendor.id}%"}
        assert ("127.0.0.1", "done") == tuple(tx.execute(entry, given).one())
        created = text("SELECT address, outcome FROM audit_log WHERE action = 'vendor.create' AND subject = :id")
        assert (None, "done") == tuple(tx.execute(created, {"id": vendor.id}).one())

"""A run token does its own run's calls and nothing else: every route that the OpenAPI document tells is tried."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from mp_kit.server.house import House

RUN = "/api/training/runs/{run_id}"
OWN = {
    ("POST", f"{RUN}/heartbeat"): {},
    ("POST", f"{RUN}/logs"): {"seq": 0, "lines": []},
    ("POST", f"{RUN}/artifacts"): {"name": "model.onnx", "size_bytes": 1, "sha256": "a" * 64},
    ("POST", f"{RUN}/finish"): {"status": "failed", "failure": "a stranger says so"},
    ("POST", "/api/datasets/signed-urls"): {"round_id": "rnd"},
}
"""The calls of a job, each with a body that would do."""

ABOUT_ITSELF = ("POST", "/api/tokens/introspect")


@pytest.fixture
def round_of(edge_house: House) -> None:
    """A current round without files, and another one."""
    with edge_house.db.begin() as tx:
        tx.execute(
            text("INSERT INTO signing_keys (id, public_key) VALUES ('key', 'x') ON CONFLICT DO NOTHING"),
        )
        for name in ("rnd", "other"):
            tx.execute(
                text(
                    "INSERT INTO dataset_rounds (id, name, is_current, fingerprint, manifest, manifest_sha256,"
                    " manifest_key_id, manifest_signature) VALUES (:name, :name, :name = 'rnd', :name, 'x', :sha,"
                    " 'key', 'x') ON CONFLICT DO NOTHING"
                ),
                {"name": name, "sha": "0" * 64},
            )


@pytest.fixture
def new_run(
    edge: httpx.Client, edge_house: House, new_vendor: Callable[[], SimpleNamespace], round_of: None
) -> Callable[..., SimpleNamespace]:
    """A factory of runs: id, vendor, and the headers of its token."""
    assert round_of is None

    def order(vendor: SimpleNamespace | None = None) -> SimpleNamespace:
        vendor = vendor or new_vendor()
        body = {"round_id": "rnd", "task": "signal", "provider": "local"}
        run_id = edge.post("/api/training/runs", json=body, headers=vendor.headers).json()["data"]["run_id"]
        token = edge_house.tokens.run_token(run_id, vendor.id, datetime.now(UTC) + timedelta(minutes=5))
        return SimpleNamespace(id=run_id, vendor=vendor, headers={"Authorization": f"Bearer {token}"})

    return order


def private_routes(edge: httpx.Client) -> Iterator[tuple[str, str]]:
    """Method and path of every route that wants a token."""
    for path, item in edge.get("/openapi.json").json()["paths"].items():
        for method, operation in item.items():
            if operation["security"]:
                yield method.upper(), path


def ask(edge: httpx.Client, route: tuple[str, str], run_id: str, headers: dict[str, str], **body: Any) -> int:
    """The status of a call about a run."""
    path = re.sub(r"\{(\w+)\}", lambda found: run_id if found[1] == "run_id" else "x", route[1])
    sent = {"json": body or OWN.get(route, {})} if route[0] in {"POST", "PUT", "PATCH"} else {}
    return edge.request(route[0], path, headers=headers, **sent).status_code


def everything_of(house: House, run: SimpleNamespace) -> list[Any]:
    """Whatever a call could have changed about a run and its vendor."""
    tables = ("training_runs WHERE id = :run", "run_events WHERE run_id = :run", "run_logs WHERE run_id = :run")
    tables += ("run_artifacts WHERE run_id = :run", "vendor_connections WHERE vendor_id = :vendor")
    with house.db.begin() as tx:
        values = {"run": run.id, "vendor": run.vendor.id}
        return [[tuple(row) for row in tx.execute(text(f"SELECT * FROM {one}"), values)] for one in tables]  # noqa: S608 - our own names


@pytest.mark.parametrize("same_vendor", [False, True])
def test_token_of_another_run(
    edge: httpx.Client, edge_house: House, new_run: Callable[..., SimpleNamespace], same_vendor: bool
):
    """Of another vendor's run or of a neighbour: it is refused everywhere, and changes nothing."""
    victim = new_run()
    stranger = new_run(victim.vendor if same_vendor else None)
    before = everything_of(edge_house, victim)
    routes = [route for route in private_routes(edge) if route != ABOUT_ITSELF]
    assert set(OWN) < set(routes)
    answers = {
        route: ask(edge, route, victim.id, stranger.headers)
        for route in routes
        if route[1] != "/api/datasets/signed-urls"
    }
    assert {} == {route: status for route, status in answers.items() if status not in {403, 404}}
    assert {404} == {status for route, status in answers.items() if route in OWN}
    assert before == everything_of(edge_house, victim)


def test_own_token_does_its_own_calls_only(edge: httpx.Client, new_run: Callable[..., SimpleNamespace]):
    """What is not a job's call is refused although the run is its own."""
    run = new_run()
    routes = sorted(private_routes(edge), key=lambda route: route[1].endswith("/finish"))
    allowed = {route for route in routes if ask(edge, route, run.id, run.headers) != 403}
    assert {*OWN, ABOUT_ITSELF} & set(routes) == allowed


def test_token_reads_no_other_round(edge: httpx.Client, new_run: Callable[..., SimpleNamespace]):
    """Only its run's."""
    run = new_run()
    route = ("POST", "/api/datasets/signed-urls")
    assert [200, 403] == [ask(edge, route, run.id, run.headers, round_id=name) for name in ("rnd", "other")]


def test_token_tells_of_itself_only(edge: httpx.Client, new_run: Callable[..., SimpleNamespace]):
    """Introspection by bearer speaks of the bearer."""
    run, other = new_run(), new_run()
    told = edge.post("/api/tokens/introspect", json={}, headers=run.headers).json()
    assert other.vendor.id not in str(told)


@pytest.mark.parametrize(
    ("claims", "status"),
    [({"aud": "session"}, 401), ({"exp": 1}, 401), ({"sub": "run_of_nobody"}, 404)],
    ids=["another audience", "expired", "no such run"],
)
def test_forged_or_old_tokens(
    edge: httpx.Client,
    edge_house: House,
    new_run: Callable[..., SimpleNamespace],
    claims: dict[str, Any],
    status: int,
):
    """The marketplace's own signature is not enough."""
    import jwt

    run = new_run()
    token = run.headers["Authorization"].removeprefix("Bearer ")
    secret = edge_house.settings.jwt_secret
    told = jwt.decode(token, secret, algorithms=["HS256"], options={"verify_aud": False}) | claims
    headers = {"Authorization": f"Bearer {jwt.encode(told, secret, algorithm='HS256')}"}
    assert status == ask(edge, ("POST", f"{RUN}/heartbeat"), run.id, headers)

"""The whole OpenAPI document, asked by everybody, well and badly: no 5xx, no lie about the schema, no leak."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest
from accounts import standing_in
from fuzzing import LEAKS, World, operations, play, populate

from mp_kit.server.house import House
from mp_kit.server.processes import free_port
from mp_kit.server.wiring import build


@pytest.fixture(scope="module")
def edge_house(house: House) -> Iterator[House]:
    """A house that reaches nobody but stand-ins on loopback."""
    base = f"http://127.0.0.1:{free_port()}"
    with standing_in() as accounts:
        urls = {name: f"{accounts.url}/{name}" for name in ("runpod", "hf", "wandb")}
        asked = {"runpod_url": urls["runpod"], "huggingface_url": urls["hf"], "wandb_url": urls["wandb"]}
        built = build(replace(house.settings, base_url=base, webhook_allow_private=True, **asked))
        yield built
        built.close()


@pytest.fixture(scope="module")
def world(edge: httpx.Client, edge_house: House) -> World:
    """Somebody of each kind, and a vendor's things."""
    return populate(edge, edge_house)


def test_each_operation(world: World):
    """Few requests to each operation; everything that the document names is reached by somebody."""
    reached = {one.label: play(world, one, examples=1) for one in operations(world.url)}
    assert len(reached) > 60
    unreached = [label for label, answers in reached.items() if {status for _, status in answers} <= {401, 403}]
    assert [] == unreached


@pytest.mark.hardening
@pytest.mark.timeout(1800)
def test_each_operation_at_length(world: World):
    """Some hundred requests to each operation."""
    for one in operations(world.url):
        play(world, one, examples=60)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
def test_methods_that_a_route_does_not_have(edge: httpx.Client, world: World, method: str):
    """405 that names the methods there are, or 404; with a token as without, in the envelope."""
    paths = edge.get("/openapi.json").json()["paths"]
    for path, its in paths.items():
        if method.lower() in its or method == "OPTIONS":
            continue
        asked = path.format_map(dict.fromkeys(("delivery_id",), "x") | dict(world.ids))
        response = edge.request(method, asked, headers=dict(world.callers["vendor"]))
        assert (405, "method_not_allowed") == (response.status_code, response.json()["code"]), (method, path)
        assert {name.upper() for name in its if name != "parameters"} <= set(response.headers["allow"].split(", "))


def test_a_parameter_that_is_named_twice(edge: httpx.Client):
    """Whoever stands before us could have read the other one."""
    response = edge.get("/api/consensus?symbol=EURUSD&symbol=GBPUSD")
    assert (422, [{"loc": ["query", "symbol"], "msg": "it is named twice"}]) == (
        response.status_code,
        response.json()["details"],
    )
    assert 200 == edge.get("/api/consensus?symbol=EURUSD&timeframe=1h").status_code


@pytest.mark.parametrize(
    "text",
    [
        "Traceback (most recent call last)",
        'File "/srv/mp_kit/x.py", line 3',
        "psycopg.errors.UniqueViolation",
        "SELECT id FROM vendors",
        "INSERT INTO vendors",
    ],
)
def test_what_counts_as_a_leak(text: str):
    """The rule that the answers are held to sees what it is for."""
    assert LEAKS.search(text)

"""Being asked, over a real edge: wanted, refused, shown; and a real server whose answer becomes consensus."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from polls import live, poller
from servers import Momentum

from mp_kit.contracts import Stage
from mp_kit.server.house import House
from mp_kit.server.services import consensus, models
from mp_kit.server.services.poller import ask_all
from mp_kit.serving.app import Application
from mp_kit.serving.web import WebServer


@pytest.fixture
def server() -> Any:
    """A vendor's server, as `mp_kit.serving` runs it."""
    app = Application()
    app.load(Momentum())
    web = WebServer(app, "127.0.0.1", 0)
    web.start()
    yield SimpleNamespace(url=f"http://127.0.0.1:{web.port}/infer", app=app)
    web.close()


@pytest.fixture
def rehearsed(edge_house: House) -> Any:
    """The edge lets vendors' URLs stay on this machine, for the length of a test."""
    guard = edge_house.poster.guard
    object.__setattr__(guard, "allow_private", True)
    yield
    object.__setattr__(guard, "allow_private", False)


def test_urls_that_are_not_asked(edge: httpx.Client, vendor: SimpleNamespace, deployment: SimpleNamespace):
    """Refused where they are given, each with the rule; nothing is stored."""
    where = f"/api/deployments/{deployment.id}"
    for url in ("http://example.com/infer", "https://127.0.0.1/infer", "https://10.0.0.1/", "https://a:b@example.com/"):
        for method, path, body in (
            ("PATCH", where, {"poll": True, "infer_url": url}),
            ("POST", "/api/deployments", {"name": "n", "provider": "byoc", "poll": True, "infer_url": url}),
        ):
            answer = edge.request(method, path, json=body, headers=vendor.headers)
            assert (422, ["infer_url"]) == (answer.status_code, answer.json()["details"][0]["loc"]), answer.text
    for body in ({"poll": True}, {}, {"poll_symbols": ["A B"]}):
        assert 422 == edge.patch(where, json=body, headers=vendor.headers).status_code
    assert "polling" not in edge.get(where, headers=vendor.headers).json()["data"]
    assert [vendor.id] == [edge.get("/api/vendors/me", headers=vendor.headers).json()["data"]["id"]]


def test_another_vendors_deployment_does_not_exist(edge: httpx.Client, new_vendor: Any, deployment: SimpleNamespace):
    """Neither to be asked, nor to be read."""
    other = new_vendor().headers
    where = f"/api/deployments/{deployment.id}"
    assert 404 == edge.patch(where, json={"poll": False}, headers=other).status_code
    assert 404 == edge.get(f"{where}/polls", headers=other).status_code
    assert 403 == edge.get(f"{where}/polls", headers=deployment.headers).status_code


@pytest.mark.usefixtures("rehearsed")
def test_from_a_bars_close_to_the_consensus(
    edge: httpx.Client, edge_house: House, vendor: SimpleNamespace, server: SimpleNamespace
):
    """A deployment that its vendor runs says that it wants to be asked; the next closed bar is its signal."""

    def call(method: str, path: str, body: Any = None) -> Any:
        answer = edge.request(method, path, json=body, headers=vendor.headers)
        assert 200 == answer.status_code, answer.text
        return answer.json()["data"]

    wanted = {"name": "trend", "task": "signal", "version": Momentum.version}
    model = call("POST", "/api/vendors/models", wanted)
    with edge_house.db.begin() as tx:
        change = {"actor": "test", "reason": None}
        models.change_stage(tx, vendor.id, model["model_id"], Momentum.version, Stage.PILOT, **change)
    made = call("POST", "/api/deployments", {"name": "live", "provider": "byoc", "model_id": model["model_id"]})
    where = f"/api/deployments/{made['deployment_id']}"
    shown = call("PATCH", where, {"poll": True, "infer_url": server.url, "poll_symbols": ["EURUSD"]})
    assert (True, "closed", ["EURUSD"]) == tuple(shown["polling"][name] for name in ("poll", "breaker", "symbols"))
    assert "is asked at each bar's close" in shown["words"]

    bars = live("EURUSD", "GBPUSD")
    [asked] = ask_all(poller(edge_house, seconds=10), bars, seconds=30)
    assert ("accepted", "EURUSD") == (asked.outcome, asked.symbol), asked
    [poll] = call("GET", f"{where}/polls")
    assert ("accepted", 200, False) == (poll["outcome"], poll["http_status"], poll["late"])
    [said] = call("GET", f"/api/signals?deployment_id={made['deployment_id']}")
    assert ("BUY", Momentum.version, vendor.id) == (said["decision"], said["model_version"], said["vendor_id"])
    with edge_house.db.begin() as tx:
        consensus.refresh(tx)
    blended = edge.get("/api/consensus/latest", params={"symbol": "EURUSD", "timeframe": "1m"}).json()["data"]
    assert made["deployment_id"] in str(blended["contributions"])
    assert "is not" not in call("PATCH", where, {"poll": False})["words"]

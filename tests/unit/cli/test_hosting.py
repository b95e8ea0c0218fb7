"""``mp deploy``, ``mp deployments`` and ``mp link-infra`` against the fake: what is meant where little is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import Momentum

from mp_kit.cli import session
from mp_kit.contracts import HostingState
from mp_kit.serving.app import Application
from mp_kit.serving.web import WebServer
from mp_kit.testing import FakeMarketplace, sample_bars


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeMarketplace:
    """A marketplace whose round has bars; nobody waits."""
    found = FakeMarketplace({("features", "EURUSD"): sample_bars(650)})
    monkeypatch.setattr(session, "transport", found.transport)
    monkeypatch.setattr(session, "sleep", lambda _: None)
    monkeypatch.setattr("mp_kit.cli.hosting._POLL_SECONDS", 0.0)
    return found


@pytest.fixture
def run(mp: Any, signed_in: FakeMarketplace) -> str:  # noqa: ARG001 - the fixture signs in
    """A run that succeeded."""
    started = str(mp("train", "start", "--json").data["run_id"])
    assert 0 == mp("train", "wait", started).code
    return started


def test_deploy_without_a_model_says_how_to_get_one(mp: Any, signed_in: FakeMarketplace):
    """Exit 5, the next two commands, and nothing was ordered."""
    said = mp("deploy", "--json")
    assert (5, "You have no model to deploy yet.") == (said.code, said.error["message"])
    assert "mp register" in said.error["hint"]
    assert [] == signed_in.deployments.all()


def test_deploy_takes_the_only_model(mp: Any, run: str):
    """As the guide says it: no more than a provider; of several one must be named."""
    assert 0 == mp("register", "--name", "trend", "--run-id", run).code
    live = mp("deploy", "--provider", "runpod", "--json").data
    assert ("trend", "running", "mod_1") == (live["name"], live["hosting"]["state"], live["model_id"])
    assert 0 == mp("register", "--name", "other", "--run-id", run).code
    said = mp("deploy", "--json")
    assert (5, "You have 2 models: other, trend.") == (said.code, said.error["message"])
    assert "trend:0.1.0" in mp("deploy", "--model", "trend:0.1.0", "--name", "again", "--dry-run").out


def test_deploy_in_a_projects_folder_takes_its_model(
    mp: Any, run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """`mp init --name trend` made the folder; of several models the one of its name is meant."""
    for name in ("trend", "other"):
        assert 0 == mp("register", "--name", name, "--run-id", run).code
    (tmp_path / "trend").mkdir()
    monkeypatch.chdir(tmp_path / "trend")
    assert "trend" == mp("deploy", "--json").data["name"]


def test_deploy_waits_until_it_runs_or_cannot(mp: Any, fake: FakeMarketplace, run: str):
    """A failed launch is exit 7 with the reason, one that never ends exit 8 with where to look."""
    mp("register", "--name", "trend", "--run-id", run)
    fake.deployments.states = [HostingState.QUEUED, HostingState.FAILED]
    said = mp("deploy", "--name", "bad", "--json")
    assert (7, True) == (said.code, "The test said so." in said.error["message"])
    fake.deployments.states = [HostingState.QUEUED]
    said = mp("deploy", "--name", "slow", "--wait", "0.01", "--json")
    assert (8, True) == (said.code, "mp deployments logs" in said.error["hint"])


def test_deployments_by_name(mp: Any, run: str):
    """Logs, scale, stop, start, remove; an unknown name is exit 4."""
    mp("register", "--name", "trend", "--run-id", run)
    mp("deploy", "--provider", "local")
    assert "trend is online" in mp("deployments", "status", "trend").out
    assert "ready\n" == mp("deployments", "logs", "trend", "--tail", "1").out
    assert 3 == mp("deployments", "scale", "trend", "--max", "3", "--json").data["hosting"]["workers_max"]
    assert "stopped" == mp("deployments", "stop", "trend", "--json").data["hosting"]["wanted"]
    assert "running" == mp("deployments", "start", "trend", "--json").data["hosting"]["wanted"]
    assert 0 == mp("deployments", "remove", "trend").code
    assert 4 == mp("deployments", "stop", "nothing").code


def test_link_infra_takes_the_only_deployment(mp: Any, run: str):
    """The one that mp deploy made; by name; a new one where a new name is said or several are there."""
    mp("register", "--name", "trend", "--run-id", run)
    mp("deploy")
    said = mp("link-infra", "--json")
    assert ("dep_1", True) == (said.data["deployment_id"], "trend is there already" in said.err)
    assert "dep_2" == mp("link-infra", "--name", "mine", "--json").data["deployment_id"]
    assert "dep_1" == mp("link-infra", "--deployment", "trend", "--json").data["deployment_id"]
    assert "dep_3" == mp("link-infra", "--test", "--json").data["deployment_id"]
    assert ["default", "mine", "trend"] == [one["name"] for one in mp("deployments", "list", "--json").data]


@pytest.fixture
def asked(mp: Any, fake: FakeMarketplace, run: str) -> Iterator[WebServer]:
    """A server that answers in a deployment's place."""
    mp("register", "--name", "trend", "--run-id", run)
    mp("deploy", "--provider", "local")
    app = Application()
    app.load(Momentum())
    web = WebServer(app, "127.0.0.1", 0)
    web.start()
    fake.deployments._change("dep_1", {"endpoint": f"http://127.0.0.1:{web.port}"})
    fake.deployments.states = [HostingState.LAUNCHING]  # looks leave the address as it is
    yield web
    web.close()


def test_a_server_is_asked_with_bars_of_the_round(mp: Any, asked: WebServer):  # noqa: ARG001 - the fixture serves
    """Its answer on stdout; a symbol that the round lacks is exit 5."""
    said = mp("deployments", "ask", "trend", "--symbol", "EURUSD", "--json")
    assert (0, "m-1") == (said.code, said.data["model_version"])
    assert "mp signals list --deployment dep_1" in said.err
    assert 5 == mp("deployments", "ask", "trend", "--symbol", "XAUUSD").code


def test_a_server_that_cannot_be_asked(mp: Any, asked: WebServer, fake: FakeMarketplace):
    """No address, no key for its host, a wrong key, nobody there: each says what to do."""
    ask = ("deployments", "ask", "trend", "--symbol", "EURUSD", "--json")
    fake.deployments._change("dep_1", {"provider": "runpod"})
    said = mp(*ask)
    assert (1, True) == (said.code, "RUNPOD_API_KEY is not set" in said.error["message"])
    fake.deployments._change("dep_1", {"provider": "local"})
    asked.close()
    said = mp(*ask)
    assert (9, True) == (said.code, "no answer" in said.error["message"])
    fake.deployments._change("dep_1", {"endpoint": None})
    said = mp(*ask)
    assert (7, True) == (said.code, "has no address" in said.error["message"])

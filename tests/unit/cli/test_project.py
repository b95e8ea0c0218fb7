"""``mp init``, ``mp dev`` and ``mp validate``, in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import Momentum

from mp_kit.cli import session
from mp_kit.client.marketplace import Marketplace
from mp_kit.contracts import ValidationReport
from mp_kit.serving.app import Application
from mp_kit.serving.web import WebServer
from mp_kit.testing import FakeMarketplace, sample_bars


@pytest.fixture
def url() -> Iterator[str]:
    """A good server."""
    app = Application()
    app.load(Momentum())
    web = WebServer(app, "127.0.0.1", 0)
    web.start()
    yield f"http://127.0.0.1:{web.port}"
    web.close()


@pytest.fixture
def round_(mp: Any, monkeypatch: pytest.MonkeyPatch) -> FakeMarketplace:
    """A marketplace whose round has bars, signed in to."""
    fake = FakeMarketplace({("features", "EURUSD"): sample_bars(650)})
    monkeypatch.setattr(session, "transport", fake.transport)
    assert 0 == mp("login", "--api-url", fake.url, "--api-key", fake.api_key).code
    return fake


def test_init_needs_no_marketplace(mp: Any):
    """The paths on stdout, the next step on stderr."""
    said = mp("init", "--template", "consensus-http", "--name", "Blend It")
    assert 0 == said.code
    assert "cd blend-it" in said.err
    assert all(Path(line).is_file() for line in said.out.splitlines())


def test_init_as_json(mp: Any):
    """What was made, and where."""
    data = mp("init", "--template", "runpod-signal-train", "--dir", "here", "--json").data
    assert ("my-model", "here", True) == (data["name"], data["dir"], data["written"])
    assert "train.py" in data["files"]


def test_init_does_not_write_over(mp: Any):
    """Exit 7 as a conflict; --force does it."""
    codes = [mp("init", "--template", "consensus-http", *more).code for more in ([], [], ["--force"])]
    assert [0, 7, 0] == codes


def test_init_can_be_tried(mp: Any):
    """Nothing is written."""
    said = mp("init", "--template", "consensus-http", "--dry-run", "--json")
    assert (0, False, False) == (said.code, said.data["written"], Path("my-model").exists())


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (["--template", "runpod-magic"], "runpod-magic"),
        (["--template", "consensus-http", "--name", "///"], "///"),
        (["--template", "consensus-http", "--model", "nowhere"], "model_card.json"),
        (["--template", "optimizer-http", "--symbols", "EURUSD,,"], "symbol"),
    ],
)
def test_init_refuses(args: list[str], word: str, mp: Any):
    """Exit 5 with the culprit."""
    said = mp("init", *args, "--json")
    assert (5, True) == (said.code, word in said.error["message"])


@pytest.mark.usefixtures("round_")
def test_validate_with_bars_of_the_round(mp: Any, url: str):
    """A report that holds; exit 0."""
    said = mp("validate", "--url", url, "--max-p95-ms", "60000", "--json")
    report = ValidationReport.model_validate(said.data)
    assert (0, True, True) == (said.code, report.passed, report.holds)
    assert report.bars.startswith("round_")


def test_validate_uses_kept_bars(mp: Any, url: str, round_: FakeMarketplace):
    """Where the marketplace is gone; it says so."""
    mp("validate", "--url", url, "--max-p95-ms", "60000")
    from mp_kit.errors import UnavailableError

    round_.fail(UnavailableError("down"), times=100)
    said = mp("validate", "--url", url, "--max-p95-ms", "60000")
    assert (0, True) == (said.code, "which were kept" in said.err)


@pytest.mark.usefixtures("round_")
def test_validate_shows_a_table(mp: Any, url: str):
    """And what to mend; exit 5 when something fails."""
    said = mp("validate", "--url", url, "--max-p95-ms", "0.001")
    assert 5 == said.code
    assert "concurrency" in said.out
    assert "To mend:" in said.out
    assert "NOT valid" in said.out


@pytest.mark.usefixtures("round_")
def test_rejected_server_as_json(mp: Any, url: str):
    """The report on stdout, the error on stderr."""
    said = mp("validate", "--url", url, "--max-p95-ms", "0.001", "--json")
    assert (5, False) == (said.code, said.data["passed"])
    assert [["latency", "POST /infer"]] == [detail["loc"] for detail in said.error["details"]]


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["--url", "ftp://x", "--bars", "EURUSD.csv"], 5),
        (["--url", "http://127.0.0.1:1", "--task", "magic", "--bars", "EURUSD.csv"], 5),
        (["--url", "http://127.0.0.1:1", "--bearer-env", "NOT_SET", "--bars", "EURUSD.csv"], 1),
        (["--url", "http://127.0.0.1:1"], 1),
        (["--url", "http://127.0.0.1:1", "--bars", "nowhere.csv"], 5),
        ([], 5),
    ],
    ids=["scheme", "task", "bearer", "no-bars", "no-file", "no-project"],
)
def test_validate_refuses(args: list[str], code: int, mp: Any):
    """Before anything is asked."""
    bars = sample_bars(20).to_pandas()
    bars.to_csv("EURUSD.csv", index=False)
    assert code == mp("validate", *args, "--json").code


def test_server_that_is_not_there_is_a_report(mp: Any):
    """Every check failed; exit 5."""
    sample_bars(700).to_pandas().to_csv("EURUSD.csv", index=False)
    said = mp("validate", "--url", "http://127.0.0.1:1", "--bars", "EURUSD.csv", "--json")
    assert (5, {"failed"}) == (said.code, {check["status"] for check in json.loads(said.out)["checks"]})


def test_dev_needs_a_project(mp: Any):
    """Exit 5 with how to make one."""
    said = mp("dev", "--json")
    assert (5, True) == (said.code, "mp init" in said.error["hint"])


def test_validate_writes_its_report(mp: Any, url: str, round_: FakeMarketplace, tmp_path: Path):  # noqa: ARG001 - the fixture signs in
    """A table to read and a file to register with; a place that is none is exit 5."""
    place = tmp_path / "report.json"
    said = mp("validate", "--url", url, "--max-p95-ms", "60000", "--report", str(place))
    assert (0, True) == (said.code, "valid:" in said.out)
    assert ValidationReport.model_validate_json(place.read_text()).holds
    assert 5 == mp("validate", "--url", url, "--max-p95-ms", "60000", "--report", str(tmp_path)).code


def test_validate_leaves_the_notebooks_connection_open(mp: Any, url: str, round_: FakeMarketplace):
    """`%mp validate` borrows it: the next cell goes on with it."""
    with Marketplace(round_.url, round_.api_key, transport=round_.transport) as market, session.using(market):
        assert 0 == mp("validate", "--url", url, "--max-p95-ms", "60000").code
        assert "ACME" == market.me().name

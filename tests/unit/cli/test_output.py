"""What `mp` says to people, and what to programs: whole cells, plain words, each thing once, where to look."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from mp_kit.cli import admin, admin_reports, output
from mp_kit.client import run_words
from mp_kit.client.proofs import Verified
from mp_kit.client.pushes import FlushResult, PushResult
from mp_kit.contracts import TrainingRun
from mp_kit.errors import InvalidInputError, NotFoundError
from mp_kit.server.prefect_api import PrefectApi
from mp_kit.testing import FakeMarketplace

Mp = Any


def test_table_is_whole_in_a_pipe():
    """A program wants the cell, not its beginning."""
    code = (
        "from mp_kit.cli.output import emit, table; rows = [{'a': 'x' * 99}];"
        "emit(rows, as_json=False, text=lambda: table(rows, ['a']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ["a", "x" * 99] == done.stdout.splitlines()


def test_table_is_cut_for_people():
    """Elsewhere a long cell would push the others out of sight."""
    assert "…" in output.table([{"a": "x" * 99}], ["a"])


@pytest.mark.parametrize("told", ["2026-11-29T18:35:00Z", "2026-11-29T18:35:00.123456Z"])
def test_table_shows_times_as_people_read_them(told: str):
    """The operator's as the vendors'; what merely looks alike stays."""
    assert ["at", "2026-11-29 18:35:00Z"] == output.table([{"at": told}], ["at"]).splitlines()
    assert "2026-11-29T18" in output.table([{"at": "2026-11-29T18"}], ["at"])


@pytest.mark.parametrize(
    ("value", "said"),
    [({"bars": 1}, "bars 1"), ({}, "nothing"), ([], "none"), (["dep_1", "dep_2"], "dep_1, dep_2"), (None, "-")],
)
def test_plain_words(value: Any, said: str):
    """No braces and quotes of Python's."""
    assert said == output.worded(value)


def test_error_says_a_single_finding_once(capsys: pytest.CaptureFixture[str]):
    """Several are listed below the sentence, which has the first alone."""
    one = {"loc": ["a"], "msg": "b"}
    output.fail(InvalidInputError("X breaks the contract: a: b.", details=[one]), as_json=False)
    assert "error: X breaks the contract: a: b.\n" == capsys.readouterr().err
    output.fail(
        InvalidInputError("X breaks the contract: a: b.", details=[one, {"loc": ["c"], "msg": "d"}]), as_json=False
    )
    assert ["  a: b", "  c: d"] == capsys.readouterr().err.splitlines()[1:]


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        (("train", "status", "run_9"), "mp train list"),
        (("deployments", "status", "dep_9"), "mp deployments list"),
        (("deployments", "status", "nope"), "mp deployments list"),
        (("models", "lineage", "nope"), "mp models list"),
        (("models", "promote", "trend", "9", "pilot"), "mp models lineage"),
    ],
)
def test_what_is_not_there_says_where_to_look(mp: Mp, signed_in: FakeMarketplace, command: tuple[str, ...], hint: str):  # noqa: ARG001 - the fixture signs in
    """For people and as JSON."""
    mp("register", "--name", "trend")
    said = mp(*command, "--json")
    assert (4, True) == (said.code, hint in said.error["hint"])
    assert hint in mp(*command).err


@pytest.mark.parametrize(
    "command",
    [
        ("leaderboard", "-t", "7m"),
        ("leaderboard", "--mine", "-t", "7m"),
        ("signals", "list", "--timeframe", "7m"),
        ("consensus", "show", "EURUSD", "-t", "7m"),
        ("consensus", "history", "EURUSD", "-t", "7m"),
    ],
)
def test_timeframe_that_is_none_names_those_there_are(mp: Mp, signed_in: FakeMarketplace, command: tuple[str, ...]):
    """Before anything is sent."""
    signed_in.requests.clear()
    said = mp(*command, "--json")
    assert (5, "'7m' is no timeframe.", []) == (said.code, said.error["message"], signed_in.requests)
    assert "1m, 5m, 15m, 1h, 4h, 1d" in said.error["hint"]


def test_webhook_status_that_is_none_names_those_there_are(mp: Mp, signed_in: FakeMarketplace):  # noqa: ARG001 - the fixture signs in
    """As for timeframes."""
    assert "pending, delivered, dead" in mp("webhooks", "deliveries", "whe_1", "--status", "lost").err


def test_deployment_tells_its_state_once_and_orders_as_orders(
    mp: Mp,
    signed_in: FakeMarketplace,  # noqa: ARG001 - the fixture signs in
    monkeypatch: pytest.MonkeyPatch,
):
    """`stop` does not answer that it is online, as if nothing had been asked."""
    monkeypatch.setattr("mp_kit.cli.hosting._POLL_SECONDS", 0.0)
    mp("train", "start", "--wait")
    mp("register", "--name", "trend", "--run-id", "run_1")
    mp("deploy", "--model", "trend", "--provider", "local")
    words = mp("deployments", "status", "trend", "--json").data["words"]
    assert 1 == mp("deployments", "status", "trend").out.count(words)
    assert mp("deployments", "stop", "trend").out.startswith("trend is to be stopped. Now: ")


def test_one_is_no_plural():
    """A signal, a chain."""
    assert "Pushed 1 signal\n" in repr(PushResult(1, 0, 0, 0, [], pending=1))
    assert repr(FlushResult(pending=1)).startswith("1 signal still waits")
    assert "Pushed 2,000 signals\n" in repr(PushResult(0, 0, 0, 0, [], pending=2_000))
    assert "0 chains of receipts hold" in repr(Verified([], 0))


def test_flow_that_is_none_names_those_there_are(mp: Mp, monkeypatch: pytest.MonkeyPatch):
    """With the names that Prefect knows."""

    def answer(request: httpx.Request) -> httpx.Response:
        there = request.url.path.endswith("/deployments/filter")
        return httpx.Response(200, json=[{"name": "score"}, {"name": "report"}]) if there else httpx.Response(404)

    def known(_home: Path | None) -> Any:
        class Here:
            def __enter__(self) -> PrefectApi:
                return PrefectApi("http://prefect.test/api", transport=httpx.MockTransport(answer))

            def __exit__(self, *_: object) -> None:
                pass

        return Here()

    monkeypatch.setattr(admin, "_prefect", known)
    said = mp("admin", "flow", "run", "nope", "--json")
    assert (4, "There is no flow 'nope'.", "There are: report, score.") == (
        said.code,
        said.error["message"],
        said.error["hint"],
    )


def test_unknown_round_of_the_operator():
    """The operator's own list, not the vendors'."""
    with pytest.raises(NotFoundError) as caught, admin._known_round():
        raise NotFoundError("There is no round 'nope'.", hint="See them all: mp data list")
    assert "See them all: mp admin round list" == caught.value.hint


def test_run_that_is_over_says_how_long_it_took():
    """And what it was bound by; a living one has its deadline."""
    begun = datetime(2026, 1, 5, tzinfo=UTC)
    facts = {"run_id": "run_1", "provider": "byoc", "status": "succeeded", "logs_url": "http://x/logs"}
    facts |= {"created_at": begun, "started_at": begun, "deadline": begun + timedelta(hours=2)}
    run = TrainingRun.model_validate(facts | {"finished_at": begun + timedelta(minutes=42)})
    assert ("42 min", "2 h 0 min at most") == (run_words.took(run), run_words.bound(run))
    living = TrainingRun.model_validate(facts | {"status": "running"})
    assert (None, None) == (run_words.took(living), run_words.bound(living))


def test_looked_at_reports_lie_in_one_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A folder of one's own that only its owner reads: the common one is not littered, look by look."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = admin_reports._shelf()
    assert (tmp_path / "cache" / "mp" / "reports", folder) == (folder, admin_reports._shelf())
    assert 0o700 == folder.stat().st_mode & 0o777

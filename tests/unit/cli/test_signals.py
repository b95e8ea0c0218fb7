"""`mp signals`: by way of the outbox, with columns by any name, and receipts that anybody checks."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mp_kit.errors import NetworkError
from mp_kit.testing import FakeMarketplace
from tests.unit.cli.conftest import Mp

CSV = "pair,side,prob,time,note\nEURUSD,long,0.6,2026-01-05T00:00:00Z,x\nEURUSD,-1,0.7,2026-01-05T01:00:00Z,y\n"
ROW = json.dumps(
    {"symbol": "EURUSD", "timeframe": "1h", "decision": "BUY", "confidence": 0.5, "model_version": "1"}
    | {"timestamp": "2026-01-05T00:00:00Z"}
)


@pytest.fixture
def linked(mp: Mp, signed_in: FakeMarketplace) -> FakeMarketplace:
    assert 0 == mp("link-infra").code
    return signed_in


@pytest.fixture
def table(tmp_path: Path) -> str:
    (tmp_path / "s.csv").write_text(CSV)
    return str(tmp_path / "s.csv")


FILLED = ("--fill", "timeframe=1h", "--fill", "model_version=1.10")


@pytest.mark.parametrize("args", [(), ("",), ("--file", "")])
@pytest.mark.parametrize("piped", ["", ROW])
def test_push_without_a_file_is_refused(
    mp: Mp,
    linked: FakeMarketplace,
    monkeypatch: pytest.MonkeyPatch,
    args: tuple[str, ...],
    piped: str,
):
    """Exit 5: an empty variable of a cron job is no order to read stdin."""
    monkeypatch.setattr("sys.stdin", io.StringIO(piped))
    said = mp("signals", "push", *args, "--json")
    assert (5, "", "invalid_input", True) == (said.code, said.out, said.error["code"], "'-'" in said.error["hint"])
    assert {} == linked.book.signals


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_push_of_nothing_is_refused(mp: Mp, linked: FakeMarketplace, monkeypatch: pytest.MonkeyPatch, more: tuple[str]):  # noqa: ARG001 - the fixture links
    """Exit 5: a producer that failed must not look as a push that succeeded; so for a file with a head alone."""
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    Path("head.csv").write_text(CSV.splitlines()[0])
    assert [5, 5] == [mp("signals", "push", given, *more).code for given in ("-", "head.csv")]
    assert 5 == mp("consensus", "push", *more).code


def test_push_from_stdin(mp: Mp, linked: FakeMarketplace, monkeypatch: pytest.MonkeyPatch):
    """'-' reads JSON lines."""
    monkeypatch.setattr("sys.stdin", io.StringIO(ROW))
    assert 0 == mp("signals", "push", "-").code
    assert 1 == len(linked.book.signals)


def test_push_file_as_argument_with_other_names(mp: Mp, linked: FakeMarketplace, table: str):
    """Columns by their usual names; a version stays the text that it is."""
    assert 2 == mp("signals", "push", table, *FILLED, "--json").data["accepted"]
    said = {(signal.decision.value, signal.model_version) for signal in linked.book.signals.values()}
    assert {("BUY", "1.10"), ("SELL", "1.10")} == said


def test_push_column_that_is_chosen(mp: Mp, linked: FakeMarketplace, table: str, tmp_path: Path):  # noqa: ARG001 - the fixture links
    """--column says which is which."""
    (tmp_path / "t.csv").write_text(CSV.replace("side", "yhat"))
    assert 5 == mp("signals", "push", str(tmp_path / "t.csv"), *FILLED).code
    assert 0 == mp("signals", "push", str(tmp_path / "t.csv"), *FILLED, "--column", "yhat=decision").code


def test_push_columns_that_are_none_name_options(mp: Mp, tmp_path: Path):
    """What mends it is said in the shell's words, not in Python's."""
    file = tmp_path / "odd.parquet"
    pq.write_table(pa.table({"foo bar": ["EURUSD"], "yhat": [1], "p": [0.5]}), file)
    hint = mp("signals", "push", str(file), "--json").error["hint"]
    assert ["--column 'foo bar'=symbol" in hint, "--fill timeframe=1h" in hint] == [True, True]
    assert "columns=" not in hint + mp("signals", "push", str(file)).err
    (tmp_path / "two.csv").write_text("pair,ticker\nEURUSD,EURUSD\n")
    assert "hint: Choose: --column pair=symbol\n" in mp("signals", "push", str(tmp_path / "two.csv")).err


def test_push_two_files_is_refused(mp: Mp, linked: FakeMarketplace, table: str):  # noqa: ARG001 - the fixture links
    """The refusal names the option."""
    said = mp("signals", "push", table, "--file", table)
    assert (5, True) == (said.code, "--file" in said.err)


def test_push_without_a_token_names_the_option(mp: Mp, signed_in: FakeMarketplace, table: str):  # noqa: ARG001 - the fixture signs in
    """The vendor's key pushes nothing."""
    said = mp("signals", "push", table, *FILLED)
    assert (3, True) == (said.code, "--deployment" in said.err)


def test_offline_push_pending_flush(mp: Mp, linked: FakeMarketplace, table: str, monkeypatch: pytest.MonkeyPatch):
    """Exit 9 while signals wait; another command sends them."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr("mp_kit.client.http.Patience.wait", lambda *_: 0.0)
    linked.fail(NetworkError("Down."), times=4, path="/api/signals")
    said = mp("signals", "push", table, *FILLED, "--json")
    assert (9, 2, "Down.") == (said.code, said.data["pending"], said.data["reason"])
    assert [("dep_1", 2)] == [(one["deployment"], one["signals"]) for one in mp("signals", "pending", "--json").data]
    done = mp("signals", "flush", "--json")
    assert (0, 2, 0) == (done.code, done.data["accepted"], done.data["pending"])
    assert [] == mp("signals", "pending", "--json").data


def test_rejected_lists_and_forgets(mp: Mp, linked: FakeMarketplace, table: str, tmp_path: Path):  # noqa: ARG001 - the fixture links
    """What the marketplace refused, with its reason."""
    mp("signals", "push", table, *FILLED)
    (tmp_path / "u.csv").write_text(CSV.replace("long", "short"))
    assert 7 == mp("signals", "push", str(tmp_path / "u.csv"), *FILLED).code
    assert ["conflict"] == [one["status"] for one in mp("signals", "rejected", "--forget", "--json").data]
    assert [] == mp("signals", "rejected", "--json").data


def test_verify_save_and_offline(mp: Mp, linked: FakeMarketplace, table: str, tmp_path: Path):
    """Exit 0 while all holds, 1 when something does not; a saved proof needs no marketplace."""
    mp("signals", "push", table, *FILLED)
    proof = tmp_path / "proof.json"
    assert 0 == mp("signals", "verify", "--save", str(proof)).code
    linked.requests.clear()
    said = mp("signals", "verify", "--file", str(proof), "--deployment", "dep_1", "--json")
    assert (0, True, 2, []) == (said.code, said.data["ok"], said.data["chains"][0]["signals"], linked.requests)
    document = json.loads(proof.read_text())
    document["signals"][0]["confidence"] = 0.99
    proof.write_text(json.dumps(document))
    broken = mp("signals", "verify", "--file", str(proof))
    assert (1, True) == (broken.code, "BROKEN" in broken.out)


def test_verify_file_and_save_is_refused(mp: Mp, linked: FakeMarketplace):  # noqa: ARG001 - the fixture links
    """One or the other."""
    assert 5 == mp("signals", "verify", "--file", "a", "--save", "b").code


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [("default", 1, "--deployment default"), ("dep_1", 1, "--deployment dep_1"), ("nope", 4, "mp deployments list")],
)
@pytest.mark.parametrize("verb", [("push", "s.csv", *FILLED), ("flush",)], ids=lambda verb: verb[0])
def test_deployment_whose_token_is_not_kept(
    mp: Mp, linked: FakeMarketplace, home: Path, name: str, code: int, says: str, verb: tuple[str, ...]
):
    """No talk of keys that nobody passed: the command that gets the token, or how to see which names there are."""
    mp("login", "--api-url", linked.url, "--api-key", linked.api_key)
    profile = home / ".config" / "mp" / "config.json"
    profile.write_text(json.dumps(json.loads(profile.read_text()) | {"deployments": {}}))
    Path("s.csv").write_text(CSV)
    said = mp("signals", *verb, "--deployment", name)
    assert (code, True, False) == (said.code, says in said.err, "key" in said.err)
    assert {} == linked.book.signals


def test_deployment_by_its_name(mp: Mp, linked: FakeMarketplace, table: str):  # noqa: ARG001 - the fixture links
    """Pushed, listed, verified and heard of by the name that a person gave it."""
    assert 0 == mp("signals", "push", table, *FILLED, "--deployment", "default").code
    assert 2 == len(mp("signals", "list", "--deployment", "default", "--json").data)
    assert 0 == mp("signals", "verify", "--deployment", "default").code
    assert 0 == mp("heartbeat", "--deployment", "default").code


def test_deployment_by_its_name_offline(mp: Mp, linked: FakeMarketplace, table: str, monkeypatch: pytest.MonkeyPatch):
    """Exit 1, for nothing is kept; the ids that need no network are named."""
    monkeypatch.setattr("mp_kit.client.http.Patience.wait", lambda *_: 0.0)
    linked.fail(NetworkError("Down."), times=9, path="/api/deployments")
    said = mp("signals", "push", table, *FILLED, "--deployment", "default")
    assert (1, True) == (said.code, "by its id: dep_1" in said.err)

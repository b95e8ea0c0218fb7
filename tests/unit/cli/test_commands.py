from __future__ import annotations

import io
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mp_kit.errors import NoCurrentRoundError
from mp_kit.testing import FakeMarketplace

Mp = Callable[..., Any]

SIGNAL = {"symbol": "EURUSD", "timeframe": "1h", "decision": "BUY", "confidence": 0.5, "model_version": "1"}


def lines(tmp_path: Path, *rows: dict) -> str:
    """A file of JSON lines."""
    path = tmp_path / "signals.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_login_stores_privately_and_shows_nothing(mp: Mp, fake: FakeMarketplace, home: Path):
    """The key is in a file of mode 0600 and nowhere else."""
    said = mp("login", "--api-url", fake.url, "--api-key", fake.api_key)
    stored = home / ".config" / "mp" / "config.json"
    assert (0, "Signed in as ACME.\n") == (said.code, said.out)
    assert 0o600 == stat.S_IMODE(stored.stat().st_mode)
    assert fake.api_key in stored.read_text()
    assert fake.api_key not in said.out + said.err + mp("config", "show").out


def test_login_with_a_bad_key_stores_nothing(mp: Mp, fake: FakeMarketplace, home: Path):
    """Exit 3."""
    said = mp("login", "--api-url", fake.url, "--api-key", "vk_bad", "--json")
    assert (3, "unauthorized", "") == (said.code, said.error["code"], said.out)
    assert ("This key is not known, or it has ended.", True) == (
        said.error["message"],
        "mp login --device" in said.error["hint"],
    )
    assert not (home / ".config").exists()


def test_logout_where_nobody_is_signed_in(mp: Mp, home: Path):
    """Harmless, and no profile is made."""
    said = mp("logout", "--json")
    assert (0, []) == (said.code, said.data["forgot"])
    assert not (home / ".config").exists()


def test_logout_forgets_and_says_what(mp: Mp, signed_in: FakeMarketplace, home: Path, monkeypatch: pytest.MonkeyPatch):
    """The key's and the deployments' ids, never a secret; URL and pinned keys stay; MP_TOKEN is told of."""
    mp("link-infra")
    mp("data", "info")
    profile = home / ".config" / "mp" / "config.json"
    monkeypatch.setenv("MP_TOKEN", "vk_x_y")
    said = mp("logout")
    key_id = "_".join(signed_in.api_key.split("_")[:2])
    assert (0, f"Forgotten: {key_id}, dep_1.\n", True) == (said.code, said.out, "MP_TOKEN" in said.err)
    assert (signed_in.url, None, {}) == tuple(
        json.loads(profile.read_text())[name] for name in ("api_url", "api_key", "deployments")
    )
    assert signed_in.api_key not in said.out + said.err + profile.read_text()


def test_logout_of_an_older_profile(mp: Mp, fake: FakeMarketplace, home: Path):
    """Its key does not lie on in the older place."""
    older = home / ".mp" / "config.json"
    older.parent.mkdir(parents=True)
    older.write_text(json.dumps({"api_url": fake.url, "api_key": fake.api_key}))
    assert 0 == mp("logout").code
    assert (False, "none", fake.url) == (
        older.exists(),
        (shown := mp("config", "show", "--json").data)["token"],
        shown["api_url"],
    )


def test_login_key_from_stdin(mp: Mp, fake: FakeMarketplace, monkeypatch: pytest.MonkeyPatch):
    """So that it stands in no process list."""
    monkeypatch.setattr("sys.stdin", io.StringIO(fake.api_key + "\n"))
    assert 0 == mp("login", "--api-url", fake.url, "--api-key", "-").code


def test_login_without_a_key_never_waits(mp: Mp, fake: FakeMarketplace, monkeypatch: pytest.MonkeyPatch):
    """No terminal, no question."""
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    said = mp("login", "--api-url", fake.url)
    assert (3, True) == (said.code, "--api-key -" in said.err)


def test_login_with_a_deployment_token_is_told(mp: Mp, fake: FakeMarketplace):
    """A common mix-up, and exit 5."""
    said = mp("login", "--api-url", fake.url, "--api-key", "sit_x")
    assert (5, True) == (said.code, "vendor's key" in said.err)


def test_nothing_configured(mp: Mp):
    """Exit 1 and what to do."""
    said = mp("data", "list", "--json")
    assert (1, "setup", True) == (said.code, said.error["code"], "mp login" in said.error["hint"])


def test_config_set_forgets_the_other_key(mp: Mp, signed_in: FakeMarketplace):
    """And says so."""
    assert signed_in.url == mp("config", "show", "--json").data["api_url"]
    said = mp("config", "set", "api_url", "http://other.test")
    assert (0, True) == (said.code, "is forgotten" in said.err)
    assert "none" == mp("config", "show", "--json").data["token"]
    assert 5 == mp("config", "set", "api_key", "vk_x").code


def test_data_list_info_pull(mp: Mp, signed_in: FakeMarketplace, tmp_path: Path):
    """The guide's three commands."""
    round_id = signed_in.shelf.manifest.round_id
    assert [round_id] == [item["round_id"] for item in mp("data", "list", "--json").data]
    assert round_id == mp("data", "info", "--round", "current", "--json").data["round_id"]
    pulled = mp("data", "pull", "--round", "current", "--output", str(tmp_path / "r"), "--json").data
    assert (3, True) == (len(pulled["files"]), pulled["verified"])
    assert "verified" in mp("data", "pull", "-o", str(tmp_path / "r")).out


def test_data_pull_dry_run_fetches_nothing(mp: Mp, signed_in: FakeMarketplace, tmp_path: Path):  # noqa: ARG001 - the fixture signs in
    """It tells what it would fetch."""
    said = mp("data", "pull", "--dry-run", "--role", "train", "--output", str(tmp_path / "r"), "--json")
    assert (["train-EURUSD.parquet"], False) == ([row["name"] for row in said.data], (tmp_path / "r").exists())


@pytest.mark.parametrize("given", [["--symbol", "EURUSD,GBPUSD"], ["--symbol", "EURUSD", "--symbols", "GBPUSD"]])
def test_symbols_repeated_or_by_commas(mp: Mp, signed_in: FakeMarketplace, monkeypatch: pytest.MonkeyPatch, given: Any):  # noqa: ARG001 - the fixture signs in
    """`data pull` and `admin round publish` take both."""
    said = mp("data", "pull", "--dry-run", *given)
    assert (5, True) == (said.code, "GBPUSD" in said.err)  # the fake's round has EURUSD alone, and names the other
    orders: list[dict[str, Any]] = []
    done = {"round_id": "r", "created": True, "made_current": True, "input_bars": 0, "rows": {}}
    monkeypatch.setattr("mp_kit.cli.admin._publish_here", lambda _, order: orders.append(order) or done)
    assert 0 == mp("admin", "round", "publish", "--direct", *given).code
    assert ["EURUSD", "GBPUSD"] == orders[0]["symbols"]


def test_data_pull_flipped_byte(mp: Mp, signed_in: FakeMarketplace, tmp_path: Path):
    """Exit 1, code integrity, no file."""
    signed_in.shelf.files.update({digest: b"x" * len(data) for digest, data in signed_in.shelf.files.items()})
    said = mp("data", "pull", "--output", str(tmp_path / "r"), "--json")
    assert (1, "integrity", "", []) == (said.code, said.error["code"], said.out, list((tmp_path / "r").iterdir()))


def test_data_info_unknown_round(mp: Mp, signed_in: FakeMarketplace):  # noqa: ARG001 - the fixture signs in
    """Exit 4."""
    assert 4 == mp("data", "info", "--round", "nope").code


def test_train_as_the_guide_says(mp: Mp, signed_in: FakeMarketplace):  # noqa: ARG001 - the fixture signs in
    """Start prints the id; status, logs, wait, stop and list know it."""
    hyper = ("--hp", "lr=0.001", "--hp", "epochs=20", "--hp", "batch_size=256", "--hp", "model_type=ensemble")
    said = mp("train", "start", "--task", "signal", "--round", "current", *hyper, "--gpu", "A100", "--max-hours", "2")
    assert (0, "run_1\n") == (said.code, said.out)
    assert "running" == mp("train", "status", "run_1", "--json").data["status"]
    assert (0, True) == ((done := mp("train", "wait", "run_1")).code, "succeeded" in done.out)
    assert "step 0" == mp("train", "logs", "run_1").out.splitlines()[0]
    assert ["run_1"] == [run["run_id"] for run in mp("train", "list", "--json").data]
    assert 0 == mp("train", "stop", "run_1").code


def test_train_start_dry_run(mp: Mp, signed_in: FakeMarketplace):
    """Shows the order and what it would cost, and orders nothing; numbers are numbers."""
    signed_in.requests.clear()
    said = mp("train", "start", "--hp", "lr=0.001", "--hp", "flag=true", "--hp", "name=1e", "--dry-run", "--json")
    assert {"lr": 0.001, "flag": True, "name": "1e"} == said.data["order"]["hyperparams"]
    assert 0 == said.data["estimate"]["worst_case_usd"]
    assert ["POST /api/training/estimate"] == signed_in.requests
    told = mp("train", "start", "--dry-run").out
    assert "worst case $0.00 for 4 hours; bound none" in told


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("train", "start", "--hp", "lr"), 2),
        (("train", "start", "--max-hours", "-1"), 5),
        (("train", "start", "--task", "dance"), 5),
        (("train", "status", "run_9"), 4),
        (("train", "status"), 2),
        (("train", "nope"), 2),
        (("nope",), 2),
        (("data", "pull", "--nope"), 2),
    ],
)
def test_exit_codes(mp: Mp, signed_in: FakeMarketplace, args: tuple[str, ...], code: int):  # noqa: ARG001 - the fixture signs in
    """Usage 2, validation 5, absent 4; the error is JSON where it was asked for."""
    said = mp(*args, "--json")
    assert (code, "") == (said.code, said.out)
    assert said.error["message"]


def test_train_same_key_is_one_run(mp: Mp, signed_in: FakeMarketplace):  # noqa: ARG001 - the fixture signs in
    """And another body under it is exit 7."""
    key = ("--idempotency-key", "k")
    assert mp("train", "start", *key).out == mp("train", "start", *key).out
    assert 7 == mp("train", "start", "--hp", "lr=1", *key).code


def test_train_wait_timeout_is_still_running(mp: Mp, signed_in: FakeMarketplace):
    """Exit 8."""
    signed_in.runs.statuses = signed_in.runs.statuses[:1]
    mp("train", "start")
    assert 8 == mp("train", "wait", "run_1", "--timeout", "0").code


def test_link_infra_then_push_and_heartbeat(mp: Mp, signed_in: FakeMarketplace, tmp_path: Path):
    """The token is kept, used, and never shown unless asked for."""
    linked = mp("link-infra", "--json")
    assert {"deployment_id": "dep_1"} == linked.data
    file = lines(tmp_path, SIGNAL | {"timestamp": "2026-01-05T00:00:00Z"})
    first, second = mp("signals", "push", "--file", file, "--json"), mp("signals", "push", "-f", file, "--json")
    assert (1, 0, 0, 1) == (
        first.data["accepted"],
        first.data["duplicates"],
        second.data["accepted"],
        second.data["duplicates"],
    )
    assert 0 == mp("heartbeat", "--status", "ready", "--metric", "load=0.5").code
    assert ["EURUSD"] == [signal["symbol"] for signal in mp("signals", "list", "--json").data]
    assert "dep_1" == mp("link-infra").out.strip()
    assert mp("link-infra", "--print-token").out.splitlines()[1].startswith("sit_")
    assert "dep_1" == signed_in.deployments.all()[0].deployment_id


def test_signals_push_conflict_is_exit_7(mp: Mp, signed_in: FakeMarketplace, tmp_path: Path):  # noqa: ARG001 - the fixture signs in
    """The result is still told."""
    mp("link-infra")
    row = SIGNAL | {"timestamp": "2026-01-05T00:00:00Z"}
    mp("signals", "push", "-f", lines(tmp_path, row))
    said = mp("signals", "push", "-f", lines(tmp_path, row | {"decision": "SELL"}), "--json")
    assert (7, 1) == (said.code, said.data["conflicts"])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", '{"symbol": "EURUSD"}\n{\n', "Line 2 is no JSON"),
        ("a.jsonl", json.dumps(SIGNAL | {"timestamp": "2026-01-05T00:00:00"}), "no zone"),
        ("a.csv", "symbol,timeframe\nEURUSD,1h\n", "decision: Field required"),
        ("a.parquet", "no parquet", "can't be read"),
        ("a.txt", "", "is of no kind that is read"),
    ],
)
def test_signals_push_bad_file_is_exit_5(
    mp: Mp,
    signed_in: FakeMarketplace,
    tmp_path: Path,
    name: str,
    content: str,
    said: str,
):
    """The message names file, line or field; nothing is sent."""
    signed_in.requests.clear()
    (tmp_path / name).write_text(content)
    done = mp("signals", "push", "--file", str(tmp_path / name))
    assert (5, True, []) == (done.code, said in done.err, signed_in.requests)


def test_signals_push_csv_dry_run(mp: Mp, tmp_path: Path):
    """Validation needs no marketplace."""
    header = "symbol,timeframe,decision,confidence,model_version,timestamp,model_id\n"
    (tmp_path / "a.csv").write_text(header + "EURUSD,1h,BUY,0.5,1,2026-01-05T00:00:00Z,\n")
    assert {"valid": 1} == mp("signals", "push", "-f", str(tmp_path / "a.csv"), "--dry-run", "--json").data


def test_register_as_the_guide_says(mp: Mp, signed_in: FakeMarketplace):
    """A name is enough; --dry-run sends nothing."""
    signed_in.requests.clear()
    assert "ML" == mp("register", "--name", "ML", "--dry-run", "--json").data["name"]
    assert [] == signed_in.requests
    made = mp("register", "--name", "ML", "--json").data
    assert ({"model_id", "version_id", "version", "stage"}, "0.1.0") == (set(made), made["version"])
    assert "version     0.1.0" in mp("register", "--name", "ML").out
    assert [1] == [one["versions"] for one in mp("models", "list", "--json").data]
    assert "versions" in mp("models", "list").out.splitlines()[0]


def test_health_catalog(mp: Mp, signed_in: FakeMarketplace):  # noqa: ARG001 - the fixture signs in
    """Public ones."""
    assert "healthy" == mp("health", "--json").data["status"]
    assert ("Catalogue: none\n", []) == (mp("catalog").out, mp("catalog", "--json").data)


def test_consensus_without_any_is_exit_4(mp: Mp, signed_in: FakeMarketplace):  # noqa: ARG001 - the fixture signs in
    """The fake blends nothing."""
    assert 4 == mp("consensus", "show", "EURUSD").code


def test_consensus_push_refuses_before_sending(mp: Mp, signed_in: FakeMarketplace, tmp_path: Path):
    """A row without contributions is exit 5; nothing left this machine."""
    file = tmp_path / "said.json"
    row = {"symbol": "EURUSD", "timeframe": "1h", "decision": "BUY", "confidence": 0.5, "model_version": "1"}
    row["timestamp"] = "2026-01-05T10:00:00Z"
    file.write_text(json.dumps([row]))
    before = list(signed_in.requests)
    assert 5 == mp("consensus", "push", "--file", str(file), "--json").code
    assert before == signed_in.requests
    file.write_text(json.dumps(row | {"contributions": {"a": {"decision": "BUY", "weight": 1}}}))
    assert {"valid": 1} == mp("consensus", "push", "--file", str(file), "--dry-run", "--json").data


def test_doctor_names_what_fails_and_what_to_do(mp: Mp, fake: FakeMarketplace):
    """Each check by itself."""
    said = mp("doctor", "--json")
    assert 1 == said.code
    assert all(check["todo"] for check in said.data if not check["ok"])
    mp("login", "--api-url", fake.url, "--api-key", fake.api_key)
    names = ["profile", "disk", "connection", "key", "current round"]
    assert names == [check["name"] for check in mp("doctor", "--json").data]


def test_doctor_warns_where_no_round_is(mp: Mp, signed_in: FakeMarketplace):
    """Nothing is broken, and nothing is well either: a warning, not ok."""
    signed_in.fail(NoCurrentRoundError("There is no current round."), times=9, path="/api/rounds")
    said = mp("doctor")
    assert (0, True, False) == (said.code, "warn  current round" in said.out, "ok    current round" in said.out)
    assert [True] == [one["warning"] for one in mp("doctor", "--json").data if one["name"] == "current round"]


def test_doctor_sees_a_file_that_others_can_read(mp: Mp, signed_in: FakeMarketplace, home: Path):  # noqa: ARG001 - the fixture signs in
    """With the command that mends it."""
    stored = home / ".config" / "mp" / "config.json"
    stored.chmod(0o644)
    said = mp("doctor")
    assert (1, True) == (said.code, f"chmod 600 {stored}" in said.out)


def test_a_deployment_is_asked_and_not_any_more(mp: Mp, fake: FakeMarketplace):
    """`link-infra --poll`, `deployments poll`, and what it was asked about."""
    mp("login", "--api-url", fake.url, "--api-key", fake.api_key)
    url = "https://models.example.com/infer"
    assert 0 == mp("link-infra", "--name", "trend", "--poll", url).code
    told = mp("deployments", "poll", "trend", "--symbol", "EURUSD", "--timeframe", "1h", "--json").data["polling"]
    assert (True, url, ["EURUSD"], ["1h"]) == tuple(
        told[name] for name in ("poll", "infer_url", "symbols", "timeframes")
    )
    assert not mp("deployments", "poll", "trend", "--off", "--json").data["polling"]["poll"]
    assert [] == mp("deployments", "polls", "trend", "--json").data
    assert 5 == mp("deployments", "poll", "trend", "--timeframe", "2h").code

"""The validation of servers: good ones pass, and each way to be broken is found and named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from servers import NOW, Momentum, careless, failed, forgetful, raising, validated, windows

from mp_kit.contracts.common import Task
from mp_kit.contracts.validation import CheckStatus, ValidationReport
from mp_kit.serving import check_model
from mp_kit.serving.allocating import allocate
from mp_kit.serving.app import Application
from mp_kit.serving.blending import blend
from mp_kit.serving.caller import Caller
from mp_kit.serving.edge_cases import edge_cases
from mp_kit.serving.inprocess import transport_of
from mp_kit.serving.reference import write_reference
from mp_kit.serving.validate import Validator
from mp_kit.trainer.predict import Predictor


def statuses(report: ValidationReport, name: str) -> set[CheckStatus]:
    return {check.status for check in report.checks if check.name == name}


def test_good_server_passes():
    """Without a warning; the report is sealed and says with what it was made."""
    report = check_model(Momentum(), windows())
    assert {CheckStatus.PASSED} == {check.status for check in report.checks}
    assert (True, "made-up", "m-1", Task.SIGNAL) == (report.passed, report.bars, report.model_version, report.task)
    assert report.holds


def test_reference_consensus_passes(tmp_path: Path):
    """Voices are published rules over the bars."""
    write_reference(Task.CONSENSUS, tmp_path)
    predictor = Predictor.load(tmp_path)

    class Mean:
        task, version = "consensus", "1"

        def infer(self, request: Any) -> dict[str, Any]:
            said = blend(request.signals, predictor.card)
            found = predictor.predict(said.table)
            confidence = float(found.confidences[0])
            return {"decision": found.decisions[0], "confidence": confidence, "contributions": said.contributions}

    assert [] == failed(check_model(Mean(), windows()))


def test_reference_optimizer_passes(tmp_path: Path):
    """It is asked for the symbols that it says it has."""
    write_reference(Task.OPTIMIZER, tmp_path, symbols=["EURUSD", "EURJPY"])
    predictor = Predictor.load(tmp_path)

    class Weights:
        task, version, facts = "optimizer", "1", {"symbols": ["EURUSD", "EURJPY"], "bars": 121}

        def infer(self, request: Any) -> dict[str, Any]:
            return allocate(request, predictor)

    assert [] == failed(check_model(Weights(), windows()))


def test_symbols_that_the_bars_lack_are_told(tmp_path: Path):
    """One failed check that says how to mend it; nothing is asked in vain."""
    write_reference(Task.OPTIMIZER, tmp_path, symbols=["EURUSD", "XAUUSD"])

    class Weights:
        task, version, facts = "optimizer", "1", {"symbols": ["EURUSD", "XAUUSD"]}

        def infer(self, request: Any) -> dict[str, Any]:
            raise AssertionError(request)

    report = check_model(Weights(), windows())
    assert ["infer: POST /infer"] == failed(report)
    assert "XAUUSD" in report.checks[-1].what
    assert "--symbols" in str(report.checks[-1].mend)


EDGES = [case.name for case in edge_cases(Task.SIGNAL, {"symbol": "X", "timeframe": "1h", "ohlcv": [[1.0] * 6] * 3})]
_FINE = {"unknown symbol", "one bar", "an unknown field", "huge payload"}  # an answer is right, too
_DOUBTFUL = {"text/plain", "a negative price", "bars backwards", "a bar twice"}
_ASIDE = {"no bars, no features", "empty bars"}


@pytest.fixture(scope="module")
def careless_report() -> ValidationReport:
    """Of a server that answers BUY to whatever comes."""
    return validated(careless(decision="BUY"))


@pytest.fixture(scope="module")
def raising_report() -> ValidationReport:
    """Of a server that raises on what it cannot read."""
    return validated(raising)


@pytest.mark.parametrize("name", EDGES)
def test_careless_server_is_caught(name: str, careless_report: ValidationReport):
    """Each edge case that must be refused is found accepted."""
    [found] = [check for check in careless_report.checks if check.where == f"POST /infer ({name})"]
    wanted = CheckStatus.PASSED if name in _FINE else CheckStatus.WARNED if name in _DOUBTFUL else CheckStatus.FAILED
    assert wanted == found.status
    assert (found.mend is None) == (wanted is CheckStatus.PASSED)


@pytest.mark.parametrize("name", sorted(_ASIDE))
def test_standing_aside_is_right(name: str):
    """HOLD to nothing is an answer."""
    [found] = [check for check in validated(careless()).checks if check.where == f"POST /infer ({name})"]
    assert CheckStatus.PASSED == found.status


def test_routes_that_answer_anything_are_caught(careless_report: ValidationReport):
    """A wrong method and a wrong path."""
    assert {"routes: GET /infer", "routes: POST /health", "routes: GET /no-such-route"} <= set(failed(careless_report))


def test_constant_answers_and_old_clock_are_warned_of(careless_report: ValidationReport):
    """They break nothing, and are worth nothing."""
    assert {CheckStatus.WARNED} == statuses(careless_report, "variety") == statuses(careless_report, "clock")


@pytest.mark.parametrize("name", ["not JSON", "empty object", "without symbol", "null in a bar", "one bar"])
def test_stack_trace_is_caught(name: str, raising_report: ValidationReport):
    """A 500 where a 4xx belongs; what is in it is not repeated."""
    by_name = {check.where: check for check in raising_report.checks}
    found = by_name[f"POST /infer ({name})"]
    if name == "without symbol":  # this server never looks at it
        assert "accepted it" in found.what
    else:
        assert (CheckStatus.FAILED, "showed its stack trace with 500") == (found.status, found.what)


@pytest.mark.parametrize(
    ("spoils", "word"),
    [
        ({"decision": "MAYBE"}, "decision"),
        ({"confidence": 1.01}, "confidence"),
        ({"confidence": None}, "confidence"),
        ({"confidence": "high"}, "confidence"),
        ({"model_version": None}, "model_version"),
        ({"timestamp": "2026-01-02T15:04:05"}, "timestamp"),
        ({"timestamp": 1_767_366_245}, "timestamp"),
    ],
    ids=["decision", "above-1", "null", "text", "version", "naive", "bare"],
)
def test_answer_outside_the_contract_is_caught(spoils: dict[str, Any], word: str):
    """With the field's name."""
    report = validated(careless(**spoils))
    [found] = [check for check in report.checks if check.name == "infer"]
    assert (CheckStatus.FAILED, True) == (found.status, word in found.what)


def test_random_server_is_caught():
    """The same request got another confidence."""
    report = validated(careless(confidence=forgetful()))
    assert "confidence" in next(check.what for check in report.checks if check.name == "determinism")
    assert {CheckStatus.FAILED} == statuses(report, "determinism") == statuses(report, "concurrency")


def test_slow_server_is_caught():
    """The figures are told, and the limit they were held against."""
    report = validated(careless(), max_p95_ms=1e-6)
    assert {CheckStatus.FAILED} == statuses(report, "latency")
    assert report.latency is not None
    assert (40, 1e-6) == (report.latency.requests, report.latency.limit_ms)


def _route(path: str, answer: httpx.Response) -> Callable[[httpx.Request], httpx.Response]:
    return lambda request: answer if request.url.path == path else careless()(request)


@pytest.mark.parametrize(
    ("path", "answer", "name"),
    [
        ("/health", httpx.Response(500, text="no"), "health"),
        ("/health", httpx.Response(200, text="ok"), "health"),
        ("/health", httpx.Response(200, json={"status": "fine"}), "health"),
        ("/ready", httpx.Response(503), "ready"),
        ("/infer", httpx.Response(200, text="<html>"), "infer"),
        ("/infer", httpx.Response(302, headers={"Location": "/login"}), "infer"),
        ("/infer", httpx.Response(502), "infer"),
    ],
    ids=["sick", "text", "status", "not-ready", "html", "redirect", "gateway"],
)
def test_broken_route_is_caught(path: str, answer: httpx.Response, name: str):
    """By the check that is its own."""
    assert {CheckStatus.FAILED} == statuses(validated(_route(path, answer)), name)


def test_dead_server_is_a_report_too():
    """No exception, and every check says that nothing came back."""

    def dead(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    report = validated(dead)
    assert report.passed is False
    assert {CheckStatus.FAILED} == {check.status for check in report.checks}


def test_server_that_dies_of_a_bad_request_is_caught():
    """What it survived is asked at the end."""
    alive = [True]

    def fragile(request: httpx.Request) -> httpx.Response:
        alive[0] = alive[0] and len(request.content) < 1_000_000
        if not alive[0]:
            raise httpx.ReadError("gone", request=request)
        return careless()(request)

    report = validated(fragile)
    assert {CheckStatus.FAILED} == statuses(report, "survival")
    assert {CheckStatus.PASSED} == statuses(report, "health")


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        ({"allocations": [{"symbol": "EURUSD", "weight": 0.5}, {"symbol": "EURUSD", "weight": 0.1}]}, "twice"),
        ({"allocations": [{"symbol": "XAUUSD", "weight": 0.5}]}, "not asked"),
        ({"allocations": [{"symbol": "EURUSD", "weight": 0.6}]}, "max_weight"),
    ],
    ids=["twice", "stranger", "above"],
)
def test_bad_allocations_are_caught(answer: dict[str, Any], word: str):
    """Rules that no schema says."""
    report = validated(careless(**answer), task=Task.OPTIMIZER)
    assert word in next(check.what for check in report.checks if check.name == "infer")


@pytest.mark.parametrize(
    ("names", "word"), [({"momentum": 0.5}, "sum to 0.5"), ({"nobody": 1.0}, "not asked")], ids=["sum", "stranger"]
)
def test_bad_contributions_are_caught(names: dict[str, float], word: str):
    """Shares sum to 1, over voices that were there."""
    parts = {name: {"decision": "HOLD", "weight": weight} for name, weight in names.items()}
    report = validated(careless(contributions=parts), task=Task.CONSENSUS)
    assert word in next(check.what for check in report.checks if check.name == "infer")


def test_every_request_is_a_dry_run():
    """None may leave a signal, bad ones included."""
    seen: set[str | None] = set()

    def watching(request: httpx.Request) -> httpx.Response:
        seen.add(request.headers.get("X-Marketplace-Dry-Run"))
        return careless()(request)

    validated(watching)
    assert {"true"} == seen


def test_report_hides_credentials():
    """Neither in the address nor anywhere else."""
    url = "http://user:hunter2@server.test/base?key=hunter2"
    app = Application()
    app.load(Momentum())
    caller = Caller("http://server.test", transport=transport_of(app), bearer="hunter2")
    report = Validator(caller, url, windows()).run()
    assert "http://server.test/base" == report.server
    assert "hunter2" not in report.model_dump_json()


def test_too_few_bars_are_told():
    """Nothing is asked with them."""
    app = Application()
    app.load(Momentum())
    caller = Caller("http://server.test", transport=transport_of(app))
    report = Validator(caller, "http://server.test", windows(rows=2)).run()
    assert ["infer: POST /infer"] == failed(report)


@pytest.mark.parametrize("task", list(Task))
def test_edge_cases_are_valid_bytes_with_a_way_to_mend(task: Task):
    """Each is named once."""
    good: dict[str, Any] = {"symbol": "X", "timeframe": "1h", "ohlcv": [[1.0] * 6] * 3, "assets": ["X"]}
    good["signals"] = {"a": {"decision": "BUY", "confidence": 0.5, "model_version": "1", "timestamp": NOW}}
    before = json.dumps(good)
    cases = list(edge_cases(task, good))
    assert before == json.dumps(good)
    assert len(cases) == len({case.name for case in cases})
    assert all(case.mend for case in cases)

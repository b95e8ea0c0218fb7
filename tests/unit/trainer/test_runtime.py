"""The wrapper around real child processes, against a marketplace in memory."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mp_kit.contracts.training import RunOutcome
from mp_kit.trainer.api import RunApi
from mp_kit.trainer.environment import JobEnv
from mp_kit.trainer.runtime import MAX_STARTS, Patience, Wrapper
from mp_kit.trainer.state import RunFolder

QUICK = Patience(grace=1.0, heartbeat=0.05, shipping=0.01, upload=2.0, delivery=2.0)
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
NOW = datetime.now(UTC)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def wrap(env: JobEnv, api: RunApi, code: str, patience: Patience = QUICK) -> Wrapper:
    paths = {"PYTHONPATH": str(Path(__file__).parents[3] / "src"), "PATH": "/usr/bin:/bin"}
    return Wrapper(env, api, python(code), environ=paths, patience=patience)


def test_success_reports_metrics_and_uploads(job_env: JobEnv, api: RunApi, market: Any):
    """Lines, metrics, history and artifacts arrive; the outcome comes last."""
    code = (
        "import os, pathlib, mp_kit.trainer.report as r;"
        "[r.metric(step=n, total_steps=3, loss=1 / n) for n in (1, 2, 3)]; r.metric(best=float('nan'));"
        "pathlib.Path(os.environ['MP_ARTIFACT_DIR'], 'model.bin').write_bytes(b'abc'); print('done')"
    )
    outcome = wrap(job_env, api, code).run()
    assert (outcome.status, outcome.exit_code) == ("succeeded", 0)
    assert market.uploads == {"model.bin": b"abc"}
    assert market.lines[-1] == "done"
    [told] = market.outcomes
    assert told["metrics"]["best"] is None
    assert [point["loss"] for point in told["metrics"]["history"]] == [1.0, 0.5, 1 / 3]
    assert told["artifacts"][0]["name"] == "model.bin"
    assert market.beats[0]["started_count"] == 1


@pytest.mark.parametrize("how", ["r.metric(file=os.fsdecode(b'caf\\xe9.csv'))", "by_hand()"])
def test_half_a_character_costs_no_training(job_env: JobEnv, api: RunApi, market: Any, how: str):
    """As names of files may have one, or a program that writes the report itself: outcome and heartbeats arrive."""
    code = (
        "import os, time, mp_kit.trainer.report as r\n"
        "def by_hand():\n"
        "  open(os.environ['MP_REPORT_FILE'], 'a').write('{\"metrics\": {\"file\": \"caf\\\\udce9.csv\"}}\\n')\n"
        f"{how}\ntime.sleep(0.3)"
    )
    assert "succeeded" == wrap(job_env, api, code).run().status
    [told] = market.outcomes
    assert told["metrics"]["file"] == market.beats[-1]["metrics"]["file"] == "caf?.csv"


FAILURES = {
    "exit code": ("raise SystemExit(3)", 3, "The job ended with exit code 3; the last lines of its log say why."),
    "signal": ("import os; os.kill(os.getpid(), 9)", -9, "The job was ended by SIGKILL"),
    "own words": ("import mp_kit.trainer.report as r; r.failure('No rows.'); raise SystemExit(1)", 1, "No rows."),
}


@pytest.mark.parametrize("case", FAILURES)
def test_failure_says_why(job_env: JobEnv, api: RunApi, market: Any, case: str):
    """The outcome has the exit code and a sentence."""
    code, exit_code, failure = FAILURES[case]
    outcome = wrap(job_env, api, code).run()
    assert (outcome.status, outcome.exit_code) == ("failed", exit_code)
    assert failure in (outcome.failure or "")
    assert len(market.outcomes) == 1


def test_command_that_is_not_there(job_env: JobEnv, api: RunApi, market: Any):
    """A command that cannot be started is a failure with its name."""
    outcome = Wrapper(job_env, api, ["no-such-command"], environ={}, patience=QUICK).run()
    assert "no-such-command cannot be started" in (outcome.failure or "")
    assert len(market.outcomes) == 1


def test_artifact_that_cannot_be_stored_fails_the_run(job_env: JobEnv, api: RunApi, market: Any):
    """A success that nobody can fetch is none."""
    market.trouble = lambda verb: "lost" if verb == "artifacts" else ""
    code = "import os, pathlib; pathlib.Path(os.environ['MP_ARTIFACT_DIR'], 'm').write_text('x')"
    outcome = wrap(job_env, api, code, replace(QUICK, upload=0.1)).run()
    assert outcome.status == "failed"
    assert "artifacts could not be stored" in (outcome.failure or "")


def test_artifact_with_a_name_that_cannot_be_kept(job_env: JobEnv, api: RunApi):
    """The name is in the sentence, with what is allowed."""
    code = "import os, pathlib; pathlib.Path(os.environ['MP_ARTIFACT_DIR'], 'my model').write_text('x')"
    assert "'my model' is no name for an artifact" in (wrap(job_env, api, code).run().failure or "")


def test_order_to_stop_ends_even_a_stubborn_job(job_env: JobEnv, api: RunApi, market: Any):
    """SIGTERM is ignored, SIGKILL after the grace is not."""
    market.orders = {"command": "stop", "heartbeat_seconds": 0.05}
    outcome = wrap(job_env, api, STUBBORN, replace(QUICK, grace=0.2)).run()
    assert (outcome.status, outcome.exit_code) in {("cancelled", -9), ("cancelled", -15)}


def test_stop_lets_a_job_end_well(job_env: JobEnv, api: RunApi, market: Any):
    """A job that hears SIGTERM may save its work; the whole log still arrives."""
    code = (
        "import signal, sys, time;"
        "signal.signal(15, lambda *_: (print('saved', flush=True), sys.exit(0)));"
        "print('up', flush=True); time.sleep(600)"
    )
    wrapper = wrap(job_env, api, code, replace(QUICK, grace=30.0))
    run_until(lambda: "up" in market.lines, wrapper)
    assert market.outcomes[0]["status"] == "cancelled"
    assert market.lines[-1] == "saved"


def test_deadline_ends_a_job(job_env: JobEnv, api: RunApi):
    """What is left of the budget decides, here nothing."""
    outcome = wrap(replace(job_env, deadline=NOW), api, "import time; time.sleep(600)").run()
    assert (outcome.status, outcome.failure) == ("failed", "The time of the budget is used up; the job was stopped.")


def test_order_brings_the_deadline_forward(job_env: JobEnv, api: RunApi, market: Any):
    """The marketplace's deadline counts when it is earlier."""
    market.orders = {"command": "continue", "deadline": "2026-01-01T00:00:00Z", "heartbeat_seconds": 0.05}
    outcome = wrap(job_env, api, "import time; time.sleep(600)").run()
    assert "budget is used up" in (outcome.failure or "")


def test_restart_does_not_renew_the_budget(job_env: JobEnv):
    """Hours count from the first start, whatever a later start is told."""
    spec = job_env.spec.model_copy(update={"budget": job_env.spec.budget.model_copy(update={"max_hours": 1.0})})
    env = replace(job_env, spec=spec)
    folder = RunFolder(env.folder)
    first = folder.count_start(env, NOW)
    later = replace(env, deadline=NOW + timedelta(hours=9))
    second = folder.count_start(later, NOW + timedelta(minutes=59))
    assert (first.starts, second.starts) == (1, 2)
    assert first.deadline == second.deadline == NOW + timedelta(hours=1)


def test_crash_loop_is_a_failure(job_env: JobEnv, api: RunApi, market: Any):
    """A container that is started again and again does not train again and again."""
    for _ in range(MAX_STARTS):
        RunFolder(job_env.folder).count_start(job_env, NOW)
    outcome = wrap(job_env, api, "print('trained again')").run()
    assert "started 4 times" in (outcome.failure or "")
    assert market.lines == []


def test_known_outcome_is_delivered_not_repeated(job_env: JobEnv, api: RunApi, market: Any):
    """A restart after the end tells the outcome and trains no second time; a third start stays silent."""
    RunFolder(job_env.folder).save_exit(RunOutcome(status="succeeded", exit_code=0), delivered=False)
    for _ in range(2):
        assert wrap(job_env, api, "print('trained again')").run().status == "succeeded"
    assert (market.lines, len(market.outcomes)) == ([], 1)


def test_outage_longer_than_the_patience_keeps_the_outcome(job_env: JobEnv, api: RunApi, market: Any):
    """Nobody answers: the outcome stays on disk, marked as untold."""
    market.trouble = lambda _: "lost"
    outcome = wrap(job_env, api, "print('x')", replace(QUICK, delivery=0.1)).run()
    known = RunFolder(job_env.folder).read_exit()
    assert known is not None
    assert (known.outcome, known.delivered) == (outcome, False)


def test_outage_in_between_loses_nothing(job_env: JobEnv, api: RunApi, market: Any):
    """Every second call fails after it did its work: lines and outcome are whole."""
    calls = iter(range(10_000))
    market.trouble = lambda _: "deaf" if next(calls) % 2 else ""
    outcome = wrap(job_env, api, "[print('line', n) for n in range(3000)]", replace(QUICK, delivery=60.0)).run()
    assert outcome.status == "succeeded"
    assert [f"line {n}" for n in range(3000)] == market.lines[1:]
    assert {told["status"] for told in market.outcomes} == {"succeeded"}


def test_foreign_report_lines_are_skipped(job_env: JobEnv, api: RunApi, market: Any):
    """A report that is partly no JSON keeps its good lines."""
    lines = ["rubbish", "[1]", json.dumps({"step": "one", "metrics": 7}), json.dumps({"metrics": {"ok": 1}})]
    code = f"import os; open(os.environ['MP_REPORT_FILE'], 'w').write({chr(10).join(lines) + chr(10)!r})"
    wrap(job_env, api, code).run()
    assert market.outcomes[0]["metrics"] == {"ok": 1}


def run_until(so: Callable[[], bool], wrapper: Wrapper) -> None:
    """Runs a wrapper in a thread, and stops it once something is so."""
    thread = threading.Thread(target=wrapper.run)
    thread.start()
    end = time.monotonic() + 60
    while not so() and time.monotonic() < end:
        time.sleep(0.01)
    wrapper.stop("the test said so")
    thread.join()

"""Logs: a line an event, ids of the work at hand, nothing secret, nothing that breaks a line."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, TypeAlias

import pytest

from mp_kit.server import redaction
from mp_kit.server.telemetry import logs, trail

Told: TypeAlias = "logging.StreamHandler[io.StringIO]"

KEY = "vk_0123456789abcdef_hidden0123456789"


@pytest.fixture
def handler() -> Iterator[Told]:
    """Of the logger ``told``, which has no other."""
    made, logger = logging.StreamHandler(io.StringIO()), logging.getLogger("told")
    logger.addHandler(made)
    logger.propagate = False
    yield made
    logger.removeHandler(made)


@pytest.fixture
def out(handler: Told) -> io.StringIO:
    """What it wrote."""
    return handler.stream


def speak(handler: logging.Handler, formatter: logging.Formatter, *args: Any, **kwargs: Any) -> None:
    handler.setFormatter(formatter)
    logging.getLogger("told").warning(*args, **kwargs)


def fail(with_what: str) -> None:
    raise ValueError(with_what)


def test_json_line_has_ids_and_fields(handler: Told, out: io.StringIO):
    """Those that there are; the call's own fields beside them."""
    with trail.following(request_id="r1", vendor_id="ven_1"):
        speak(handler, logs.JsonFormatter(), "took %d", 3, extra={logs.FIELDS: {"rows": 3, "none": None}})
    line = json.loads(out.getvalue())
    assert line.pop("time").endswith("+00:00")
    assert {
        "level": "warning",
        "logger": "told",
        "message": "took 3",
        "request_id": "r1",
        "vendor_id": "ven_1",
        "rows": 3,
    } == line


@pytest.mark.parametrize("formatter", [logs.JsonFormatter(), logs.TextFormatter()], ids=["json", "text"])
def test_no_secret_wherever_it_stands(handler: Told, out: io.StringIO, formatter: logging.Formatter):
    """Message, argument, field, id, exception: also without any filter."""
    with trail.following(request_id=KEY):
        try:
            fail(KEY)
        except ValueError:
            speak(
                handler, formatter, f"{KEY} %s", KEY, extra={logs.FIELDS: {"told": KEY}}, exc_info=True, stack_info=True
            )
    assert "hidden" not in out.getvalue()
    assert 5 <= out.getvalue().count("vk_***")


@pytest.mark.parametrize("formatter", [logs.JsonFormatter(), logs.TextFormatter()], ids=["json", "text"])
@pytest.mark.parametrize("breaker", ["\n", "\r", "\x1b[2J", "\u2028", "\x85"])
def test_a_line_stays_a_line(handler: Told, out: io.StringIO, formatter: logging.Formatter, breaker: str):
    """Nobody writes a second event into a first."""
    speak(handler, formatter, f"a{breaker}b", extra={logs.FIELDS: {"told": f"c{breaker}d"}})
    assert 1 == len(out.getvalue().splitlines())
    assert breaker not in out.getvalue().rstrip("\n")


def test_text_line_for_people(handler: Told, out: io.StringIO):
    """Time, level, logger, message, ids in brackets; a traceback below, indented."""
    with trail.following(run_id="run_1"):
        try:
            fail("no\nsuch")
        except ValueError:
            speak(handler, logs.TextFormatter(), "it failed", exc_info=True)
    first, *below = out.getvalue().splitlines()
    assert first.endswith("WARNING told: it failed [run_id=run_1]")
    assert below
    assert all(line.startswith("    ") for line in below)


def test_trail_notes_reach_whoever_opened_it():
    """From threads too, as long as they have a copy of the variables; outside of any nothing happens."""
    trail.note(vendor_id="nobody's")
    with trail.following(request_id="r") as ids:
        trail.note_parameters({"run_id": "run_0123456789abcdef", "deployment_id": "vk_no_id"})
        trail.note(vendor_id="v", deployment_id=None)
    assert ("r", "v", "run_0123456789abcdef", "") == (ids.request_id, ids.vendor_id, ids.run_id, ids.deployment_id)
    assert trail.current() is None


PROGRAM = f"""
import logging, sys, threading
from mp_kit.server import redaction
from mp_kit.server.telemetry import logs
redaction.install()
logs.configure({{form!r}}, "info")
logging.getLogger("mp_kit.some").info("started with {KEY}")
logging.getLogger("library").info("not told")
late = logging.getLogger("late"); late.propagate = False
late.addHandler(logging.StreamHandler(sys.stderr))
late.error("%s", "{KEY}")
thread = threading.Thread(target=lambda: 1 / len("{KEY}"[:0]), name="worker"); thread.start(); thread.join()
raise RuntimeError("{KEY}")
"""


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_process_of_ours(form: str):
    """What is uncaught and what comes through a handler that was added later is redacted, too, and told once."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(form=form)], capture_output=True, text=True, check=False
    )
    assert 1 == ended.returncode
    assert "hidden" not in ended.stderr
    assert 1 == ended.stderr.count("started with vk_***")
    assert "not told" not in ended.stderr
    assert "vk_***" in ended.stderr.splitlines()
    if form == "json":
        lines = [json.loads(line) for line in ended.stderr.splitlines() if line.startswith("{")]
        assert ["thread worker ended with ZeroDivisionError", "the process ends with RuntimeError"] == [
            line["message"] for line in lines[1:]
        ]
        assert lines[-1]["exception"].endswith("RuntimeError: vk_***")


def test_every_handler_has_the_filter():
    """The root's, and those of each logger that there is, Prefect's among them; records are made redacted."""
    prefect = logging.getLogger("prefect.flow_runs")
    prefect.addHandler(handler := logging.NullHandler())
    redaction.install()
    try:
        assert handler in redaction.handlers()
        unfiltered = [each for each in redaction.handlers() if not any(map(_is_ours, each.filters))]
        assert [] == unfiltered
        record = logging.getLogger("any").makeRecord("any", 20, "p", 1, f"said {KEY}", (), None)
        assert "said vk_***" == record.msg
    finally:
        prefect.removeHandler(handler)


def _is_ours(found: object) -> bool:
    return isinstance(found, redaction.RedactionFilter)


def test_follow_gives_streams_json_only_where_it_is_wanted(handler: Told, out: io.StringIO):
    """Prefect's processes keep their own form otherwise."""
    logs.follow("text")
    assert handler.formatter is None
    others = {each: each.formatter for each in redaction.handlers() if each is not handler}
    try:
        logs.follow("json")
        assert isinstance(handler.formatter, logs.JsonFormatter)
    finally:
        for each, formatter in others.items():
            each.setFormatter(formatter)
    assert "" == out.getvalue()

"""Logs of a process whose logging is Prefect's: JSON where it is wanted, and no secret either way."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

KEY = "vk_0123456789abcdef_hidden0123456789"
PROGRAM = f"""
import logging, prefect
from prefect.logging.configuration import setup_logging
from mp_kit.server import redaction
from mp_kit.server.telemetry import logs, trail
redaction.install()
setup_logging(incremental=False)  # as a flow run's process does again: its handlers are new
for form in ("text", "json"):
    logs.follow(form)
    try:
        raise ValueError("{KEY}")
    except ValueError:
        with trail.following(run_id="run_1", vendor_id="ven_1"):
            logging.getLogger("prefect.engine").exception("sent %s", "{KEY}", extra={{"flow_run_id": "f1"}})
"""


@pytest.mark.slow
def test_prefects_console_follows():
    """Also through handlers that Prefect made after the filter was put on the others."""
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert "hidden" not in ended.stderr
    *text, last = ended.stderr.splitlines()
    assert text[0].endswith("sent vk_***")
    line = json.loads(last)
    assert ("run_1", "ven_1", "f1") == (line["run_id"], line["vendor_id"], line["flow_run_id"])
    assert ("sent vk_***", "ValueError: vk_***") == (line["message"], line["exception"].splitlines()[-1])

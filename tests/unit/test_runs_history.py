"""The history of a run as its vendor reads it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mp_kit.server.services import runs_history
from mp_kit.server.services.runs_states import TRANSITIONS

SERVICES = Path(runs_history.__file__).parent


def entry(**changes: Any) -> Any:
    facts = {"seq": 0, "at": datetime.now(UTC), "kind": "transition", "letter": None, "detail": {}}
    return SimpleNamespace(**{**facts, "from_state": None, "to_state": None, **changes})


@pytest.mark.parametrize("letter", TRANSITIONS)
def test_arrows_mean_what_the_table_says(letter: str):
    """The sentence is the one of docs/runs.md, also for entries that were written before it was reworded."""
    told = runs_history.to_wire(entry(letter=letter, detail={"means": "an older sentence"}))
    assert (TRANSITIONS[letter].means, {}) == (told.means, told.detail)


def test_every_kind_has_a_sentence():
    """Whatever the services write into the history can be told to a vendor."""
    code = "\n".join(path.read_text() for path in SERVICES.glob("runs*.py"))
    written = set(re.findall(r'add_event\(\s*tx,\s*[\w.]+,\s*"(\w+)"', code))
    written |= set(re.findall(r'_note\(desk, \w+, "(\w+)"', code)) | set(re.findall(r'note\(tx, run, "(\w+)"', code))
    assert {"created", "launched", "refused"} < written
    assert set() == written - {"transition"} - set(runs_history.KINDS)


def test_kind_of_a_later_version():
    """It is told as something, not refused."""
    assert "no word" in runs_history.to_wire(entry(kind="teleported")).means


def test_details_are_redacted_and_chosen():
    """Numbers stay numbers; secrets in a provider's words do not leave; unknown fields neither."""
    secret = "vk_0123456789abcdef_abcdefgh"
    told = runs_history.to_wire(entry(detail={"failure": f"saw {secret}", "exit_code": 3, "token": secret}))
    assert {"failure": "saw vk_***", "exit_code": 3} == told.detail

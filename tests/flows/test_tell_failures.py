"""tell-failures: each failed run is told of once, and again where the mail did not leave."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from desks import order, publish
from mailboxes import mailbox
from sqlalchemy import text

from flows.tell_failures import Telling, tell
from mp_kit.errors import UnavailableError
from mp_kit.server.house import House
from mp_kit.server.services import failures, vendors


def fail(house: House, vendor_id: str, why: str) -> str:
    """A run that failed; its id."""
    with house.db.begin() as tx:
        run_id = order(tx, vendor_id)
        tx.execute(text("UPDATE training_runs SET state = 'launching' WHERE id = :id"), {"id": run_id})
        ended = (
            "UPDATE training_runs SET state = 'failed', finished_at = clock_timestamp(), failure = :why,"
            " cost_usd = 0.25 WHERE id = :id"
        )
        tx.execute(text(ended), {"id": run_id, "why": why})
    return run_id


def test_each_failure_is_told_once(house: House, monkeypatch: pytest.MonkeyPatch):
    """A mail that is refused is tried again later; what was told of is not; no secret goes out."""
    monkeypatch.setenv("MP_HOME", str(house.settings.home))
    monkeypatch.setenv("MP_DATABASE_URL", house.settings.database_url)
    monkeypatch.setenv("MP_REPORT_EMAIL_TO", "ops@example.com")
    with house.db.begin() as tx:
        publish(tx)
        vendor_id = vendors.create(tx, house.tokens, "ACME", actor="test").vendor_id
    first = fail(house, vendor_id, "it said vk_0123456789_abcdef")
    with mailbox(refuses=True) as box:
        monkeypatch.setenv("MP_SMTP_URL", f"smtp://127.0.0.1:{box.port}")
        with pytest.raises(UnavailableError):
            tell.fn(Telling())
    with mailbox() as box:
        monkeypatch.setenv("MP_SMTP_URL", f"smtp://127.0.0.1:{box.port}")
        assert [first] == [one["run"] for one in tell.fn(Telling())]
        assert [] == tell.fn(Telling())
        second = fail(house, vendor_id, "again")
        failed = tell.fn(Telling())
        assert [second] == [one["run"] for one in failed]
    [row] = json.loads(json.dumps(failures.table(failed)))
    assert (second, 0.25) == (row["run"], row["cost_usd"])
    assert datetime.fromisoformat(row["finished_at"]).tzinfo is not None
    subjects = [mail["Subject"] for mail in box.mails]
    assert ["1 training run failed"] * 2 == subjects
    said = box.mails[0].get_content()
    assert (True, True, False) == (first in said, "ACME" in said, "_abcdef" in said)

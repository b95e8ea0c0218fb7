"""Reading the audit log: by time, by action, by whatever an entry names; and what became of batches."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from mp_kit.cli.app import main
from mp_kit.server.house import House
from mp_kit.server.services import audit, revocation, signal_batches, signals
from mp_kit.server.services.tokens import REVOCATIONS
from mp_kit.server.store.engine import Tx
from tests.support.voices import SIGNER, make_voice, signal

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def actions(tx: Tx, since: datetime = LONG_AGO, **wanted: Any) -> list[str]:
    return [row.action for row in audit.newest(tx, since, **wanted)]


def test_nothing_of_others_is_shown(tx: Tx):
    """An id that merely begins alike is another one; a percent sign is no wildcard."""
    audit.record(tx, "vendor:ven_12", "key.create", "k1", note="ven_12")
    assert [] == actions(tx, about="ven_1")
    assert [] == actions(tx, action="%")


def test_entries_about_an_id(tx: Tx):
    """As actor, as subject, and deep inside the facts; newest first, in one transaction by their ids."""
    audit.record(tx, "vendor:ven_a", "key.create", "k1")
    audit.record(tx, "operator:cli", "vendor.suspended", "ven_a")
    audit.record(tx, "operator:cli", "key.revoke_all", "x", accounts=[{"owner": {"id": "ven_a"}}])
    audit.record(tx, "operator:cli", "vendor.create", "ven_b")
    assert {"key.create", "vendor.suspended", "key.revoke_all"} == set(actions(tx, about="ven_a"))
    assert {"key.create", "key.revoke_all"} == set(actions(tx, about="ven_a", action="key."))
    assert 1 == len(actions(tx, limit=1))


def test_entries_of_before_are_left_out(tx: Tx):
    """An entry of the instant itself belongs to it."""
    audit.record(tx, "operator:cli", "round.retire", "rnd_then")
    at: datetime = tx.execute(text("SELECT at FROM audit_log WHERE subject = 'rnd_then'")).scalar_one()
    assert ["round.retire"] == actions(tx, at, about="rnd_then")
    assert [] == actions(tx, at + timedelta(microseconds=1), about="rnd_then")


def test_audit_command(house: House, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """A vendor goes by its name; what the table cuts is whole in JSON."""
    monkeypatch.setenv("MP_DATABASE_URL", house.settings.database_url)
    home = ["--home", str(house.settings.home)]
    assert 0 == main(["admin", "vendor", "create", "Audited", *home])
    assert 0 == main(["admin", "vendor", "ceiling", "Audited", "--usd", "5", *home])
    capsys.readouterr()
    assert 0 == main(["admin", "audit", "Audited", "--json", *home])
    found = json.loads(capsys.readouterr().out)
    assert ["vendor.ceiling", "vendor.create"] == [row["action"] for row in found]
    assert {"monthly_ceiling_usd": 5.0} == found[0]["detail"]
    assert 0 == main(["admin", "audit", "Audited", "--action", "vendor.create", *home])
    assert "name=Audited" in capsys.readouterr().out


def test_listeners_are_those_who_hear_of_revocations(house: House):
    """Who listens elsewhere is none of them, nor who has gone."""

    def count() -> int:
        with house.db.begin() as tx:
            return len(revocation.listeners(tx))

    with house.db.listen("mp_elsewhere"):
        assert 0 == count()
        with house.db.listen(REVOCATIONS) as listener:
            listener.wait(0.01)
            assert 1 == count()


def push(tx: Tx, who: Any, key: str | None, *rows: dict[str, Any]) -> None:
    signals.store(tx, who, signals.Batch(items=rows, body=json.dumps(rows).encode(), key=key), signer=SIGNER)


def test_batches_tell_what_became_of_their_rows(tx: Tx, house: House):
    """Duplicates, conflicts and rejected rows are told apart where the answer was kept, and their reasons given."""
    who, other = (make_voice(tx, house, name) for name in ("Batches", "Others"))
    push(tx, other, None, signal())
    push(tx, who, "a", signal())
    push(tx, who, "b", signal(), signal(decision="SELL", symbol="EURUSD"), signal(confidence=3))
    push(tx, who, None, signal(symbol="GBPUSD"))
    found = {(one.rows, one.accepted): one for one in signal_batches.since(tx, who.vendor_id or "", LONG_AGO)}
    assert {(1, 1), (3, 0)} == found.keys()
    mixed = found[3, 0]
    assert (1, 1, 1) == (mixed.duplicates, mixed.conflicts, mixed.rejected)
    assert "a signal is never rewritten" in mixed.problems[0]
    whole = signal_batches.since(tx, who.vendor_id or "", LONG_AGO)
    assert {None, 0} == {one.conflicts for one in whole if one.rows == 1}
    assert [] == signal_batches.since(tx, who.vendor_id or "", datetime.now(UTC) + timedelta(minutes=1))

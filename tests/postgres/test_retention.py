"""What is kept how long: everything beyond its time goes, everything else stays, and the page says the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import text

from mp_kit.errors import SetupError
from mp_kit.server.services import audit, chain_checks, retention
from mp_kit.server.settings import Settings, ensure_secrets, load
from mp_kit.server.store.tables import metadata
from tests.support.furnished import furnish, house_over

DOCS = Path(__file__).parents[2] / "docs/retention.md"


@pytest.fixture
def aged(migrated_url: Callable[[], str], tmp_path: Path) -> Iterator[SimpleNamespace]:
    """A marketplace with something of everything that has ended."""
    house = house_over(migrated_url(), tmp_path / "home")
    ids = furnish(house, tmp_path / "bars", signed=False)
    with house.db.begin() as tx:
        given = {"v": ids.vendor, "d": ids.who.deployment_id, "r": ids.run}
        for statement in THINGS:
            tx.execute(text(statement), {name: value for name, value in given.items() if f":{name}" in statement})
    yield SimpleNamespace(house=house, **vars(ids))
    house.close()


THINGS = """
INSERT INTO deployment_heartbeats (id, deployment_id, status, timestamp) VALUES ('hb_1', :d, 'ready', now());
INSERT INTO webhook_events (id, type, vendor_id, body) VALUES ('msg_1', 'run.finished', :v, '{}');
INSERT INTO auth_codes (id, vendor_id, token_hash, issued_by, expires_at) VALUES ('c', :v, 'x', 'x', now());
INSERT INTO device_logins (id, code_digest, user_code, address, interval_seconds, expires_at)
  VALUES ('dev_1', 'x', 'y', '203.0.113.7', 5, now());
INSERT INTO sign_in_trips (state_digest, purpose, holder_digest, target, expires_at)
  VALUES ('s', 'login', 'h', '/', now());
UPDATE vendor_keys SET revoked_at = now() WHERE vendor_id = :v;
UPDATE deployment_tokens SET revoked_at = now() WHERE deployment_id = :d;
UPDATE signal_batches SET idempotency_key = 'k' || id, answer = 'a' WHERE deployment_id = :d;
UPDATE training_runs SET idempotency_key = 'k' WHERE id = :r;
INSERT INTO run_logs (run_id, seq, at, stream, text) VALUES (:r, 1, now(), 'stdout', 'x');
INSERT INTO signal_drops (deployment_id, name, size_bytes, sha256, object_key, announced_at, state, finished_at)
  VALUES (:d, 'x', 1, 'x', 'staged/inbox/x', now(), 'stored', now());
INSERT INTO dataset_grants (id, round_id, vendor_id, grantee, expires_at) SELECT 'gra_1', id, :v, 'x', now()
  FROM dataset_rounds LIMIT 1
""".strip().split(";\n")
OLD_ENTRY = """
INSERT INTO audit_log (id, at, actor, action, subject) VALUES ('old', now() - interval '40 days', 'x', 'y', 'z')
"""
LIVES = {
    "codes": 1, "devices": 1, "trips": 1, "heartbeats": 30, "answers": 30, "run_keys": 30, "keys": 90,
    "tokens": 90, "drops": 90, "grants": 365, "run_logs": 365,
}  # fmt: skip


def test_everything_goes_when_its_time_is_over_and_not_before(aged: SimpleNamespace):
    """At each age exactly those of that age go; what proves something is as it was."""
    house, started = aged.house, datetime.now(UTC)
    for days in sorted(set(LIVES.values())):
        wanted = {name for name, life in LIVES.items() if life == days}
        assert {} == retention.apply(house.db, started + timedelta(days=days, hours=-1), audit_days=0)
        assert wanted == set(retention.apply(house.db, started + timedelta(days=days, hours=1), audit_days=0))
    with house.db.begin() as tx:
        chains = chain_checks.check_all(tx)
        assert ([], 3, 6) == (chains.problems, chains.receipts, chains.signals)
        assert 1 == tx.execute(text("SELECT count(*) FROM training_runs")).scalar_one()
        assert 3 == tx.execute(text("SELECT count(*) FROM signal_batches WHERE idempotency_key IS NULL")).scalar_one()


def test_old_events_go_by_the_databases_clock(aged: SimpleNamespace):
    """With their deliveries."""
    with aged.house.db.begin() as tx:
        tx.execute(text("UPDATE webhook_events SET created_at = now() - interval '31 days'"))
    assert 1 == retention.apply(aged.house.db, datetime.now(UTC), audit_days=0)["webhooks"]


def test_audit_is_kept_as_long_as_it_is_said(aged: SimpleNamespace):
    """Old entries go, young ones stay; 0 is for ever; a month's are kept whoever asks."""
    house, now = aged.house, datetime.now(UTC)
    with house.db.begin() as tx:
        tx.execute(text(OLD_ENTRY))
        count = tx.execute(text("SELECT count(*) FROM audit_log")).scalar_one()
    assert "audit" not in retention.apply(house.db, now, audit_days=0)
    assert "audit" not in retention.apply(house.db, now, audit_days=41)
    assert 1 == retention.apply(house.db, now, audit_days=39)["audit"]
    with house.db.begin() as tx:
        assert count - 1 == len(audit.newest(tx, now - timedelta(days=99)))
    with pytest.raises(Exception, match="can only grow"):
        retention.apply(house.db, now + timedelta(days=60), audit_days=40)


def test_more_than_a_batch_goes(aged: SimpleNamespace, monkeypatch: pytest.MonkeyPatch):
    """Batch by batch, in one run."""
    monkeypatch.setattr(retention, "BATCH", 2)
    with aged.house.db.begin() as tx:
        tx.execute(
            text("INSERT INTO run_logs SELECT :r, n, now(), 'stdout', 'x' FROM generate_series(2, 8) n"),
            {"r": aged.run},
        )
    assert 8 == retention.apply(aged.house.db, datetime.now(UTC) + timedelta(days=366), audit_days=0)["run_logs"]


def test_every_table_has_its_line():
    """Forgotten or kept for a reason, and not both, but where rows only lose something."""
    forgotten = {table for rule in retention.RULES for table in rule.tables}
    assert set(metadata.tables) == forgotten | set(retention.KEPT)
    assert set() == forgotten & set(retention.KEPT)


def test_page_is_the_codes():
    """docs/retention.md has the table that the code makes."""
    wanted = retention.as_markdown(Settings.audit_days)
    assert wanted in DOCS.read_text(), f"put this into {DOCS.name}:\n{wanted}"


@pytest.mark.parametrize("value", ["7", "-1", "x", "29.5"])
def test_audit_days_are_checked(tmp_path: Path, value: str):
    """The trigger keeps a month: fewer days would fail every night."""
    ensure_secrets(tmp_path)
    with pytest.raises(SetupError, match="MP_AUDIT_DAYS"):
        load(tmp_path, {"MP_DATABASE_URL": "postgresql://x", "MP_AUDIT_DAYS": value})
    assert 0 == load(tmp_path, {"MP_DATABASE_URL": "postgresql://x", "MP_AUDIT_DAYS": "0"}).audit_days

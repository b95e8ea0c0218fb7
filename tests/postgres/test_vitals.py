"""Figures of the database for metrics: what rows mean in them, how often it is asked, what happens when it is away."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from mp_kit.cli.app import main
from mp_kit.contracts.training import TrainingRequest
from mp_kit.server import settings
from mp_kit.server.house import House
from mp_kit.server.scrape import DatabaseFigures
from mp_kit.server.services import runs, vendors
from mp_kit.server.store import vitals
from mp_kit.server.store.engine import Database, Tx

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
MIDNIGHT = NOON.replace(hour=0)


@pytest.fixture
def vendor(tx: Tx, house: House) -> str:
    """A vendor and a current round without files."""
    tx.execute(text("INSERT INTO signing_keys (id, public_key) VALUES ('k', 'x')"))
    statement = (
        "INSERT INTO dataset_rounds (id, name, is_current, fingerprint, manifest, manifest_sha256,"
        " manifest_key_id, manifest_signature) VALUES ('rnd', 'rnd', true, 'f', 'x', :sha, 'k', 'x')"
    )
    tx.execute(text(statement), {"sha": "0" * 64})
    return vendors.create(tx, house.tokens, "ACME", actor="test").vendor_id


@pytest.fixture
def run_id(tx: Tx, vendor: str) -> str:
    """A queued run at RunPod, with a bound of $7, ordered two hours before noon."""
    wanted: dict[str, Any] = {"round_id": "current", "task": "signal", "provider": "runpod"}
    request = TrainingRequest.model_validate(wanted | {"budget": {"max_cost_usd": 7}})
    made = runs.create(tx, vendor, request, idempotency_key=None, now=NOON - timedelta(hours=2), providers={"runpod"})
    tx.execute(text("UPDATE training_runs SET created_at = :at, next_look_at = :at"), {"at": NOON - timedelta(hours=2)})
    return made.run_id


def machine(tx: Tx, run_id: str, vendor: str, ref: str, since: datetime, **more: Any) -> None:
    values = {"ref": ref, "run_id": run_id, "vendor_id": vendor, "since": since, "until": None, "billed": None} | more
    statement = (
        "INSERT INTO run_machines (provider, ref, run_id, attempt, vendor_id, price_per_hour, since, until, billed_usd)"
        " VALUES ('runpod', :ref, :run_id, 1, :vendor_id, 2, :since, :until, :billed)"
    )
    tx.execute(text(statement), values)


def read(tx: Tx) -> dict[str, list[Any]]:
    return vitals.read(tx, now=NOON, today=MIDNIGHT, timeout_seconds=5)


def test_runs_by_state(tx: Tx, run_id: str):
    """Open ones, and those that ended today; yesterday's are over."""
    assert [("queued", 1)] == [tuple(row) for row in read(tx)["runs"]]
    ended = "UPDATE training_runs SET state = 'cancelled', finished_at = :at WHERE id = :id"
    tx.execute(text(ended), {"at": MIDNIGHT, "id": run_id})
    assert [("cancelled", 1)] == [tuple(row) for row in read(tx)["runs"]]
    tx.execute(text("UPDATE training_runs SET finished_at = :at"), {"at": MIDNIGHT - timedelta(seconds=1)})
    assert [] == read(tx)["runs"]


def test_money_of_today(tx: Tx, vendor: str, run_id: str):
    """Hours before midnight are yesterday's; a bill goes by the hours that fall into today."""
    hour = timedelta(hours=1)
    machine(tx, run_id, vendor, "living", NOON - hour)  # 1 h at $2
    machine(tx, run_id, vendor, "over midnight", MIDNIGHT - hour, until=MIDNIGHT + hour)  # 1 h of 2 at $2
    machine(tx, run_id, vendor, "billed", MIDNIGHT - hour, until=MIDNIGHT + hour, billed=1)  # half of $1
    machine(tx, run_id, vendor, "yesterday's", MIDNIGHT - 3 * hour, until=MIDNIGHT - hour)
    machine(tx, run_id, vendor, "no time at all", MIDNIGHT, until=MIDNIGHT, billed=1)
    [row] = read(tx)["money"]
    assert ("runpod", 4.5, 7.0) == (row.provider, pytest.approx(row.spent_today), row.committed)


def test_queues(tx: Tx, run_id: str):
    """How many wait, and since when the oldest could have been done."""
    found = {row.queue: (row.waiting, row.due_since) for row in read(tx)["queues"]}
    two_hours_ago = NOON - timedelta(hours=2)
    none = (0, None)
    assert {
        "runs": (1, two_hours_ago),
        "looks": (1, two_hours_ago),
        "webhooks": none,
        "hostings": none,
        "drops": none,
    } == found
    tx.execute(text("UPDATE training_runs SET next_look_at = :at"), {"at": NOON + timedelta(hours=1)})
    assert none == next((row.waiting, row.due_since) for row in read(tx)["queues"] if row.queue == "looks")
    assert run_id


def test_slow_statement_is_ended(shared_db: Database):
    """By the timeout, and only in its transaction."""
    with shared_db.begin() as tx:
        vitals.read(tx, now=NOON, today=MIDNIGHT, timeout_seconds=1.5)
        assert "1500ms" == tx.execute(text("SHOW statement_timeout")).scalar_one()
    with shared_db.begin() as tx:
        assert "0" == tx.execute(text("SHOW statement_timeout")).scalar_one()


def up(figures: DatabaseFigures) -> float:
    [value] = [m.samples[0].value for m in figures.collect() if m.name == "mp_scrape_database_up"]
    return float(value)


def test_database_is_asked_once_in_a_while(shared_db: Database, monkeypatch: pytest.MonkeyPatch):
    """Many scrapers cost what one costs."""
    asked: list[int] = []
    told = vitals.read
    monkeypatch.setattr(vitals, "read", lambda tx, **given: asked.append(1) or told(tx, **given))
    figures = DatabaseFigures(shared_db, keep_seconds=60)
    assert [1.0] * 5 == [up(figures) for _ in range(5)]
    assert [1] == asked


def test_away_or_without_tables(postgres_url: str):
    """The figures are left out, and that is told; nothing is raised."""
    for url in ("postgresql://me@127.0.0.1:1/none", postgres_url):
        db = Database(url, pool_size=1)
        figures = DatabaseFigures(db)
        assert 0 == up(figures)
        assert 1 == sum(len(metric.samples) for metric in figures.collect())
        db.close()


@pytest.fixture
def home(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home with good secrets beside the house's database."""
    settings.ensure_secrets(tmp_path)
    monkeypatch.setenv("MP_HOME", str(tmp_path))
    monkeypatch.setenv("MP_DATABASE_URL", house.settings.database_url)
    return tmp_path


def check(capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = main(["admin", "check"])
    said = capsys.readouterr()
    return code, said.out + said.err


@pytest.mark.usefixtures("home")
def test_check_of_a_sound_marketplace(capsys: pytest.CaptureFixture[str]):
    """Exit 0, each part."""
    code, said = check(capsys)
    assert 0 == code
    assert 4 == said.count("ok")


@pytest.mark.usefixtures("home")
def test_check_says_why(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """A database that is away, then weak secrets: exit 1 and the reason."""
    monkeypatch.setenv("MP_DATABASE_URL", "postgresql://me@127.0.0.1:1/none")
    code, said = check(capsys)
    assert (1, True) == (code, "The database does not answer" in said)
    monkeypatch.setenv("MP_JWT_SECRET", "your_jwt_signing_secret")
    code, said = check(capsys)
    assert (1, True) == (code, "MP_JWT_SECRET is an example's value" in said)
    assert "your_jwt" not in said

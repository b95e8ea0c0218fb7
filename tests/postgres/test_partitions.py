"""Signals by month: nothing fails for want of a partition, nothing is lost or doubled when one opens."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from mp_kit.errors import DatabaseDownError
from mp_kit.server.services import signals, upkeep
from mp_kit.server.services.tokens import Principal
from mp_kit.server.store import partitions
from mp_kit.server.store.engine import Database
from mp_kit.signing import Signer

NOW = datetime.now(UTC)
MAY = datetime(2020, 5, 1, tzinfo=UTC)
WHO = Principal(kind="deployment", vendor_id="v", deployment_id="d", scope={"routes": ["signals:store"]})
SIGNER = Signer(bytes(32))
COUNTS = text("SELECT tableoid::regclass::text, count(*) FROM signals GROUP BY 1 ORDER BY 1")


@pytest.fixture
def db(migrated_url: Callable[[], str]) -> Iterator[Database]:
    """A database of its own, with a vendor's deployment."""
    opened = Database(migrated_url())
    with opened.begin() as tx:
        tx.execute(text("INSERT INTO marketplace_vendors (id, name) VALUES ('v', 'v')"))
        tx.execute(text("INSERT INTO deployments (id, vendor_id, name, provider) VALUES ('d', 'v', 'd', 'byoc')"))
    yield opened
    opened.close()


def rows_at(*times: datetime) -> list[dict[str, Any]]:
    return [
        {
            "symbol": "EURUSD", "timeframe": "1h", "decision": "BUY", "confidence": 0.5, "model_version": "1",
            "timestamp": at.isoformat(),
        }
        for at in times
    ]  # fmt: skip


def push(db: Database, rows: list[dict[str, Any]]) -> list[int]:
    """Accepted, duplicates, conflicts, rejected."""
    with db.begin() as tx:
        batch = signals.Batch(rows, json.dumps(rows).encode())
        return signals.store(tx, WHO, batch, signer=SIGNER).counts


def counts(db: Database) -> dict[str, int]:
    with db.begin() as tx:
        return dict(tuple(row) for row in tx.execute(COUNTS))


def test_signals_of_any_time_are_stored(db: Database):
    """Of the year 1000, of this minute: no partition is asked for."""
    assert [3, 0, 0, 0] == push(db, rows_at(datetime(1000, 1, 1, tzinfo=UTC), MAY, NOW))
    assert {"signals_default": 3} == counts(db)


def test_opening_a_month_moves_its_signals(db: Database):
    """To the microsecond of its bounds, and they stay duplicates of themselves."""
    last = partitions.next_month(MAY) - timedelta(microseconds=1)
    rows = rows_at(MAY - timedelta(microseconds=1), MAY, last, partitions.next_month(MAY))
    push(db, rows)
    with db.begin() as tx:
        assert 2 == partitions.open_month(tx, MAY)
    with db.begin() as tx:
        assert partitions.open_month(tx, MAY) is None
    assert {"signals_2020_05": 2, "signals_default": 2} == counts(db)
    assert [0, 4, 0, 0] == push(db, rows)
    assert [1, 0, 0, 0] == push(db, rows_at(MAY + timedelta(hours=7)))
    assert {"signals_2020_05": 3, "signals_default": 2} == counts(db)


def test_wrong_attribution_has_no_place_in_a_new_month(db: Database):
    """The foreign key and the checks are the parent's."""
    with db.begin() as tx:
        partitions.open_month(tx, MAY)
        kinds = text(
            "SELECT contype::text, count(*) FROM pg_constraint WHERE conrelid = 'signals_2020_05'::regclass GROUP BY 1"
        )
        assert {"c": 4, "f": 1, "u": 1} == {kind: count for kind, count in tx.execute(kinds) if kind != "n"}


def test_months_are_opened_ahead_and_when_crowded(db: Database):
    """This month, the next, and those of many signals; a second upkeep has nothing to do."""
    push(db, rows_at(*(MAY + timedelta(hours=n) for n in range(5)), NOW, datetime(1999, 1, 1, tzinfo=UTC)))
    this = NOW.replace(day=1)
    first = upkeep.keep_months(db, NOW, crowded=5)
    expected = {partitions.name_of(this): 1, partitions.name_of(partitions.next_month(this)): 0, "signals_2020_05": 5}
    assert expected == first
    assert {} == upkeep.keep_months(db, NOW, crowded=5)
    assert 1 == counts(db)["signals_default"]


def test_a_reader_in_the_way_is_waited_for_and_then_left(db: Database, monkeypatch: pytest.MonkeyPatch):
    """A long transaction makes upkeep give up, not the marketplace wait behind it."""
    monkeypatch.setattr(partitions, "LOCK_WAIT", "100ms")
    with db.begin() as reader:
        reader.execute(text("SELECT count(*) FROM signals"))
        with pytest.raises(DatabaseDownError):
            upkeep.keep_months(db, NOW)
    assert 2 == len(upkeep.keep_months(db, NOW))


def test_storing_while_months_open(db: Database):
    """Writers and moves at once: each signal is stored once, whichever partition it found."""
    stop = threading.Event()
    accepted: list[int] = []

    def write() -> None:
        number = 0
        while not stop.is_set():
            rows = rows_at(*(MAY + timedelta(days=n, minutes=number) for n in range(0, 120, 3)))
            accepted.append(push(db, rows)[0])
            assert [0, len(rows), 0, 0] == push(db, rows)
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    month = MAY
    for _ in range(4):
        with db.begin() as tx:
            partitions.open_month(tx, month)
        month = partitions.next_month(month)
    stop.set()
    writer.join()
    assert sum(accepted) == sum(counts(db).values())
    assert all(count % 40 == 0 for count in accepted)

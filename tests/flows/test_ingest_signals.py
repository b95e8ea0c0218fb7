"""ingest-signals: every admitted signal is blended once, by each method, with what was said by whom."""

from __future__ import annotations

import pytest

from flows.ingest_signals import Ingestion, blend
from mp_kit.contracts import Stage
from mp_kit.server.house import House
from mp_kit.server.services import accounts
from tests.support.voices import make_voice, say, signal


@pytest.fixture
def at_home(house: House, monkeypatch: pytest.MonkeyPatch) -> House:
    """The flow opens this house."""
    monkeypatch.setenv("MP_HOME", str(house.settings.home))
    monkeypatch.setenv("MP_DATABASE_URL", house.settings.database_url)
    return house


def test_blends_until_nothing_is_left(at_home: House):
    """More batches than one transaction takes; the second run finds nothing to do."""
    with at_home.db.begin() as tx:
        one, two = make_voice(tx, at_home, "One", Stage.PILOT), make_voice(tx, at_home, "Two", Stage.PILOT)
        for symbol in ("EURUSD", "GBPUSD", "USDJPY"):
            say(tx, one, signal(symbol=symbol, confidence=0.75))
        say(tx, two, signal(decision="SELL", confidence=0.25))
    bars, changed = blend.fn(Ingestion(batches=1))
    assert (4, 3) == (bars, len(changed))
    assert (0, []) == blend.fn(Ingestion())
    told = {row["vendor"]: row for row in accounts.consensus(changed) if row["symbol"] == "EURUSD"}
    assert (0.75, "SELL") == (told["One"]["weight"], told["One"]["without"])
    assert ("confidence_skill", "BUY") == (told["Two"]["method"], told["Two"]["decision"])

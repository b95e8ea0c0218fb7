"""Scores made at home: whatever signals come in, the same card; what cannot be read is told."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from mp_kit.client.marketplace import Marketplace
from mp_kit.errors import InvalidInputError
from mp_kit.signing import canonical_bytes
from mp_kit.testing import FakeMarketplace

START = datetime(2026, 1, 5, tzinfo=UTC)


def rows(count: int = 60, **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "symbol": "EURUSD",
            "timeframe": "1h",
            "decision": ("BUY", "SELL", "HOLD")[hour % 3],
            "confidence": 0.5 + hour / 200,
            "event_time": START + timedelta(hours=hour),
        }
        | more
        for hour in range(count)
    ]


FORMS = {
    "pandas": pd.DataFrame,
    "arrow": pa.Table.from_pylist,
    "generator": iter,
    "text times": lambda told: [row | {"event_time": row["event_time"].isoformat()} for row in told],
    "timestamp only": lambda told: [{("timestamp" if k == "event_time" else k): v for k, v in r.items()} for r in told],
    "holes": lambda told: pd.DataFrame([row | {"received_at": None, "signal_id": None} for row in told]),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_card(market: Marketplace, form: str):
    """Frames, tables, dictionaries; signals that were never stored count as said in time."""
    wanted = market.scores.score(rows(), progress=False)
    assert wanted.basis.scored > 50
    assert wanted == market.scores.score(FORMS[form](rows()), progress=False)


def test_a_rounds_closes_are_where_it_says(market: Marketplace, fake: FakeMarketplace):
    """A round whose bars close half way through: what was stored after that is entered at the next close."""
    stored = [row | {"received_at": row["event_time"] + timedelta(minutes=31)} for row in rows(20)]
    before = market.scores.score(stored, progress=False)
    fake.shelf.manifest = fake.shelf.manifest.model_copy(update={"priced_after": 1_800})
    fake.shelf.manifest_bytes = canonical_bytes(fake.shelf.manifest.model_dump(mode="json"))
    after = market.scores.score(stored, progress=False)
    assert (START + timedelta(hours=1), START + timedelta(hours=1.5)) == (before.basis.first, after.basis.first)


def test_card_shows_itself(market: Marketplace):
    """Numbers with their intervals, reasons in place of numbers, in text and HTML; JSON without NaN."""
    card = market.scores.score(rows(), tries=3, progress=False)
    assert "hit rate" in repr(card)
    assert "[" in repr(card)
    assert "<table" in card._repr_html_()
    json.dumps(card.model_dump(mode="json"), allow_nan=False)


def test_several_deployments_want_a_choice(market: Marketplace):
    """A score is one deployment's; the hint names them."""
    both = [*rows(5, deployment_id="dep_a"), *rows(5, deployment_id="dep_b", confidence=0.1)]
    with pytest.raises(InvalidInputError, match="2 deployments") as caught:
        market.scores.score(both, progress=False)
    assert "dep_a, dep_b" in caught.value.hint
    chosen = market.scores.score(both, deployment="dep_b", progress=False)
    assert 0.1 == pytest.approx(chosen.avg_confidence.value)


def test_other_timeframes_are_not_this_rounds(market: Marketplace):
    """Nothing to score is a card of reasons, not an error."""
    card = market.scores.score(rows(timeframe="5m"), progress=False)
    assert (0, None) == (card.basis.signals, card.sharpe.value)


def test_signals_of_other_bars_are_named(market: Marketplace):
    """A card of nothing says why: their timeframe, or their symbol, is not the round's."""
    card = market.scores.score([*rows(3, timeframe="5m"), *rows(2, symbol="AAPL")], progress=False)
    round_id = market.rounds.current().round_id
    assert {f"of 5m: round {round_id} has 1h": 3, f"of AAPL: not in round {round_id}": 2} == card.set_aside
    assert f"3 of 5m: round {round_id} has 1h, 2 of AAPL: not in round {round_id}" in repr(card)
    assert {} == market.scores.score(rows(), progress=False).set_aside


UNREADABLE = {
    "text": ("EURUSD", "can't be read from str"),
    "one dictionary": ({"symbol": "EURUSD"}, "can't be read from dict"),
    "a number": (7, "can't be read from int"),
    "bad confidence": ([*rows(2), *rows(1, confidence=2)], "Signal 2"),
    "naive time": (rows(1, event_time="2026-01-05T00:00:00"), "zone"),
    "no time": (rows(1, event_time=None), "neither event_time nor timestamp"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_told(market: Marketplace, name: str):
    """Where, and what is wrong."""
    given, reason = UNREADABLE[name]
    with pytest.raises(InvalidInputError, match=reason):
        market.scores.score(given, progress=False)


def test_empty_leaderboard(market: Marketplace):
    """A marketplace without scores says so."""
    assert "Leaderboard: none" == repr(market.scores.leaderboard())
    assert "scores" in repr(market)

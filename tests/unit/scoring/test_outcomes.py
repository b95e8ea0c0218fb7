"""Signals met with outcomes: who counts, when a position begins, what it earns; by hand and against plain pandas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.plain_scores import reference
from mp_kit.contracts import Timeframe
from mp_kit.contracts.scores import ScoreCard
from mp_kit.errors import InvalidInputError
from mp_kit.market.pricing import ECB_PRICED_AFTER
from mp_kit.scoring.card import card_of, enough, score
from mp_kit.scoring.contribution import standings
from mp_kit.scoring.outcomes import Market, join, join_runs, portfolio
from tests.support.markets import HOUR, made_up, make_market, say, statements_of


def test_close_to_close_golden():
    """Said of bar 1, held two bars: from its close 2 to close 3 of bar 3."""
    met = join(make_market({"EURUSD": [1, 2, 4, 3, 5]}, horizon=2), say({"event_time": HOUR}))
    assert [0.5] == met.returns.tolist()
    assert ([2 * HOUR], [4 * HOUR]) == (met.began.tolist(), met.ended.tolist())


ENTRIES = {
    "before its bar": (-10 * HOUR, 1),
    "at its bar's close": (2 * HOUR, 1),
    "a microsecond after": (2 * HOUR + 1, 2),
    "five bars after": (7 * HOUR - 1, 6),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_outcome_begins_after_the_signal_was_stored(name: str):
    """A signal is entered at the first close at or after it was stored, and never before its own bar's."""
    received, entry = ENTRIES[name]
    market = make_market({"EURUSD": np.arange(1.0, 21.0)})
    met = join(market, say({"event_time": HOUR, "received_at": received}))
    assert [entry] == met.entry.tolist()
    assert received <= met.began[0]


def peeking_at_fixings(priced_after: int | None) -> ScoreCard:
    """A vendor that stores its signal at 23:00Z, when it has seen ten hours of what followed the day's fixing."""
    hours = np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.001, 1_000 * 24))).reshape(-1, 24)
    fixing, seen = hours[:, 13], hours[:, 22]
    days = np.arange(1_000, dtype=np.int64) * 24 * HOUR
    market = Market(Timeframe.D1, 1, {"EURUSD": join_runs([(days, fixing)])}, priced_after)
    told = [
        {"event_time": int(day), "received_at": int(day) + 23 * HOUR, "direction": 1 if up else -1}
        for day, up in zip(days, seen > fixing, strict=True)
    ]
    return score(market, say(*told), tries=1)


def test_a_fixing_is_history_at_the_days_end():
    """A date-stamped bar that closes at noon is entered at the next noon: hours of hindsight earn nothing."""
    cheated, honest = peeking_at_fixings(None), peeking_at_fixings(ECB_PRICED_AFTER)
    assert (cheated.hit_rate.low or 0) > 0.6
    assert (cheated.sharpe.low or 0) > 5
    assert (honest.hit_rate.low or 0) < 0.5 < (honest.hit_rate.high or 0)
    assert (honest.sharpe.low or 0) < 0 < (honest.sharpe.high or 0)


def test_close_inside_its_bar():
    """Begun and ended, and the bars that are walked, follow the close's instant; at that instant it still counts."""
    days = np.arange(5, dtype=np.int64) * 24 * HOUR
    market = Market(Timeframe.D1, 1, {"EURUSD": join_runs([(days, np.array([1.0, 2.0, 3.0, 6.0, 6.0]))])}, 12 * 3_600)
    for received, entry in ((36 * HOUR, 1), (36 * HOUR + 1, 2)):
        met = join(market, say({"event_time": 24 * HOUR, "received_at": received}))
        began = (entry * 24 + 12) * HOUR
        assert ([entry], [began], [began + 24 * HOUR]) == (met.entry.tolist(), met.began.tolist(), met.ended.tolist())
        found = portfolio(market, met, cost=0.01)
        assert ([(entry + 1) * 24 * HOUR], [2.0]) == (found.times.tolist(), found.traded.tolist())


def test_who_counts():
    """Late ones, restatements, unknown bars and open horizons are left out, each under its reason."""
    market = make_market({"EURUSD": np.arange(1.0, 11.0)}, horizon=3)
    told = say(
        {"event_time": HOUR},
        {"event_time": HOUR, "direction": -1},
        {"event_time": 2 * HOUR, "late": True},
        {"event_time": HOUR // 2},
        {"event_time": HOUR, "symbol": "XAUUSD"},
        {"event_time": 9 * HOUR},
    )
    met = join(market, told)
    assert {"late": 1, "restated": 1, "no_bar": 2, "open": 1} == met.left_out
    assert ([1], 4) == (met.direction.tolist(), met.signals)


def test_what_is_older_than_the_market_is_not_counted():
    """The server's copy begins at the round's first bar and a laptop's does not: the same card to the last bit."""
    bars = np.arange(100, 160, dtype=np.int64) * HOUR
    prices = np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.01, 60)))
    market = Market(Timeframe.H1, 1, {"EURUSD": join_runs([(bars, prices)])})
    told = say(*({"event_time": hour * HOUR, "late": hour % 9 == 0, "direction": 1 - 2 * (hour % 2)} for hour in
                 [*range(80, 160), *range(90, 110)]))  # fmt: skip
    card = score(market, told)
    assert score(market, told.take(np.flatnonzero(told.event_time >= bars[0]))) == card
    assert 0 == card.basis.left_out["no_bar"]


def test_late_statement_does_not_silence_the_one_in_time():
    """And the first of two in time is the one that was stored first, whatever their order in the file."""
    told = say(
        {"event_time": HOUR, "late": True, "received_at": 0},
        {"event_time": HOUR, "direction": -1, "received_at": 100},
        {"event_time": HOUR, "received_at": 99},
    )
    assert [1] == join(make_market({"EURUSD": [1, 2, 3, 4]}), told).direction.tolist()


def test_same_moment_is_ordered_by_batch_and_row():
    """Two versions of a model in one batch: the first row is the statement."""
    told = say(
        {"event_time": HOUR, "direction": -1, "received_at": 5, "batch": 7, "row": 2},
        {"event_time": HOUR, "direction": 1, "received_at": 5, "batch": 7, "row": 1},
        {"event_time": HOUR, "direction": 0, "received_at": 5, "batch": 8, "row": 0},
    )
    assert [1] == join(make_market({"EURUSD": [1, 2, 3, 4]}), told).direction.tolist()


def test_no_outcome_crosses_a_gap():
    """Purged bars between roles: a horizon that would leave its run is left out, and no bar's return spans it."""
    run = np.arange(5, dtype=np.int64) * HOUR
    series = join_runs([(run, np.full(5, 1.0)), (run + 20 * HOUR, np.full(5, 9.0))])
    market = Market(Timeframe.H1, 2, {"EURUSD": series})
    met = join(market, say(*({"event_time": int(time)} for time in series.times)))
    assert [0, 1, 2, 5, 6, 7] == met.entry.tolist()
    assert 4 == met.left_out["open"]
    assert not portfolio(market, met).returns.any()


def test_runs_that_share_a_bar_are_one():
    """Test and live window of a round overlap; a purged gap parts runs; order and empty pieces do not matter."""
    hours = np.arange(10, dtype=np.int64) * HOUR
    prices = np.arange(1.0, 11.0)
    pieces = [(hours[4:8], prices[4:8]), (hours[:0], prices[:0]), (hours[6:], prices[6:]), (hours[:3], prices[:3])]
    series = join_runs(pieces)
    assert [0, 0, 0, 1, 1, 1, 1, 1, 1] == series.runs.tolist()
    assert [*hours[:3], *hours[4:]] == series.times.tolist()
    assert [*prices[:3], *prices[4:]] == series.closes.tolist()


BAD_BARS = {
    "twice": ([0, 0], [1, 1], "unique"),
    "backwards": ([HOUR, 0], [1, 1], "order"),
    "free": ([0, HOUR], [1, 0], "close above 0"),
    "unknown": ([0, HOUR], [1, np.nan], "close above 0"),
}


@pytest.mark.parametrize("name", BAD_BARS)
def test_bars_that_cannot_be_trusted(name: str):
    """Refused with what is wrong."""
    times, closes, reason = BAD_BARS[name]
    with pytest.raises(InvalidInputError, match=reason):
        join_runs([(np.array(times, dtype=np.int64), np.array(closes, dtype=float))])


def test_portfolio_golden():
    """With h = 2: half a position for two bars each; by hand, with 1 % costs and the way back to nothing."""
    market = make_market({"EURUSD": [1, 1, 2, 1, 2, 2]}, horizon=2)
    met = join(market, say({"event_time": HOUR}, {"event_time": 2 * HOUR, "direction": -1, "confidence": 0.5}))
    found = portfolio(market, met, cost=0.01)
    held, moved = np.array([0.5, 0.25, -0.25]), np.array([1.0, -0.5, 1.0])
    traded = np.array([0.5, 0.25, 0.5 + 0.25])
    assert [2 * HOUR, 3 * HOUR, 4 * HOUR] == found.times.tolist()
    assert traded.tolist() == found.traded.tolist()
    assert (held * moved - 0.01 * traded).tolist() == pytest.approx(found.returns.tolist(), abs=1e-16)


@pytest.mark.parametrize("bar", [7, 8])
def test_leaving_at_a_runs_end_costs_as_much_as_anywhere(bar: int):
    """Two positions, the first sold at its run's last close or before it: in and out twice, four times the cost."""
    run = np.arange(10, dtype=np.int64) * HOUR
    series = join_runs([(run, np.ones(10)), (run + 20 * HOUR, np.ones(10))])
    market = Market(Timeframe.H1, 1, {"EURUSD": series})
    found = portfolio(market, join(market, say({"event_time": bar * HOUR}, {"event_time": 20 * HOUR})), cost=0.01)
    assert (4.0, -0.04) == (found.traded.sum(), pytest.approx(found.returns.sum()))


def test_trap_overlap_is_no_second_profit():
    """The same rise said at each of 5 overlapping bars is earned once, not five times."""
    rise = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    market = make_market({"EURUSD": rise}, horizon=5)
    met = join(market, say(*({"event_time": bar * HOUR} for bar in range(1, 6))))
    assert 1.0 == card_of(market, met).total_return.value
    assert [1.0] * 5 == met.returns.tolist()


def test_two_signals_at_one_close():
    """One came late enough to share its entry with the next: the one about the newer bar holds."""
    market = make_market({"EURUSD": [1, 1, 1, 3, 3]})
    told = say({"event_time": HOUR, "received_at": 2 * HOUR + 1, "direction": -1}, {"event_time": 2 * HOUR})
    assert [2.0] == portfolio(market, join(market, told)).returns.tolist()


def test_nothing_to_score():
    """Every number is null with a reason, and the card can be written as JSON."""
    market = make_market({"EURUSD": [1, 2, 3]})
    card = score(market, say({"event_time": 77 * HOUR}), tries=3)
    found = card.model_dump(mode="json")
    measured = [value for value in found.values() if isinstance(value, dict) and "reason" in value]
    assert all(one["value"] is None and one["reason"] for one in measured)
    assert "0 of 100" in (enough(card) or "")


def test_confidence_that_is_no_number():
    """Refused: a NaN would poison every sum."""
    with pytest.raises(InvalidInputError, match="confidence"):
        join(make_market({"EURUSD": [1, 2, 3]}), say({"event_time": 0, "confidence": np.nan}))


def cards(signals: pd.DataFrame, market: Market, cost: float) -> dict[str, dict[str, float | None]]:
    met = {str(name): join(market, statements_of(group)) for name, group in signals.groupby("deployment")}
    standing = standings(met, market.horizon)
    names = ("hit_rate", "profit_per_signal", "brier", "avg_confidence", "ic", "rank_ic", "sharpe", "total_return",
             "max_drawdown", "turnover")  # fmt: skip
    found = {}
    for name, one in met.items():
        card = card_of(market, one, cost=cost)
        values = {measure: getattr(card, measure).value for measure in names}
        found[name] = values | {"scored": card.basis.scored, "contribution": standing[name].contribution.value}
    return found


@pytest.mark.parametrize("seed", range(4))
def test_equals_plain_pandas(seed: int):
    """Every number of every deployment equals a plain pandas script's to 1e-12."""
    signals, frames = made_up(seed)
    horizon, cost = 1 + 3 * seed, 1e-4 * seed
    market = make_market({name: frame.close.to_numpy() for name, frame in frames.items()}, horizon)
    wanted = reference(signals, frames, HOUR, horizon, cost)
    found = cards(signals, market, cost)
    assert list(wanted.index) == sorted(found)
    for name, row in wanted.iterrows():
        assert row.to_dict() == pytest.approx({key: found[str(name)][key] for key in row.index}, abs=1e-12, rel=1e-12)


@given(st.integers(0, 10_000))
def test_order_of_rows_does_not_matter(seed: int):
    """Shuffled statements give the same card to the last bit."""
    signals, frames = made_up(3, deployments=1, count=300)
    market = make_market({name: frame.close.to_numpy() for name, frame in frames.items()}, 4)
    shuffled = signals.sample(frac=1, random_state=seed)
    assert score(market, statements_of(signals), tries=2) == score(market, statements_of(shuffled), tries=2)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(-1, 1), st.floats(0, 1)), min_size=1), st.integers(1, 9))
def test_swapping_directions_swaps_the_profit(rows: list[tuple[int, int, float]], horizon: int):
    """Without costs, the opposite of each signal earns the opposite of each bar."""
    market = make_market({"EURUSD": np.exp(np.random.default_rng(0).normal(0, 0.1, 40))}, horizon)
    told = say(*({"event_time": bar * HOUR, "direction": d, "confidence": c} for bar, d, c in rows))
    there = portfolio(market, join(market, told))
    back = portfolio(market, join(market, replace(told, direction=-told.direction)))
    assert there.returns.tolist() == (-back.returns).tolist()
    assert there.traded.tolist() == back.traded.tolist()


def test_skill_shows_and_noise_does_not():
    """Knowing the sign of one bar in five ahead, a model's interval leaves 0 behind; a coin's does not."""
    random = np.random.default_rng(9)
    closes = np.exp(np.cumsum(random.normal(0, 0.01, 3_001)))
    market = make_market({"EURUSD": closes})
    ahead = np.sign(np.diff(closes)).astype(int)
    coin = random.choice([-1, 1], 3_000)
    knows = np.where(random.uniform(size=3_000) < 0.2, ahead, coin)
    skilled, lucky = (
        score(market, say(*({"event_time": bar * HOUR, "direction": int(d)} for bar, d in enumerate(calls))), tries=20)
        for calls in (knows, coin)
    )
    assert (skilled.sharpe.low or 0) > 0 >= (lucky.sharpe.low or 0)
    assert (skilled.dsr.value or 0) > 0.95 > (lucky.dsr.value or 0)
    assert (skilled.hit_rate.low or 0) > 0.5

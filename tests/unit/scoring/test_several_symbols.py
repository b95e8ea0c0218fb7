"""What counts as independent, and what a year has: markets of several symbols."""

from __future__ import annotations

import numpy as np
import pytest

from mp_kit.contracts import Timeframe
from mp_kit.contracts.scores import ScoreCard
from mp_kit.scoring.card import enough, score
from mp_kit.scoring.outcomes import Market, Statements, join_runs
from tests.support.markets import HOUR, make_market, say


def one_view(seed: int, bars: int = 160, symbols: int = 8) -> ScoreCard:
    """A worthless view of the euro, said of eight pairs whose returns correlate at 0.6."""
    random = np.random.default_rng(seed)
    euro, own = random.normal(size=bars + 1), random.normal(size=(symbols, bars + 1))
    steps = 0.001 * (np.sqrt(0.6) * euro + np.sqrt(0.4) * own)
    names = [f"EUR{number}" for number in range(symbols)]
    market = make_market({name: np.exp(np.cumsum(one)) for name, one in zip(names, steps, strict=True)})
    event = np.repeat(np.arange(bars, dtype=np.int64) * HOUR, symbols)
    told = Statements(
        names,
        np.tile(np.arange(symbols), bars),
        event,
        event + HOUR - 1,
        np.zeros(event.size, bool),
        np.repeat(random.choice([-1, 1], bars), symbols),
        np.full(event.size, 0.6),
        np.zeros(event.size, np.int64),
        np.arange(event.size),
    )
    return score(market, told)


def test_trap_symbols_that_move_together():
    """Eight pairs at one instant are one observation: a test at 5 % fires at about so many, not at every third."""
    found = [one_view(seed) for seed in range(120)]
    for name in ("hit_rate", "ic", "rank_ic"):
        measured = [getattr(card, name) for card in found]
        null = 0.5 if name == "hit_rate" else 0.0
        assert {160} == {one.n for one in measured}
        assert sum(not one.low <= null <= one.high for one in measured) < 0.1 * len(measured)
    assert {(160, 160)} == {(card.coverage.n, card.corr.n) for card in found}
    assert enough(one_view(0, bars=99)) == "not enough data: 99 of 100 independent signals"


def test_symbols_out_of_step_are_still_one_observation():
    """Held four bars, entered in turn by two symbols: as many instants as fit one after the other."""
    market = make_market({"AAA": np.arange(1.0, 60.0), "BBB": np.arange(1.0, 60.0)}, horizon=4)
    told = say(*({"event_time": bar * HOUR, "symbol": "AAA" if bar % 4 else "BBB"} for bar in range(0, 48, 2)))
    card = score(market, told)
    assert (24, 12) == (card.basis.scored, card.hit_rate.n)


def test_other_symbols_of_the_round_change_no_annual_number():
    """Shares traded seven hours a day, scored alone and beside a coin that never rests: the same card."""
    random = np.random.default_rng(4)
    always = np.arange(24 * 100, dtype=np.int64) * HOUR
    shares = always[(always // HOUR % 24 >= 14) & (always // HOUR % 24 < 21)]
    series = {
        name: join_runs([(times, np.exp(np.cumsum(random.normal(0, 0.002, times.size))))])
        for name, times in (("COIN", always), ("SHARE", shares))
    }
    told = say(*(
        {"event_time": int(time), "symbol": "SHARE", "direction": int(random.choice([-1, 1]))} for time in shares
    ))  # fmt: skip
    alone = score(Market(Timeframe.H1, 1, {"SHARE": series["SHARE"]}), told, tries=1)
    mixed = score(Market(Timeframe.H1, 1, series), told, tries=1)
    assert alone == mixed
    assert 7 * 365.25 == pytest.approx(mixed.basis.bars_per_year or 0, rel=0.01)


def test_years_of_a_mixed_portfolio():
    """Who speaks of both walks the finer grid: the coin's bars, in which the share's are contained."""
    always = np.arange(24 * 100, dtype=np.int64) * HOUR
    series = {name: join_runs([(times, np.ones(times.size))]) for name, times in
              (("COIN", always), ("SHARE", always[15:-20:24]))}  # fmt: skip
    market = Market(Timeframe.H1, 1, series)
    assert 24 * 365.25 == pytest.approx(market.bars_per_year(["SHARE", "COIN"]))
    assert 365.25 == pytest.approx(market.bars_per_year(["SHARE"]))

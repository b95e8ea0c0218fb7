"""What a deployment adds to the others: by hand, and what must not change it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mp_kit.scoring.contribution import against, standings
from mp_kit.scoring.outcomes import Outcomes, join
from tests.support.markets import HOUR, made_up, make_market, say, statements_of


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 30), st.integers(-1, 1), st.floats(0, 1)), min_size=1))
def test_consensus_stays_within_its_voices(rows: list[tuple[int, int, int, float]]):
    """With and without anybody, the consensus lies from -1 to 1, and is nothing where nobody else spoke."""
    market = make_market({"EURUSD": np.exp(np.random.default_rng(0).normal(0, 0.1, 40))})
    met: dict[str, Outcomes] = {}
    for who in {row[0] for row in rows}:
        told = say(*({"event_time": b * HOUR, "direction": d, "confidence": c} for w, b, d, c in rows if w == who))
        met[str(who)] = join(market, told)
    for others in against(met).values():
        assert np.all(np.abs(others.everyone) <= 1 + 1e-12)
        assert np.all(np.abs(others.without) <= 1 + 1e-12)
        assert not others.without[~others.any].any()


def test_contribution_golden():
    """BUY at 1.0 against a SELL at 0.5, into a doubling: with both (1 - 0.25)/1.5 = 0.5; each alone 1 and -0.5."""
    market = make_market({"EURUSD": [1, 1, 2]})
    met = {
        "right": join(market, say({"event_time": HOUR})),
        "wrong": join(market, say({"event_time": HOUR, "direction": -1, "confidence": 0.5})),
    }
    found = standings(met, 1)
    assert (0.5 - -0.5) * 1.0 == found["right"].contribution.value
    assert (0.5 - 1.0) * 1.0 == found["wrong"].contribution.value
    assert found["right"].mmc.value is None


def test_alone_has_no_contribution():
    """Undefined, not the whole profit."""
    market = make_market({"EURUSD": [1, 1, 2]})
    found = standings({"one": join(market, say({"event_time": HOUR}))}, 1)
    assert (None, "nobody else spoke about the same bars") == (
        found["one"].contribution.value,
        found["one"].contribution.reason,
    )


def test_copies_add_nothing():
    """Three equal deployments: each could leave and the consensus would stay."""
    signals, frames = made_up(1, deployments=1)
    market = make_market({name: frame.close.to_numpy() for name, frame in frames.items()}, 2)
    one = join(market, statements_of(signals))
    for standing in standings({"a": one, "b": one, "c": one}, 2).values():
        assert 0.0 == pytest.approx(standing.contribution.value, abs=1e-15)
        assert 0.0 == pytest.approx(standing.mmc.value, abs=1e-12)


def test_what_is_said_later_changes_nobodys_standing():
    """A spy that knows the outcome, and says so a bar after the others: their standings stay to the last bit."""
    signals, frames = made_up(2)
    market = make_market({name: frame.close.to_numpy() for name, frame in frames.items()}, 4)
    met = {str(name): join(market, statements_of(group)) for name, group in signals.groupby("deployment")}
    before = standings(met, 4)
    assert all(one.mmc.value is not None for one in before.values())
    closes = {name: frame.close.to_numpy() for name, frame in frames.items()}
    spy = say(*(
        {"event_time": bar * HOUR, "received_at": (bar + 4) * HOUR, "symbol": name,
         "direction": int(np.sign(prices[bar + 4] - prices[bar]))}
        for name, prices in closes.items() for bar in range(390)
    ))  # fmt: skip
    after = standings(met | {"a spy": join(market, spy)}, 4)
    assert before == {name: after[name] for name in before}
    assert (after["a spy"].contribution.n or 0) > 500


def test_who_is_not_heard_is_measured_and_moves_nobody():
    """In shadow: the others stand as if it were not there, itself as if it were the one more."""
    signals, frames = made_up(2)
    market = make_market({name: frame.close.to_numpy() for name, frame in frames.items()}, 4)
    met = {str(name): join(market, statements_of(group)) for name, group in signals.groupby("deployment")}
    quiet = replace(met["dep_1"], counts=np.zeros(met["dep_1"].counts.size, bool))
    found, all_heard = standings(met | {"dep_1": quiet}, 4), standings(met, 4)
    alone = standings({name: one for name, one in met.items() if name != "dep_1"}, 4)
    assert all_heard["dep_1"] == found["dep_1"]
    assert alone == {name: found[name] for name in alone}
    assert alone["dep_0"] != all_heard["dep_0"]

"""Scores on Postgres: signals met with a published round, tries counted, the catalogue's counts kept."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from mp_kit.client.scores import statements_of, told_of
from mp_kit.contracts import DeploymentRequest, LeaderboardEntry, ModelRegistration, Stage, Timeframe
from mp_kit.errors import BarsError
from mp_kit.market.pricing import ECB_PRICED_AFTER
from mp_kit.scoring.card import score
from mp_kit.scoring.outcomes import Market
from mp_kit.server.house import House
from mp_kit.server.services import deployments, models, publication, scores, vendors
from mp_kit.server.services.publication import RoundOrder
from mp_kit.server.services.scores import Judge, Scored
from mp_kit.server.store.engine import Tx

HOURS = 2_400
START = datetime(2024, 1, 1, tzinfo=UTC)
INSERT = text(
    "INSERT INTO signals (event_time, received_at, ts, batch_id, row_no, confidence, late, deployment_id, vendor_id,"
    " symbol, timeframe, model_version, decision) VALUES (:event_time, :received_at, :event_time, :batch, :row,"
    " :confidence, :late, :deployment, :vendor, :symbol, '1h', :version, :decision)"
)


@dataclass(frozen=True)
class Placed:
    """A vendor's deployment of a model."""

    vendor: str
    model: str
    version: str
    deployment: str


@pytest.fixture(scope="module")
def judge(house: House, tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """A published round of two random walks."""
    folder = tmp_path_factory.mktemp("bars")
    for seed, symbol in enumerate(("EURUSD", "GBPUSD")):
        _write_bars(folder / f"{symbol}.csv", seed)
    order = RoundOrder(source=str(folder), horizon=4, leakage="flag")
    publication.run(house.db.begin, house.store, house.signer, order, actor="test")
    with house.db.begin() as tx:
        return scores.judges(tx)[0]


def _write_bars(path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    close = np.round(1.1 * np.exp(np.cumsum(random.normal(0, 1e-3, HOURS))), 5)
    lines = ["timestamp,open,high,low,close,volume"]
    for hour, price in enumerate(close.tolist()):
        opened = close[max(hour - 1, 0)]
        told = f"{START + timedelta(hours=hour):%Y-%m-%dT%H:%M:%SZ}"
        lines.append(
            f"{told},{opened:.5f},{max(opened, price) + 1e-4:.5f},{min(opened, price) - 1e-4:.5f},{price:.5f},1"
        )
    path.write_text("\n".join(lines))


BACKDATED = (
    "ALTER TABLE model_stage_history DISABLE TRIGGER model_stage_history_grows",
    "UPDATE model_stage_history SET at = :start WHERE version_id = :version",
    "ALTER TABLE model_stage_history ENABLE TRIGGER model_stage_history_grows",
)


def place(tx: Tx, house: House, vendor: str, name: str = "live", *, stage: Stage = Stage.PILOT) -> Placed:
    """A vendor with one model in pilot since before the bars, deployed."""
    vendor_id = vendors.create(tx, house.tokens, vendor, actor="test").vendor_id
    made = models.register(tx, vendor_id, ModelRegistration(name="m", task="signal", version="1"))
    if stage is not Stage.SHADOW:
        models.change_stage(tx, vendor_id, made.model_id, made.version_id, stage, actor="test", reason=None)
    for statement in BACKDATED:
        tx.execute(text(statement), {"start": START, "version": made.version_id} if ":start" in statement else {})
    order = DeploymentRequest(name=name, provider="byoc", model_id=made.model_id)
    there = deployments.create(tx, house.tokens, vendor_id, order, actor="test")
    return Placed(vendor_id, made.model_id, made.version_id, there.deployment_id)


def push(tx: Tx, who: Placed, seed: int, hours: range = range(1_900, 2_390), *, version: str = "1") -> None:
    """Signals about hours of both symbols, each stored a minute before its bar's end; every tenth is late."""
    random = np.random.default_rng(seed)
    rows = [
        {
            "event_time": START + timedelta(hours=hour),
            "received_at": START + timedelta(hours=hour, minutes=59),
            "batch": seed,
            "row": number,
            "confidence": float(random.uniform()),
            "late": bool(random.uniform() < 0.1),
            "deployment": who.deployment,
            "vendor": who.vendor,
            "symbol": symbol,
            "version": version,
            "decision": str(random.choice(["BUY", "SELL", "HOLD"])),
        }
        for number, (hour, symbol) in enumerate((hour, s) for hour in hours for s in ("EURUSD", "GBPUSD"))
    ]
    tx.execute(INSERT, rows)


def run(house: House, judge: Judge) -> Market:
    """What the flow does."""
    market = scores.market_of(house.store, judge)
    with house.db.begin() as tx:
        told = scores.statements(tx, market)
    found = scores.compute(market, told)
    with house.db.begin() as tx:
        scores.keep(tx, judge, market, found, cost=1e-5)
    return market


def board(house: House, who: Placed) -> LeaderboardEntry:
    with house.db.begin() as tx:
        return next(one for one in scores.leaderboard(tx) if one.deployment_id == who.deployment)


def test_server_and_laptop_agree_to_the_last_bit(house: House, judge: Judge):
    """The card in the database equals the one that the client makes of listed signals, float by float."""
    with house.db.begin() as tx:
        who = place(tx, house, "exact")
        push(tx, who, 11)
        push(tx, who, 12, version="2")  # another version says something else about the same bars: it came second
        push(tx, who, 13, range(-60, 5))  # older than the round: the server never reads it
    market = run(house, judge)
    kept = board(house, who)
    with house.db.begin() as tx:
        listed = [
            dict(row._mapping)
            for row in tx.execute(text("SELECT * FROM signals WHERE deployment_id = :d"), {"d": who.deployment})
        ]
    for row in listed:
        row["signal_id"] = f"sig_{row['batch_id']:x}_{row['row_no']}"
    mine = score(market, statements_of(told_of(listed[::-1])), cost=1e-5, tries=kept.card.tries)
    assert mine == kept.card
    assert kept.card.basis.left_out["restated"] > 700
    assert kept.card.sharpe.value is not None


def test_leaderboard_catalogue_and_tries(house: House, judge: Judge):
    """A model's Sharpe ratio is on its version and in the catalogue; tries are counted; standing needs others."""
    with house.db.begin() as tx:
        one, other = place(tx, house, "one"), place(tx, house, "other")
        push(tx, one, 1)
        push(tx, other, 2)
        for version in ("2", "3", "4"):
            models.register(tx, one.vendor, ModelRegistration(name="m", task="signal", version=version))
    run(house, judge)
    kept = board(house, one)
    assert (4, {judge.round_id: 4}) == (kept.card.tries, kept.tries_by_round)
    assert (True, "pilot") == (kept.enough_data, kept.stage)
    assert kept.standing.contribution.value is not None
    assert (kept.card.dsr.value or 1) < (kept.card.psr.value or 0)
    with house.db.begin() as tx:
        sharpe = next(entry.last_oos_sharpe for entry in models.catalog(tx) if entry.id == one.model)
    assert kept.card.sharpe.value == sharpe


def test_a_shadow_moves_nobody_elses_standing(house: House, judge: Judge):
    """The consensus does not hear it: the others' standing is as without it; it is told what it would have added."""
    with house.db.begin() as tx:
        heard = [place(tx, house, f"heard{number}") for number in range(2)]
        for seed, who in enumerate(heard, 51):
            push(tx, who, seed)
    run(house, judge)
    before = [board(house, who).standing for who in heard]
    with house.db.begin() as tx:
        shadow = place(tx, house, "unheard", stage=Stage.SHADOW)
        push(tx, shadow, 53)
    run(house, judge)
    assert before == [board(house, who).standing for who in heard]
    with house.db.begin() as tx:
        own = scores.leaderboard(tx, vendor_id=shadow.vendor)
    assert own[0].standing.contribution.value is not None
    with house.db.begin() as tx:  # afterwards it runs a model that was in pilot all the time: it was not when it spoke
        made = models.register(tx, shadow.vendor, ModelRegistration(name="other", task="signal", version="2"))
        models.change_stage(tx, shadow.vendor, made.model_id, made.version_id, Stage.PILOT, actor="test", reason=None)
        for statement in BACKDATED:
            tx.execute(text(statement), {"start": START, "version": made.version_id} if ":start" in statement else {})
        moved = {"model": made.model_id, "version": made.version_id, "id": shadow.deployment}
        tx.execute(text("UPDATE deployments SET model_id = :model, version_id = :version WHERE id = :id"), moved)
    run(house, judge)
    assert before == [board(house, who).standing for who in heard]


def fixings(house: House) -> Judge:
    """The ECB's round, published once."""
    order = RoundOrder(source="ecb", symbols=["EURUSD"], leakage="flag", make_current=False)
    done = publication.run(house.db.begin, house.store, house.signer, order, actor="test")
    with house.db.begin() as tx:
        return next(one for one in scores.judges(tx) if one.round_id == done.round_id)


@pytest.mark.parametrize("last", ["1d", "1h"])
def test_a_versions_sharpe_is_not_that_of_the_timeframe_scored_last(house: House, judge: Judge, last: str):
    """A handful of daily signals beside hundreds of hourly ones: the hourly number stays, in the catalogue too."""
    daily = fixings(house)
    with house.db.begin() as tx:
        who = place(tx, house, f"both{last}")
        push(tx, who, 41)
        days = text(INSERT.text.replace("'1h'", "'1d'"))
        facts = {"batch": 42, "confidence": 0.5, "late": False, "symbol": "EURUSD", "version": "1", "decision": "BUY"}
        facts |= {"deployment": who.deployment, "vendor": who.vendor}
        told = [{"event_time": START + timedelta(days=day), "row": day} for day in range(1, 5)]
        tx.execute(days, [facts | one | {"received_at": one["event_time"]} for one in told])
    for one in [judge, daily] if last == "1d" else [daily, judge]:
        run(house, one)
    with house.db.begin() as tx:
        both = {one.card.basis.timeframe: one for one in scores.leaderboard(tx) if one.deployment_id == who.deployment}
        shown = next(entry for entry in models.catalog(tx) if entry.id == who.model)
    assert {"1h": True, "1d": False} == {frame: one.enough_data for frame, one in both.items()}
    assert both[Timeframe.H1].card.sharpe == shown.sharpe
    assert both[Timeframe.H1].card.sharpe.value == shown.last_oos_sharpe


def test_fixings_are_scored_at_their_own_hour(house: House, judge: Judge):
    """The ECB's round says when its closes were prices, and the market believes it; of older ones it knows."""
    daily = fixings(house)
    assert (ECB_PRICED_AFTER, None) == (daily.manifest.priced_after, judge.manifest.priced_after)
    old = Judge(daily.round_id, daily.manifest.model_copy(update={"priced_after": None}))
    assert [ECB_PRICED_AFTER] * 2 == [scores.market_of(house.store, one).priced_after for one in (daily, old)]
    assert 3_600 == scores.market_of(house.store, judge).priced_after


def test_files_that_close_before_their_bars_end(house: House, tmp_path: Path):
    """The operator says so when publishing; an instant outside of the bar is refused before anything is built."""
    _write_bars(tmp_path / "EURUSD.csv", 7)
    order = RoundOrder(source=str(tmp_path), leakage="flag", make_current=False, priced_after=3_601)
    with pytest.raises(BarsError, match="no price 3601 s"):
        publication.run(house.db.begin, house.store, house.signer, order, actor="test")


def test_not_enough_data(house: House, judge: Judge):
    """A handful of signals gets a line with a reason, no rank, and no Sharpe ratio in the catalogue."""
    with house.db.begin() as tx:
        who = place(tx, house, "young")
        push(tx, who, 5, range(2_380, 2_390))
    run(house, judge)
    kept = board(house, who)
    assert not kept.enough_data
    assert "independent signals" in (kept.reason or "")
    with house.db.begin() as tx:
        assert next(entry.last_oos_sharpe for entry in models.catalog(tx) if entry.id == who.model) is None
        order = [entry.enough_data for entry in scores.leaderboard(tx)]
    assert sorted(order, reverse=True) == order


def test_shadow_is_the_vendors_own(house: House, judge: Judge):
    """Models in shadow are on nobody's leaderboard but their vendor's."""
    with house.db.begin() as tx:
        who, other = place(tx, house, "shy"), place(tx, house, "neighbour")
        models.change_stage(tx, who.vendor, who.model, who.version, Stage.SHADOW, actor="test", reason=None)
        push(tx, who, 6)
    run(house, judge)
    with house.db.begin() as tx:
        assert who.deployment not in {entry.deployment_id for entry in scores.leaderboard(tx)}
        assert [who.deployment] == [entry.deployment_id for entry in scores.leaderboard(tx, vendor_id=who.vendor)]
        assert [] == scores.leaderboard(tx, vendor_id=other.vendor)


def test_scoring_again_replaces(house: House, judge: Judge):
    """Two runs of the flow leave one score per deployment and round."""
    run(house, judge)
    run(house, judge)
    with house.db.begin() as tx:
        twice = "SELECT count(*) FROM model_scores GROUP BY round_id, deployment_id HAVING count(*) > 1"
        assert [] == tx.execute(text(twice)).all()


def test_two_runs_do_not_deadlock(house: House, judge: Judge):
    """Each keeps the same deployments, one in the other order: the second waits for the first, and both are done."""
    with house.db.begin() as tx:
        for number in range(2):
            push(tx, place(tx, house, f"twice{number}"), 61 + number, range(2_300, 2_390))
    market = scores.market_of(house.store, judge)
    with house.db.begin() as tx:
        found = scores.compute(market, scores.statements(tx, market))
    stored: list[int] = []

    def keep(scored: Mapping[str, Scored]) -> None:
        with house.db.begin() as tx:
            stored.append(scores.keep(tx, judge, market, scored))

    backwards = threading.Thread(target=keep, args=(dict(reversed(found.items())),))
    with house.db.begin() as tx:
        scores.keep(tx, judge, market, found)
        backwards.start()
        backwards.join(2)
        assert not stored
        free = "SELECT pg_try_advisory_xact_lock(hashtextextended('mp.scores', 0))"
        with house.db.begin() as other:
            assert other.execute(text(free)).scalar_one() is False
    backwards.join(30)
    assert [len(found)] == stored


def test_nothing_said_is_no_score(house: House, judge: Judge):
    """A market without bars asks for nothing."""
    with house.db.begin() as tx:
        assert {} == scores.statements(tx, Market(judge.manifest.timeframe, 4, {}))


BATCH = text(
    "INSERT INTO signal_batches (id, deployment_id, body_sha256, rows, accepted, first_event, last_event)"
    " SELECT :batch, :deployment, '', count(*), count(*), min(event_time), max(event_time)"
    " FROM signals WHERE deployment_id = :deployment AND batch_id = :batch"
)


def test_catalogue_is_exact_before_and_after_counting(house: House, judge: Judge):
    """Counted or not yet, each batch is in the sums once."""
    assert judge.round_id

    def predictions(tx: Tx) -> int | None:
        return next(entry.total_predictions for entry in models.catalog(tx) if entry.id == who.model)

    with house.db.begin() as tx:
        who = place(tx, house, "counted")
        push(tx, who, 21, range(100, 110))
        push(tx, who, 22, range(105, 115), version="2")
        for number in (21, 22):
            tx.execute(BATCH, {"batch": number, "deployment": who.deployment})
        assert 40 == predictions(tx)
        assert scores.count(tx, batches=1) == 1
        assert 40 == predictions(tx)
        while scores.count(tx):
            pass
        assert 40 == predictions(tx)
        assert 0 == scores.count(tx)


def test_two_at_once_count_each_batch_once(house: House, judge: Judge):
    """Locked batches are the other's."""
    assert judge.round_id
    with house.db.begin() as tx:
        who = place(tx, house, "raced")
        push(tx, who, 31, range(100, 110))
        tx.execute(BATCH, {"batch": 31, "deployment": who.deployment})
    with house.db.begin() as one, house.db.begin() as other:
        assert scores.count(one) >= 1
        assert 0 == scores.count(other)
    with house.db.begin() as tx:
        counted = text("SELECT sum(predictions) FROM signal_rollups WHERE deployment_id = :deployment")
        assert 20 == tx.execute(counted, {"deployment": who.deployment}).scalar_one()

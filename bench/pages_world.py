"""A marketplace of full size, for pages: a thousand models, ten thousand runs, a million signals.

Made by the database itself out of series; only the score cards are written here, because they have a shape.
"""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import text

from mp_kit.contracts import Timeframe
from mp_kit.contracts.measured import Measured
from mp_kit.contracts.scores import ReliabilityBin, ScoreBasis, ScoreCard, Standing
from mp_kit.server.house import House
from mp_kit.server.services import scores, vendors
from mp_kit.server.store.engine import Tx

SCALE = float(os.environ.get("MP_BENCH_SCALE", "1"))
MODELS = max(20, int(1_000 * SCALE))
RUNS = MODELS * 10
EACH = 1_000
"""Signals of a deployment, hourly up to now: with a thousand models, a million."""
HEARD = MODELS // 10
"""Models whose deployments send a heartbeat a minute."""
VENDORS = 50
SYMBOLS = ["EURUSD", "GBPUSD", "USDJPY", "AUDUSD", "NZDUSD", "USDCAD", "USDCHF", "EURJPY"]

STATEMENTS = (
    "INSERT INTO marketplace_vendors (id, name) SELECT 'ven_' || n, 'Vendor ' || n FROM generate_series(1, :vendors) n",
    "INSERT INTO signing_keys (id, public_key) VALUES ('bench', 'bench')",
    """INSERT INTO dataset_rounds (id, name, fingerprint, manifest, manifest_sha256, manifest_key_id,
                                   manifest_signature, is_current)
       VALUES ('rnd_bench', 'Majors, hourly', 'bench', '{}', repeat('0', 64), 'bench', 'bench', true)""",
    """INSERT INTO training_runs (id, vendor_id, round_id, task, provider, state, body_sha256, created_at, started_at,
                                  finished_at, cost_usd, metrics)
       SELECT 'run_' || n, 'ven_' || (1 + n % :vendors), 'rnd_bench', 'signal', 'byoc', 'succeeded', 'x',
              now() - n * interval '5 minutes', now() - n * interval '5 minutes', now() - n * interval '4 minutes',
              n % 700 / 100.0, '{"accuracy": 0.53}'
       FROM generate_series(1, :runs) n""",
    """INSERT INTO models (id, vendor_id, name, description, task, tags, created_at)
       SELECT 'mod_' || n, 'ven_' || (1 + n % :vendors), 'model ' || n,
              'Follows the trend of ' || n || ' days and leaves early.',
              (ARRAY['signal','consensus','optimizer'])[1 + n % 3],
              '["trend", "fx"]', now() - n * interval '1 hour'
       FROM generate_series(1, :models) n""",
    """INSERT INTO model_versions (id, model_id, version, stage, run_id, created_at)
       SELECT 'ver_' || n || '_' || v, 'mod_' || n, v || '.0.0',
              (ARRAY['retired', 'pilot', 'shadow'])[v],
              'run_' || (n + (v - 1) * :models), now() - n * interval '1 hour' + v * interval '1 minute'
       FROM generate_series(1, :models) n, generate_series(1, 3) v""",
    """INSERT INTO model_stage_history (version_id, seq, from_stage, to_stage, actor, at)
       SELECT 'ver_' || n || '_2', s, (ARRAY[NULL, 'shadow'])[s], (ARRAY['shadow', 'pilot'])[s], 'vendor',
              now() - interval '90 days' + s * interval '1 day'
       FROM generate_series(1, :models) n, generate_series(1, 2) s""",
    """INSERT INTO deployments (id, vendor_id, name, provider, status, model_id, version_id, created_at,
                                last_heartbeat_at)
       SELECT 'dep_' || n, 'ven_' || (1 + n % :vendors), 'live ' || n, 'byoc',
              CASE WHEN n <= :heard THEN 'ready' ELSE 'offline' END,
              'mod_' || n, 'ver_' || n || '_2', now() - interval '60 days', now() - interval '20 seconds'
       FROM generate_series(1, :models) n""",
    """INSERT INTO deployment_heartbeats (id, deployment_id, status, timestamp, received_at, metrics)
       SELECT 'hb_' || n || '_' || m, 'dep_' || n, 'ready', now() - m * interval '1 minute',
              now() - m * interval '1 minute',
              '{"cpu": 0.2}'
       FROM generate_series(1, :heard) n, generate_series(0, 1439) m WHERE (m + n * 7) % 400 > 20""",
    """INSERT INTO signal_batches (id, deployment_id, body_sha256, rows, accepted, first_event, last_event, received_at,
                                   blended_at)
       SELECT n * 100 + b, 'dep_' || n, 'x', :each / 10, :each / 10,
              date_trunc('hour', now()) - ((b + 1) * :each / 10 - 1) * interval '1 hour',
              date_trunc('hour', now()) - (b * :each / 10) * interval '1 hour',
              date_trunc('hour', now()) - (b * :each / 10) * interval '1 hour', now()
       FROM generate_series(1, :models) n, generate_series(0, 9) b""",
    """INSERT INTO signals (event_time, received_at, ts, batch_id, confidence, row_no, late, deployment_id, vendor_id,
                             model_id, symbol, timeframe, model_version, decision)
        SELECT bar, bar + interval '50 minutes', bar, n * 100 + h / (:each / 10), (n * 37 + h * 11) % 1000 / 1000.0,
               h, false,
               'dep_' || n, 'ven_' || (1 + n % :vendors), 'mod_' || n, (CAST(:symbols AS text[]))[1 + n % 8],
               '1h', '2.0.0',
               (ARRAY['BUY','SELL','HOLD'])[1 + (n + h / 5) % 3]
        FROM generate_series(1, :models) n, generate_series(0, :each - 1) h,
             LATERAL (SELECT date_trunc('hour', now()) - h * interval '1 hour' AS bar) hour""",
    """INSERT INTO consensus (event_time, symbol, timeframe, method, decision, confidence, score, signals,
                               contributions)
        SELECT date_trunc('hour', now()) - h * interval '1 hour', symbol, '1h', method,
               CASE WHEN score > 0.1 THEN 'BUY' WHEN score < -0.1 THEN 'SELL' ELSE 'HOLD' END, abs(score), score,
               :models / 8,
               CASE WHEN h < 30 THEN
                 (SELECT jsonb_object_agg('model ' || n, jsonb_build_object(
                           'decision', (ARRAY['BUY','SELL','HOLD'])[1 + n % 3], 'weight', 8.0 / :models,
                           'confidence', 0.6, 'vendor_id', 'ven_' || (1 + n % :vendors),
                           'value', 0.001 * (n % 7 - 3), 'deployment_id', 'dep_' || n, 'without', 'BUY'))
                  FROM generate_series(s.place, :models, 8) n)
               ELSE '{}' END
        FROM generate_series(0, :each - 1) h, unnest(CAST(:symbols AS text[])) WITH ORDINALITY AS s(symbol, place),
             unnest(ARRAY['equal', 'confidence', 'confidence_skill']) method,
             LATERAL (SELECT sin(h / 9.0 + length(method) + place) * 0.8 AS score) made""",
    "ANALYZE",
)


def fill(house: House, models: int = MODELS, each: int = EACH) -> str:
    """Fills an empty marketplace; gives an API key of one of its vendors.

    Args:
        house: Over a migrated database.
        models: How many, with ten runs each.
        each: Signals of every deployment.
    """
    sizes: dict[str, Any] = {
        "vendors": VENDORS, "models": models, "runs": models * 10, "each": each, "heard": models // 10,
        "symbols": SYMBOLS,
    }  # fmt: skip
    with house.db.begin() as tx:
        for statement in STATEMENTS:
            needed = {name: value for name, value in sizes.items() if f":{name}" in statement}
            tx.execute(text(statement), needed)
        _score(tx, models)
        for _ in range(models // 10 - 1):  # some batches are always too new for the running counts
            scores.count(tx, batches=100)
        return vendors.rotate(tx, house.tokens, "ven_1", actor="bench").api_key


def _score(tx: Tx, models: int) -> None:
    chance = random.Random(1)
    rows = [
        {
            "id": f"dep_{number}",
            "enough": number % 7 != 0,
            "reason": None if number % 7 else "12 of 30 days",
            "card": (card := _card(chance)).model_dump_json(),
            "standing": Standing(contribution=_near(chance.gauss(0, 1e-4)), mmc=_near(0.0)).model_dump_json(),
            "sharpe": card.sharpe.value,
            "dsr": card.dsr.value,
        }
        for number in range(1, models + 1)
    ]
    tx.execute(
        text(
            "INSERT INTO model_scores (round_id, deployment_id, timeframe, enough_data, reason, bars, sharpe, dsr,"
            " card, standing, tries_by_round) VALUES ('rnd_bench', :id, '1h', :enough, :reason, 1000, :sharpe, :dsr,"
            " CAST(:card AS jsonb), CAST(:standing AS jsonb), '{}')"
        ),
        rows,
    )
    tx.execute(
        text(
            "UPDATE model_versions v SET last_oos_sharpe = s.sharpe FROM model_scores s JOIN deployments d"
            " ON d.id = s.deployment_id WHERE d.version_id = v.id AND s.enough_data"
        )
    )


def _near(value: float, spread: float = 0.1) -> Measured:
    return Measured(value=value, low=value - spread, high=value + spread, n=200)


def _card(chance: random.Random) -> ScoreCard:
    names = ("hit_rate", "coverage", "ic", "rank_ic", "corr", "sharpe", "psr", "dsr", "min_track_record",
             "max_drawdown", "turnover", "total_return", "profit_per_signal", "avg_confidence", "brier")  # fmt: skip
    values = {name: _near(chance.uniform(0.05, 0.6)) for name in names}
    values["sharpe"] = _near(chance.gauss(0.6, 0.8), 0.7)
    values["hit_rate"] = _near(chance.uniform(0.45, 0.58), 0.03)
    values["max_drawdown"] = _near(chance.uniform(0.02, 0.2), 0.02)
    now = datetime.now(UTC)
    basis = ScoreBasis(
        timeframe=Timeframe.H1, horizon=5, bars_per_year=6_200, cost=0, signals=EACH, scored=EACH - 60,
        left_out={"late": 12, "open": 48}, bars=EACH, symbols=["EURUSD"], first=now, last=now,
    )  # fmt: skip
    bins = [
        ReliabilityBin(
            low=n / 10, high=(n + 1) / 10, calls=90, confidence=n / 10 + 0.05, hit_rate=_near(0.4 + n * 0.03, 0.1)
        )
        for n in range(10)
    ]
    return ScoreCard(basis=basis, tries=20, reliability=bins, **values)

"""Storing 10,000 signals exactly once, against raw binary COPY of the same rows into the same table.

The limit is what the table itself takes: a prebuilt binary buffer, no validation, no outcome per row, and it fails
whole on the first duplicate. Both sides commit durably; each round uses fresh rows; they take turns.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import text

from bench import ingest_http
from bench.results import Result, best_of, seconds_of
from mp_kit.server.serve import settle_heap
from mp_kit.server.services import signals
from mp_kit.server.services.tokens import Principal
from mp_kit.server.store import embedded, migrate
from mp_kit.server.store.engine import Database
from mp_kit.server.store.scope import EDGE_ROLE, of_vendor, within
from mp_kit.signing import Signer

ROWS = 10_000
ROUNDS = 7
EPOCH = datetime(2015, 1, 1, tzinfo=UTC)
COPY = """COPY signals (event_time, received_at, ts, batch_id, confidence, row_no, late, deployment_id, vendor_id,
          model_id, symbol, timeframe, model_version, decision, rationale, metadata) FROM STDIN (FORMAT BINARY)"""
TYPES = ["timestamptz"] * 3 + ["int8", "float8", "int4", "bool"] + ["text"] * 7 + ["jsonb"] * 2
ON_DISK = """SELECT (SELECT count(*) FROM signals), (SELECT count(*) FROM signal_batches),
             (SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('signals')),
             pg_total_relation_size('signal_batches') + pg_total_relation_size('signal_receipts')"""
WHO = Principal(kind="deployment", vendor_id="v", deployment_id="d", scope={"routes": ["signals:store"]})
SIGNER = Signer(bytes(range(32)))
_NAMES = {
    "service": "service_10k",
    "arrow_http": "arrow_http_10k",
    "json_http": "json_http_10k",
    "repeated": "service_10k_duplicates",
}
_batches = itertools.count(1)


def run() -> list[Result]:
    """Best rates of each way in, as shares of the table's own; then what one signal and many vendors feel."""
    settle_heap()  # as the edge does when it starts
    with (
        database() as db,
        closing(Database(db._conninfo, role=EDGE_ROLE)) as walled,  # noqa: SLF001 - the same server, as the edge is there
        tempfile.TemporaryDirectory(prefix="mp-bench-") as home,
        ingest_http.serving(Path(home), db._conninfo) as edge,  # noqa: SLF001 - the same server, for the edge
    ):
        bulk = ingest_http.bulk(edge, fresh)
        best = best_of(
            ROUNDS,
            {"copy": lambda: _copy(db), "service": lambda: _service(db), "walled": lambda: _walled(walled), **bulk},
        )
        repeated = _again(db)
        felt = [*ingest_http.singles(edge), *ingest_http.mixed(edge), *_on_disk(db)]
    rates = {name: ROWS / seconds for name, seconds in best.items()}
    limit = rates["copy"]
    against = f"raw binary COPY, {limit:,.0f} rows/s"
    rates["repeated"] = repeated
    wanted = {"service": ">= 0.5", "arrow_http": ">= 0.35", "json_http": ">= 0.2", "repeated": ""}
    return [
        Result("ingest.copy_10k", limit, "rows/s", "this machine, this table", None),
        *(
            Result(f"ingest.{_NAMES[name]}", rates[name], "rows/s", against, rates[name] / limit, target)
            for name, target in wanted.items()
        ),
        Result(
            "ingest.service_10k_walled",
            rates["walled"],
            "rows/s",
            f"the same without policies, {rates['service']:,.0f} rows/s",
            rates["walled"] / rates["service"],
            ">= 0.95",
        ),
        *felt,
    ]


def _rows(number: int) -> list[dict[str, Any]]:
    """Signals about hours of their own, over 20 symbols."""
    start = EPOCH + timedelta(hours=number * (ROWS // 20))
    return [
        {
            "symbol": f"SYM{n % 20:03}",
            "timeframe": "1h",
            "decision": ("BUY", "SELL", "HOLD")[n % 3],
            "confidence": (n % 1000) / 1000,
            "model_version": "1.0.0",
            "timestamp": (start + timedelta(hours=n // 20)).isoformat(),
        }
        for n in range(ROWS)
    ]


def fresh() -> list[dict[str, Any]]:
    """10,000 signals that nobody pushed yet."""
    return _rows(next(_batches))


def _on_disk(db: Database) -> list[Result]:
    """What is left behind by a signal, with its indexes, and by a push: its batch and its receipt."""
    with db.begin() as tx:
        rows, pushes, signals_bytes, pushes_bytes = tx.execute(text(ON_DISK)).one()
    return [
        Result("ingest.bytes_per_signal", float(signals_bytes) / rows, "bytes", f"{rows:,} rows, with indexes", None),
        Result(
            "ingest.bytes_per_push", float(pushes_bytes) / pushes, "bytes", f"{pushes:,} pushes, with indexes", None
        ),
    ]


def _service(db: Database) -> float:
    rows = _rows(next(_batches))
    batch = signals.Batch(items=rows, body=json.dumps(rows).encode())

    def work() -> None:
        with db.begin() as tx:
            assert signals.store(tx, WHO, batch, signer=SIGNER).accepted == ROWS

    return seconds_of(work)


def _walled(db: Database) -> float:
    with within(of_vendor("v")):
        return _service(db)


def _again(db: Database) -> float:
    """The rate of a batch that is there already."""
    rows = _rows(next(_batches))
    batch = signals.Batch(items=rows, body=json.dumps(rows).encode())

    def work() -> None:
        with db.begin() as tx:
            signals.store(tx, WHO, batch, signer=SIGNER)

    work()
    return ROWS / min(seconds_of(work) for _ in range(3))


def _copy(db: Database) -> float:
    """COPY of a buffer that was built beforehand."""
    with psycopg.connect(db._conninfo) as connection:  # noqa: SLF001 - the same server, without our layers
        buffer = _encode(connection, next(_batches))

        def work() -> None:
            with connection.cursor() as cursor, cursor.copy(COPY) as copy:
                copy.write(buffer)
            connection.commit()

        return seconds_of(work)


def _encode(connection: psycopg.Connection, number: int) -> bytes:
    """The binary form of a batch, made by COPYing it through a temporary table."""
    columns = COPY.partition("(")[2].partition(")")[0]
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE IF NOT EXISTS staged (LIKE signals)")
        cursor.execute("TRUNCATE staged")
        with cursor.copy(COPY.replace("COPY signals", "COPY staged")) as copy:
            copy.set_types(TYPES)
            for n, row in enumerate(_rows(number)):
                at = datetime.fromisoformat(row["timestamp"])
                copy.write_row((
                    at, EPOCH, at, number, row["confidence"], n, True, "d", "v", None,
                    row["symbol"], row["timeframe"], row["model_version"], row["decision"], None, None,
                ))  # fmt: skip
        with cursor.copy(f"COPY staged ({columns}) TO STDOUT (FORMAT BINARY)") as copy:
            buffer = b"".join(bytes(piece) for piece in copy)
    connection.commit()
    return buffer


@contextmanager
def database() -> Iterator[Database]:
    with tempfile.TemporaryDirectory(prefix="mp-bench-") as folder:
        server = embedded.start(Path(folder) / "postgres", die_with_parent=True)
        try:
            embedded.ensure_database(server, "bench")
            db = Database(server.url("bench"))
            with db.begin() as tx:
                migrate.upgrade(tx)
                tx.execute(text("INSERT INTO marketplace_vendors (id, name) VALUES ('v', 'v')"))
                tx.execute(
                    text("INSERT INTO deployments (id, vendor_id, name, provider) VALUES ('d', 'v', 'd', 'byoc')")
                )
            yield db
            db.close()
        finally:
            embedded.stop(Path(folder) / "postgres")

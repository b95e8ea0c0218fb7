"""One authenticated GET with its SELECT, against a bare handler of the same framework with the same SELECT.

Both are processes of their own over one Postgres and take turns under 32 kept connections. The edge's has all that a
request has there: the token, its limit, the envelope, request ids. ``MP_BENCH_HANDLER_SECONDS`` is a turn's length.
"""

from __future__ import annotations

import argparse
import os
import statistics
from typing import Any

import numpy as np

from bench.edge_world import WIDE, warm, world
from bench.hammer import get, hammer
from bench.results import Result

SECONDS = float(os.environ.get("MP_BENCH_HANDLER_SECONDS", "4"))
TURNS, VENDORS, CONNECTIONS = 3, 16, 32


def run() -> list[Result]:
    """The edge's rate as a share of the bare handler's, and what the slowest hundredth of requests feels."""
    with world(VENDORS) as made, made.edge(MP_LIMITS=WIDE) as edge, made.edge("bench.handlers") as bare:
        warm(edge.port, made.tokens)
        own = [get("/api/vendors/me", f"Authorization: Bearer {token}") for token in made.tokens]
        theirs = [get(f"/bare/{vendor}") for vendor in _vendors(made.database_url)]
        rates, shares, slow = [], [], []
        for _ in range(TURNS):
            ours = hammer(edge.port, own, connections=CONNECTIONS, seconds=SECONDS)
            other = hammer(bare.port, theirs, connections=CONNECTIONS, seconds=SECONDS)
            assert (ours.errors, other.errors) == (0, 0)
            rates.append((ours.rate, other.rate))
            shares.append(ours.rate / other.rate)
            slow.append(float(np.percentile(ours.seconds, 99)) * 1e3)
    rate, limit = (statistics.median(column) for column in zip(*rates, strict=True))
    against = f"a bare Litestar handler with the same SELECT, {limit:,.0f} requests/s"
    return [
        Result("handlers.get", rate, "requests/s", against, statistics.median(shares), ">= 0.5"),
        Result("handlers.get_p99_ms", statistics.median(slow), "ms", f"{CONNECTIONS} connections", None, "< 100"),
    ]


def _vendors(database_url: str) -> list[str]:
    import psycopg

    with psycopg.connect(database_url) as connection:
        return [str(row[0]) for row in connection.execute("SELECT id FROM marketplace_vendors ORDER BY id")]


def serve_bare() -> None:
    """The other side: nothing but the framework, the pool and the SELECT."""
    import asyncio
    from collections.abc import AsyncIterator
    from concurrent.futures import ThreadPoolExecutor
    from contextlib import asynccontextmanager

    import uvicorn
    from litestar import Litestar, get
    from litestar.params import FromPath

    from mp_kit.server.serve import settle_heap
    from mp_kit.server.store import vendors
    from mp_kit.server.wiring import open_house

    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    chosen = parser.parse_args()
    with open_house() as house:

        @get("/bare/{vendor_id:str}", sync_to_thread=True)
        def bare(vendor_id: FromPath[str]) -> dict[str, Any]:
            with house.db.begin() as tx:
                row = vendors.find(tx, vendor_id)
            return {"id": row.id, "name": row.name, "status": row.status} if row is not None else {}

        @asynccontextmanager
        async def threads(_: Litestar) -> AsyncIterator[None]:
            with ThreadPoolExecutor(house.settings.edge_threads) as pool:
                asyncio.get_running_loop().set_default_executor(pool)
                yield

        globals()["FromPath"] = FromPath  # where the framework looks for the types of a function's parameters
        app = Litestar([bare], lifespan=[threads], openapi_config=None)
        settle_heap()
        uvicorn.run(app, port=chosen.port, access_log=False, server_header=False, log_level="warning")


if __name__ == "__main__":
    serve_bare()

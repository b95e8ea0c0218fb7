"""64 vendors for a minute, each at its limit: a push a second, and each second a look at one of their own things.

The limits are the wire's, and nobody may meet them: a push a second is what a deployment is promised. Half of the
pushes have one signal, the rest up to 100. ``MP_BENCH_VENDORS_SECONDS`` is a shorter one.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta

import numpy as np

from bench.edge_world import warm, world
from bench.hammer import get, hammer, post
from bench.results import Result

SECONDS = float(os.environ.get("MP_BENCH_VENDORS_SECONDS", "60"))
VENDORS = 64
START = datetime(2016, 1, 1, tzinfo=UTC)


def run() -> list[Result]:
    """What a request takes, in the middle and at the end; and how many were not answered with 200."""
    with world(VENDORS) as made, made.edge() as edge:
        warm(edge.port, made.tokens)
        first = [_push(token, -1, 0) for token in made.tokens]  # what an edge loads at its first push is loaded
        hammer(edge.port, first, connections=4, seconds=30, rate=VENDORS)
        requests = [
            one for turn in range(int(SECONDS)) for number, token in enumerate(made.tokens)
            for one in (_push(token, turn, number), get("/api/vendors/me", f"Authorization: Bearer {token}"))
        ]  # fmt: skip
        heard = hammer(edge.port, requests, connections=VENDORS, seconds=SECONDS, rate=2 * VENDORS * 59 / 60)
    against = f"{len(heard.seconds):,} requests of {VENDORS} vendors in {SECONDS:.0f} s"
    p50, p99 = (float(np.percentile(heard.seconds, share)) * 1e3 for share in (50, 99))
    return [
        Result("vendors.p50_ms", p50, "ms", against, None),
        Result("vendors.p99_ms", p99, "ms", against, p99 / 100, "< 100"),
        Result("vendors.errors", heard.errors, "", str(heard.statuses), None, "0"),
    ]


def _push(token: str, turn: int, number: int) -> bytes:
    at = START + timedelta(minutes=turn)
    count = (1, 1, 10, 100)[(turn + number) % 4]
    shape = {"timeframe": "1m", "decision": "BUY", "confidence": 0.5, "model_version": "1", "timestamp": at.isoformat()}
    body = json.dumps([{"symbol": f"SYM{row:03}", **shape} for row in range(count)]).encode()
    headers = (f"Authorization: Bearer {token}", "Content-Type: application/json")
    return post("/api/signals/store", body, *headers)

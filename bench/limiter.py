"""What limits cost: CPU of a request with them, against the same without, edge and Postgres together.

64 deployments ask at 4 requests a second each, which is below their limit; its burst is the wire's, so that tokens are
leased in blocks as large as there. CPU seconds are counted, not those of the clock: other work on the machine does not
count then. The two edges take turns.
"""

from __future__ import annotations

import os
import statistics

from bench.edge_world import Edge, World, warm, world
from bench.hammer import get, hammer
from bench.results import Result

SECONDS = float(os.environ.get("MP_BENCH_LIMITER_SECONDS", "2"))
TURNS, VENDORS, EACH = 20, 64, 4
LIMITS = "vendor=300/min:60"


def run() -> list[Result]:
    """The share of a request's CPU that is the limit's."""
    with world(VENDORS) as made, made.edge(MP_LIMITS=LIMITS) as limited, made.edge(MP_LIMITS="off") as free:
        for edge in (limited, free):
            warm(edge.port, made.tokens)
        costs: dict[Edge, list[float]] = {limited: [], free: []}
        for turn in range(TURNS):
            for edge in (limited, free) if turn % 2 else (free, limited):  # who is first meets another machine
                costs[edge].append(_cost(made, edge))
    with_limits, without = (statistics.mean(costs[edge]) * 1e6 for edge in (limited, free))
    share = 1 - without / with_limits
    against = f"{without:,.0f} us of CPU a request without limits, {with_limits:,.0f} us with them"
    return [Result("limiter.share", share, "of a request", against, share, "< 0.05")]


def _cost(made: World, edge: Edge) -> float:
    """CPU seconds of a request."""
    requests = [get("/api/vendors/me", f"Authorization: Bearer {token}") for token in made.tokens]
    before = edge.cpu() + made.cpu()
    heard = hammer(edge.port, requests, connections=16, seconds=SECONDS, rate=VENDORS * EACH)
    assert heard.errors == 0, heard.statuses
    return (edge.cpu() + made.cpu() - before) / len(heard.seconds)

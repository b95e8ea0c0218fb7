"""What good clients feel while wrong tokens come in at 200 a second: half of them unknown, half with a known id.

1. From the good clients' own address, which is soon refused before anything is checked.
2. From an address of its own each, as a trusted proxy tells: here nothing stands in the way but the bounded checks.

Good clients ask 80 times a second; memory of their tokens ends each minute, and in the middle of each part all tokens
are forgotten, as after a revocation.
"""

from __future__ import annotations

import os
import random
import secrets
import threading
from collections.abc import Callable
from multiprocessing import get_context

import numpy as np
import psycopg

from bench.edge_world import warm, world
from bench.hammer import Heard, get, hammer
from bench.results import Result

SECONDS = float(os.environ.get("MP_BENCH_FLOOD_SECONDS", "12"))
VENDORS, GOOD, WRONG = 16, 80.0, 200.0
_FLOOD = {"connections": 64, "rate": WRONG}
LIMITS = "all=1000000/min,failures=20/min"


def run() -> list[Result]:
    """The 99th percentile of good clients in quiet, and in both floods."""
    with world(VENDORS) as made, made.edge(MP_LIMITS=LIMITS, MP_TRUSTED_PROXIES="127.0.0.1") as edge:
        warm(edge.port, made.tokens)
        good = [get("/api/vendors/me", f"Authorization: Bearer {token}") for token in made.tokens]

        def forget() -> None:
            with psycopg.connect(made.database_url) as connection:
                connection.execute("UPDATE marketplace_vendors SET status = status")

        quiet, _ = _part(edge.port, good, [], forget)
        here, refused = _part(edge.port, good, _wrong(made.tokens, spread=False), forget)
        spread, checked = _part(edge.port, good, _wrong(made.tokens, spread=True), forget)
    usual = f"{_p99(quiet):.1f} ms in quiet"
    return [
        Result("auth_flood.p99_ms", _p99(here), "ms", f"{usual}; {_said(refused)}", _p99(here) / _p99(quiet), "< 100"),
        Result(
            "auth_flood.spread_p99_ms", _p99(spread), "ms", f"{usual}; from an address each: {_said(checked)}",
            _p99(spread) / _p99(quiet), "< 100",
        ),
        Result("auth_flood.errors", quiet.errors + here.errors + spread.errors, "", "of good clients", None, "0"),
    ]  # fmt: skip


def _part(port: int, good: list[bytes], wrong: list[bytes], forget: Callable[[], None]) -> tuple[Heard, Heard]:
    forgetting = threading.Timer(SECONDS / 2, forget)
    with get_context("spawn").Pool(1) as other:  # so that the flood's own work delays no good client here
        poured = other.apply_async(hammer, (port, wrong), {**_FLOOD, "seconds": SECONDS}) if wrong else None
        forgetting.start()
        heard = hammer(port, good, connections=16, seconds=SECONDS, rate=GOOD)
        forgetting.join()
        return heard, poured.get() if poured is not None else Heard()


def _wrong(tokens: list[str], *, spread: bool) -> list[bytes]:
    """Requests with wrong tokens, each another."""
    chance, made = random.Random(5), []
    for number in range(int(WRONG * SECONDS)):
        kind, known, _ = chance.choice(tokens).split("_", 2)
        token_id = known if number % 2 else secrets.token_hex(8)
        address = f"198.51.{number // 250 % 250}.{number % 250}" if spread else "127.0.0.2"
        token = f"{kind}_{token_id}_{secrets.token_urlsafe(32)}"
        headers = [f"Authorization: Bearer {token}", *([f"X-Forwarded-For: {address}"] if spread else [])]
        made.append(get("/api/vendors/me", *headers))
    return made


def _p99(heard: Heard) -> float:
    return float(np.percentile(heard.seconds, 99)) * 1e3


def _said(heard: Heard) -> str:
    return ", ".join(f"{count:,} wrong ones got {status}" for status, count in sorted(heard.statuses.items()))

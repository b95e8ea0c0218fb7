"""The capacity model against a real edge: what it predicts of a mixed load out of figures of single requests.

Measured alone, one request at a time: a single signal, 10,000 as JSON and as Arrow, and a token's slow check. Out of
these :mod:`mp_kit.server.capacity` predicts what ``bench/ingest_http.py`` then measures with 64 vendors at once, and
how many requests of that mix an edge answers per second when clients never pause. A ratio is predicted to measured.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from pathlib import Path

from bench import ingest, ingest_http
from bench.results import Result, best_of, seconds_of
from mp_kit.server import capacity
from mp_kit.server.capacity import Arrival
from mp_kit.server.services.tokens import TokenBook

CLIENTS = 8
FLOOD_SECONDS = 6.0
REMEMBERED_SECONDS = 60.0
"""How long an edge remembers a token."""
WANTED = "0.5 to 2"
_KINDS = 20


def run() -> list[Result]:
    """The model's median, 99th percentile and most requests per second, each beside the measured one."""
    with (
        ingest.database() as db,
        tempfile.TemporaryDirectory(prefix="mp-bench-") as home,
        ingest_http.serving(Path(home), db._conninfo) as edge,  # noqa: SLF001 - the same server, for the edge
    ):
        best = best_of(3, ingest_http.bulk(edge, ingest.fresh))
        single = {one.name: one.value for one in ingest_http.singles(edge)}
        p50, p99 = ingest_http.mixed(edge)
        most = flooded(edge)
    figures = {f"ingest.{form}_10k": ingest.ROWS / seconds for form, seconds in best.items()} | single
    check = token_check()
    lanes = min(capacity.LANES, os.cpu_count() or 1)
    median, slow = capacity.felt(figures, arrivals(check), lanes=lanes)
    rate = capacity.most_per_second(figures, [arrival(0, number) for number in range(_KINDS)], lanes=lanes)
    told = f"of {figures['ingest.single_p50_ms']:.1f} ms a single, {check * 1e3:.0f} ms a token's check"
    return [
        _beside("capacity.mixed_p50_ms", median * 1e3, p50.value, "ms", told),
        _beside("capacity.mixed_p99_ms", slow * 1e3, p99.value, "ms", told),
        _beside("capacity.most_per_second", rate, most, "requests/s", f"{CLIENTS} clients, {os.cpu_count()} cores"),
    ]


def _beside(name: str, predicted: float, measured: float, unit: str, told: str) -> Result:
    return Result(name, predicted, unit, f"measured, {measured:,.1f} {unit}; {told}", predicted / measured, WANTED)


def arrival(at: float, number: int, extra: float = 0.0) -> Arrival:
    """The request that ``ingest_http`` makes of this number."""
    rows, arrow = ingest_http.kind_of(number)
    return Arrival(at, rows, arrow, extra)


def arrivals(check: float) -> list[Arrival]:
    """The mixed load as it is due: each vendor once a second, its token checked slowly when a minute is over."""
    found = []
    for vendor in range(ingest_http.VENDORS):
        part = vendor / ingest_http.VENDORS
        falls_due = REMEMBERED_SECONDS - ingest_http.WARM_SECONDS * (1 - part)
        for turn in range(int(ingest_http.SECONDS)):
            due = turn + part
            late = 0 <= (due - falls_due) % REMEMBERED_SECONDS < 1 and due >= falls_due
            found.append(arrival(due, vendor + turn, check if late else 0.0))
    return found


def token_check() -> float:
    """Seconds of telling that a token is good by its slow hash."""
    book = TokenBook(pepper="p" * 32, jwt_secret="j" * 32, service_key="s" * 32)
    minted = book.mint("ac")
    assert book.proves(minted.token, minted.token_hash)
    return min(seconds_of(lambda: book.proves(minted.token, minted.token_hash)) for _ in range(5))


def flooded(edge: ingest_http.Edge) -> float:
    """Requests of the mix per second, from clients that send the next one as soon as they have an answer."""
    done: list[int] = []
    ends = time.monotonic() + FLOOD_SECONDS
    threads = [threading.Thread(target=_flood, args=(edge, number, ends, done)) for number in range(CLIENTS)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.monotonic() - began)


def _flood(edge: ingest_http.Edge, number: int, ends: float, done: list[int]) -> None:
    client = edge.client(number)
    count = 0
    while time.monotonic() < ends:
        client.post(*ingest_http.body_of(number + count))
        count += 1
    done.append(count)
    client.close()

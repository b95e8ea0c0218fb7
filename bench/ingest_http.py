"""Signals over HTTP: a real edge process, real tokens, and clients that keep their connections.

1. Bulk: the same 10,000 rows as the service's, attributed and exactly once, with an outcome per row in the answer.
2. One signal a request, one after another.
3. Mixed load: 64 vendors at their limit of one write a second, most of it single signals, some batches of 100, a few of
   1,000 as Arrow, and a page read back now and then; ``MP_BENCH_SECONDS=60`` for the whole minute.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bench.edge_world import WIDE
from bench.results import Result
from mp_kit.contracts import DeploymentRequest
from mp_kit.server import settings as settings_module
from mp_kit.server.services import deployments, vendors
from mp_kit.server.wiring import build

VENDORS = 64
SINGLES = 500
SECONDS = float(os.environ.get("MP_BENCH_SECONDS", "15"))
WARM_SECONDS = 8.0
JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"
START = datetime(2016, 1, 1, tzinfo=UTC)
_minutes = itertools.count()


class Edge:
    """A running edge.

    Args:
        port: Where it listens.
        tokens: A deployment's token per vendor.
    """

    def __init__(self, port: int, tokens: Sequence[str]) -> None:
        self.port = port
        self.tokens = tokens

    def client(self, vendor: int = 0) -> Client:
        """A vendor's connection."""
        return Client(self.port, self.tokens[vendor])


class Client:
    """A connection that stays open, with Nagle's delay off, as every HTTP library has it."""

    def __init__(self, port: int, token: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._bearer = {"Authorization": f"Bearer {token}"}

    def post(self, body: bytes, content_type: str, path: str = "/api/signals/store") -> Mapping[str, Any]:
        """Stores; gives the answer's data."""
        self._connection.request("POST", path, body, {**self._bearer, "Content-Type": content_type})
        answer = self._connection.getresponse()
        raw = answer.read()
        assert answer.status == 200, raw[:500]
        data: Mapping[str, Any] = json.loads(raw)["data"]
        return data

    def close(self) -> None:
        """Closes it."""
        self._connection.close()


@contextmanager
def serving(home: Path, database_url: str) -> Iterator[Edge]:
    """An edge process over a database, with 64 vendors."""
    settings_module.ensure_secrets(home)
    env = {"MP_DATABASE_URL": database_url, "MP_LIMITS": WIDE}
    house = build(settings_module.load(home, env))
    tokens = []
    for number in range(VENDORS):
        with house.db.begin() as tx:
            vendor = vendors.create(tx, house.tokens, f"vendor {number}", actor="bench").vendor_id
            wanted = DeploymentRequest(name="live", provider="byoc", image="none")
            tokens.append(deployments.create(tx, house.tokens, vendor, wanted, actor="bench").infra_token or "")
    house.close()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mp_kit.server.serve", "--home", str(home), "--port", str(port)]
    with subprocess.Popen(command, env={**os.environ, **env}) as process:
        try:
            _await(port)
            yield Edge(port, tokens)
        finally:
            process.terminate()


def _await(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(port)


def bulk(edge: Edge, make: Callable[[], list[dict[str, Any]]]) -> dict[str, Callable[[], float]]:
    """What posts a fresh batch and gives its seconds, by form; reading the answer counts, making the body does not."""

    def post(encode: Callable[[list[dict[str, Any]]], bytes], content_type: str) -> float:
        rows = make()
        body = encode(rows)
        client = edge.client()  # a new one each time: while the others have their turns, the edge closes an idle one
        began = time.perf_counter()
        data = client.post(body, content_type)
        seconds = time.perf_counter() - began
        client.close()
        assert (len(rows), len(rows)) == (data["accepted"], len(data["receipts"]))
        return seconds

    return {
        "json_http": lambda: post(lambda rows: json.dumps(rows).encode(), JSON),
        "arrow_http": lambda: post(to_arrow, ARROW),
    }


def to_arrow(rows: list[dict[str, Any]]) -> bytes:
    """Rows as an Arrow stream, instants as instants."""
    times = pa.array([datetime.fromisoformat(row["timestamp"]) for row in rows], pa.timestamp("us", "UTC"))
    table = pa.Table.from_pylist([{name: row[name] for name in row if name != "timestamp"} for row in rows])
    sink = pa.BufferOutputStream()
    table = table.append_column("timestamp", times)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    body: bytes = sink.getvalue().to_pybytes()
    return body


def singles(edge: Edge) -> list[Result]:
    """One signal a request."""
    client = edge.client(1)
    seconds = []
    for _ in range(SINGLES):
        body = json.dumps(_rows(1)).encode()
        began = time.perf_counter()
        client.post(body, JSON)
        seconds.append(time.perf_counter() - began)
    client.close()
    return [
        Result(f"ingest.single_p{share}_ms", float(np.percentile(seconds, share)) * 1e3, "ms", "", None)
        for share in (50, 99)
    ]


def mixed(edge: Edge) -> list[Result]:
    """All vendors at once, each at its limit."""
    seconds: list[float] = []
    for number in range(VENDORS):  # they come one after another: so their tokens' slow checks fall due, each minute
        client = edge.client(number)
        client.post(json.dumps(_rows(1)).encode(), JSON)
        client.close()
        time.sleep(WARM_SECONDS / VENDORS)
    bodies = [[body_of(number + turn) for turn in range(int(SECONDS))] for number in range(VENDORS)]
    began = time.monotonic() + 0.2
    threads = [
        threading.Thread(target=_vendor, args=(edge, number, began, bodies[number], seconds))
        for number in range(VENDORS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = VENDORS * SECONDS
    assert len(seconds) >= 0.95 * expected, f"{len(seconds)} of {expected} requests"
    against = f"{len(seconds)} requests of {VENDORS} vendors in {SECONDS:.0f} s"
    return [
        Result("ingest.mixed_p50_ms", float(np.percentile(seconds, 50)) * 1e3, "ms", against, None),
        Result("ingest.mixed_p99_ms", float(np.percentile(seconds, 99)) * 1e3, "ms", against, None, "< 100"),
    ]


def _vendor(edge: Edge, number: int, began: float, bodies: list[tuple[bytes, str]], seconds: list[float]) -> None:
    """A write a second, at this vendor's part of the second, for as long as it lasts."""
    client = edge.client(number)
    for turn, (body, content_type) in enumerate(bodies):
        due = began + turn + number / VENDORS
        time.sleep(max(0.0, due - time.monotonic()))
        client.post(body, content_type)
        seconds.append(time.monotonic() - due)  # from when it was due: waiting for one's turn counts
    client.close()


def kind_of(number: int) -> tuple[int, bool]:
    """Signals in a request, and whether as Arrow. Of 20: one of 1,000 as Arrow, three of 100, and single ones."""
    kind = number % 20
    return (1_000, True) if kind == 0 else (100 if kind in {1, 2, 3} else 1, False)


def body_of(number: int) -> tuple[bytes, str]:
    """A request's body and the type of its content."""
    rows, arrow = kind_of(number)
    return (to_arrow(_rows(rows)), ARROW) if arrow else (json.dumps(_rows(rows)).encode(), JSON)


def _rows(count: int) -> list[dict[str, Any]]:
    """Signals about a minute of their own."""
    at = (START + timedelta(minutes=next(_minutes))).isoformat()
    return [
        {
            "symbol": f"SYM{n:04}",
            "timeframe": "1m",
            "decision": ("BUY", "SELL", "HOLD")[n % 3],
            "confidence": (n % 1000) / 1000,
            "model_version": "1.0.0",
            "timestamp": at,
        }
        for n in range(count)
    ]

"""What the edge tells its operator: health, metrics, access log, traces; over real HTTP, with a real receiver."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import httpx
import psycopg
import pytest
from edges import serving
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from mp_kit.errors import SetupError
from mp_kit.server import scrape
from mp_kit.server.house import House
from mp_kit.server.processes import free_port
from mp_kit.server.storage import open_store
from mp_kit.server.store.engine import Database
from mp_kit.server.telemetry import logs, trail
from mp_kit.server.wiring import build

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Receiver(ThreadingHTTPServer):
    """An OTLP receiver over HTTP that keeps the spans it got."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Take)
        self.spans: list[Any] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Its root."""
        return f"http://127.0.0.1:{self.server_port}"


class _Take(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
        if self.path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.server.spans += [span for scope in resource.scope_spans for span in scope.spans]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture(scope="module")
def edge_house(house: House, receiver: Receiver) -> Iterator[House]:
    """A house that tells all it can: traces, metrics, an access log."""
    told = {"base_url": f"http://127.0.0.1:{free_port()}", "otel_endpoint": receiver.url, "access_log": True}
    built = build(replace(house.settings, **told, metrics_port=free_port()))
    yield built
    built.close()


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """A receiver of traces."""
    made = Receiver()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture(scope="module")
def metrics(edge_house: House) -> Iterator[str]:
    """The address of the house's metrics."""
    with scrape.serve(edge_house) as port:
        yield f"http://127.0.0.1:{port}/metrics"


def signal() -> dict[str, Any]:
    """A row that nobody stored yet."""
    said = {"symbol": "EURUSD", "timeframe": "1h", "decision": "BUY", "confidence": 0.75, "model_version": "1"}
    return said | {"timestamp": f"2026-01-05T{next(_hours):02d}:00:00Z"}


_hours = itertools.count()


def read(url: str) -> dict[tuple[str, ...], float]:
    """The samples of a scrape: name and values of labels, by the labels' names."""
    families = text_string_to_metric_families(httpx.get(url).text)
    return {
        (s.name, *(s.labels[name] for name in sorted(s.labels))): s.value for family in families for s in family.samples
    }


def attributes(span: Any) -> dict[str, Any]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


class Lines(logging.Handler):
    """A log as JSON lines."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logs.JsonFormatter())
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps it."""
        self.lines.append(json.loads(self.format(record)))


@contextmanager
def access_log() -> Iterator[list[dict[str, Any]]]:
    """The lines of the access log while the block runs."""
    logger, handler = logging.getLogger("mp_kit.access"), Lines()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield handler.lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def test_live_asks_nobody(edge: httpx.Client):
    """The shape of /api/health."""
    said = edge.get("/api/health/live")
    assert (200, "healthy", "mp-kit") == (said.status_code, said.json()["status"], said.json()["service"])


def test_ready_says_each_part_and_the_versions(edge: httpx.Client):
    """Without a token, and without a reason."""
    said = edge.get("/api/health/ready")
    assert 200 == said.status_code
    body = said.json()
    assert {"database": "ok", "schema": "ok", "store": "ok"} == body["checks"]
    assert {"package", "contracts", "schema"} == set(body["versions"])


@pytest.mark.parametrize(
    ("revision", "status"),
    [("0001", 503), ("", 503), ("9999 of a newer one", 200)],
    ids=["behind", "none", "ahead"],
)
def test_ready_knows_the_schema(house: House, revision: str, status: int):
    """One behind the code is failing, one ahead of it is a newer release's."""
    url = house.settings.database_url
    with psycopg.connect(url, autocommit=True) as own:
        was = own.execute("SELECT version_num FROM alembic_version").fetchone()[0]
        try:
            own.execute("UPDATE alembic_version SET version_num = %s", [revision]) if revision else own.execute(
                "DELETE FROM alembic_version"
            )
            with visited(house) as client:
                said = client.get("/api/health/ready")
        finally:
            own.execute("DELETE FROM alembic_version")
            own.execute("INSERT INTO alembic_version VALUES (%s)", [was])
    assert (status, "ok" if status == 200 else "failing") == (said.status_code, said.json()["checks"]["schema"])
    assert {"database": "ok", "store": "ok"} == {name: said.json()["checks"][name] for name in ("database", "store")}


@contextmanager
def visited(house: House, **parts: Any) -> Iterator[httpx.Client]:
    """A client of an edge of its own over a house with other parts."""
    made = replace(house, **parts, settings=replace(house.settings, base_url=f"http://127.0.0.1:{free_port()}"))
    with serving(made), httpx.Client(base_url=made.settings.base_url) as client:
        yield client


def test_ready_fails_without_leaking(house: House, caplog: pytest.LogCaptureFixture):
    """A database and a bucket that are away: 503 and two words outside, the reasons in the log."""
    away = f"http://127.0.0.1:{free_port()}"
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_ENDPOINT_URL": away, "AWS_REGION": "eu"}
    store = open_store("s3://bucket/x", base_url="http://x", url_key="k" * 40, env=keys)
    db = Database("postgresql://me:vk_0123456789_hidden@127.0.0.1:1/none")
    with visited(house, db=db, store=store) as client:
        said = client.get("/api/health/ready")
        assert (503, 200) == (said.status_code, client.get("/api/health/live").status_code)
    assert {"database": "failing", "schema": "failing", "store": "failing"} == said.json()["checks"]
    assert {"success", "service", "version", "timestamp", "status", "checks", "versions"} == set(said.json())
    assert "Retry-After" in said.headers
    assert not re.search(r"127\.0\.0\.1|hidden|bucket|does not answer", said.text)
    assert {"database", "store", "schema"} == set(re.findall(r"not ready: (\w+)", caplog.text))
    db.close()


def test_requests_are_counted_by_route(edge: httpx.Client, metrics: str, vendor: SimpleNamespace):
    """By template, method and status; what no route took is one row, however it was called."""
    before = read(metrics)
    edge.get("/api/training/runs/run_0000000000000000", headers=vendor.headers)
    for made_up, verb in enumerate(("PROPFIND", "MKCOL", "TRACE")):
        edge.get(f"/made/up/{made_up}")
        edge.request(verb, "/api/health")
    after = read(metrics)
    gained = {key[1:]: after[key] - before.get(key, 0) for key in after if key[0] == "mp_http_requests_total"}
    assert {
        ("GET", "/api/training/runs/{run_id}", "404"): 1,
        ("GET", "none", "404"): 3,
        ("OTHER", "none", "405"): 3,
    } == {key: count for key, count in gained.items() if count}
    assert after["mp_http_request_duration_seconds_count", "GET", "/api/training/runs/{run_id}"] == 1
    assert not [key for key in after if "made" in "".join(key) or "PROPFIND" in key]
    assert after["mp_http_requests_in_flight",] == 0


def test_rows_are_counted_by_outcome(edge: httpx.Client, metrics: str, deployment: SimpleNamespace):
    """Accepted, duplicate, rejected; a dry run counts for nothing."""
    good, bad = signal(), signal() | {"confidence": 7}
    before = read(metrics)
    edge.post("/api/signals/store", json=[good], headers=deployment.headers | {"X-Marketplace-Dry-Run": "true"})
    for batch in ([good, bad], [good]):
        assert 200 == edge.post("/api/signals/store", json=batch, headers=deployment.headers).status_code
    after = read(metrics)
    rows = {key[1]: after[key] - before.get(key, 0) for key in after if key[0] == "mp_ingest_rows_total"}
    assert {"accepted": 1, "duplicate": 1, "rejected": 1} == rows


def test_parts_are_told(edge: httpx.Client, metrics: str, edge_house: House, vendor: SimpleNamespace):
    """The pool, Argon2, the listener for revocations, the database's figures."""
    before = read(metrics)
    assert 401 == edge.get("/api/vendors/me", headers={"Authorization": f"Bearer {vendor.key[:-3]}abc"}).status_code
    after = read(metrics)
    assert 1 == after["mp_argon2_runs_total",] - before["mp_argon2_runs_total",]
    assert (edge_house.settings.edge_threads, 0) == (after["mp_db_pool_size",], after["mp_db_pool_waiting",])
    assert (1, 1) == (after["mp_revocations_listening",], after["mp_scrape_database_up",])
    assert after["mp_revocations_silence_seconds",] >= 0
    assert {"webhooks", "runs", "looks", "hostings", "drops"} == {key[1] for key in after if "mp_queue_waiting" in key}


def test_waiting_for_the_pool_shows(edge_house: House, metrics: str):
    """All connections held, one caller more."""
    over, db = threading.Event(), edge_house.db

    def hold() -> None:
        with db.begin():
            over.wait(10)

    threads = [threading.Thread(target=hold) for _ in range(edge_house.settings.edge_threads + 1)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 5
    while not (found := read(metrics))["mp_db_pool_waiting",]:
        assert time.monotonic() < deadline
    over.set()
    for thread in threads:
        thread.join()
    assert found["mp_db_pool_size",] == found["mp_db_pool_used",]


def test_taken_port_is_told(edge_house: House, metrics: str):
    """With what to do."""
    assert metrics
    again = replace(edge_house, metrics=type(edge_house.metrics)())
    with pytest.raises(SetupError, match="cannot be served") as caught, scrape.serve(again):
        pass
    assert "MP_METRICS_PORT" in caught.value.hint


def test_no_port_no_server(house: House):
    """Off by default."""
    with scrape.serve(house) as port:
        assert port is None


def test_access_log_has_ids_and_no_secrets(edge: httpx.Client, deployment: SimpleNamespace):
    """One line a request: the ids of whoever asked, the template, no query; a token as a request id goes."""
    headers = deployment.headers | {"X-Request-Id": deployment.token}
    with access_log() as lines:
        edge.post("/api/signals/store?atomic=false&key=hidden", json=[signal()], headers=headers)
        edge.get("/files/objects/aa/hidden?signature=hidden")
        edge.get("/api/health")
    assert ["/api/signals/store", "/files"] == [line["route"] for line in lines]
    first = lines[0]
    assert (200, "POST", deployment.id) == (first["status"], first["method"], first["deployment_id"])
    assert first["vendor_id"].startswith("ven_")
    assert first["request_id"].startswith("sit_***")
    assert TRACE != first["trace_id"]
    assert "hidden" not in json.dumps(lines)
    assert deployment.token[-20:] not in json.dumps(lines)


def test_ids_of_a_request_reach_the_handlers_thread(edge: httpx.Client, monkeypatch: pytest.MonkeyPatch):
    """Log lines of services bear the request's id."""
    seen: list[str] = []
    begin = Database.begin

    def told(self: Database) -> Any:
        at_hand = trail.current()
        seen.append(at_hand.request_id if at_hand else "")
        return begin(self)

    monkeypatch.setattr(Database, "begin", told)
    edge.get("/api/health", headers={"X-Request-Id": "mine-1"})
    assert "mine-1" in seen


def test_spans_of_a_request(edge: httpx.Client, edge_house: House, receiver: Receiver, vendor: SimpleNamespace):
    """Part of the caller's trace, with its transactions below it, and nothing of what was sent."""
    headers = vendor.headers | {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "X-Request-Id": "traced"}
    assert 404 == edge.get("/api/training/runs/run_hidden?key=hidden", headers=headers).status_code
    assert edge_house.tracing is not None
    edge_house.tracing._provider.force_flush()
    ours = [span for span in receiver.spans if span.trace_id.hex() == TRACE]
    root = next(span for span in ours if span.name.startswith("GET"))
    assert ("GET /api/training/runs/{run_id}", "00f067aa0ba902b7") == (root.name, root.parent_span_id.hex())
    told = attributes(root)
    assert (404, "/api/training/runs/{run_id}") == (told["http.response.status_code"], told["http.route"])
    assert (vendor.id, "traced") == (told["mp.vendor_id"], told["mp.request_id"])
    below = [span for span in ours if span.parent_span_id == root.span_id]
    assert {"transaction"} == {span.name for span in below}
    assert "postgresql" == attributes(below[0])["db.system.name"]
    assert "hidden" not in str(ours)
    edge.get("/api/health", headers={"X-Request-Id": vendor.key})  # of a form that is echoed
    edge_house.tracing._provider.force_flush()
    assert "vk_***" in str(receiver.spans)
    assert vendor.key[-20:] not in str(receiver.spans)


def test_without_an_endpoint_there_is_no_tracing(house: House):
    """Nothing is made."""
    assert house.tracing is None


@pytest.mark.slow
def test_edge_as_a_process_tells_json_and_metrics(house: House):
    """Uvicorn's own lines too; metrics on another port than the API's, and not on the API's."""
    port, telling = free_port(), free_port()
    env = {"MP_DATABASE_URL": house.settings.database_url, "MP_LOG_FORMAT": "json", "MP_METRICS_PORT": str(telling)}
    command = [sys.executable, "-m", "mp_kit.server.serve", "--home", str(house.settings.home), "--port", str(port)]
    with subprocess.Popen(command, env={**os.environ, **env}, stderr=subprocess.PIPE, text=True) as process:
        try:
            _await(f"http://127.0.0.1:{port}/api/health/live", process)
            assert 200 == httpx.get(f"http://127.0.0.1:{port}/api/health/ready").status_code
            assert 404 == httpx.get(f"http://127.0.0.1:{port}/metrics").status_code
            with contextlib.closing(socket.create_connection(("127.0.0.1", port))) as raw:
                raw.sendall(b"no HTTP at all\r\n\r\n")
                assert raw.recv(100).startswith(b"HTTP/1.1 400")
            assert 1 == read(f"http://127.0.0.1:{telling}/metrics")["mp_http_requests_total", "GET", "none", "404"]
        finally:
            process.terminate()
        lines = [json.loads(line) for line in process.communicate()[1].splitlines()]
    told = {line["logger"]: line for line in lines}
    assert ("GET none 404", 404) == (told["mp_kit.access"]["message"], told["mp_kit.access"]["status"])
    assert "Invalid HTTP request received." == told["uvicorn.error"]["message"]


def _await(url: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url).status_code == 200:
                return
        time.sleep(0.05)
    message = "the edge did not start"
    raise AssertionError(message)

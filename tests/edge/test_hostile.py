"""Requests that are well-formed and yet cannot be served: they get a sentence of 4xx, never a 500."""

from __future__ import annotations

import base64
import gzip
import json
import struct
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

from mp_kit.contracts.signal_rules import MAX_ROWS
from mp_kit.server.edge.bodies import ARROW, NDJSON

NUL = "\x00"
INSTANT = "2026-01-05T10:00:00Z"


@pytest.mark.parametrize(
    "path",
    [
        "/api/rounds/%00",
        "/api/rounds/a%00b/manifest",
        "/api/training/runs/%00",
        "/api/deployments/%00",
        "/api/signals?symbol=%00",
        "/api/signals?deployment_id=%00",
        "/api/consensus?symbol=%00",
        "/api/consensus/latest?symbol=%00",
    ],
)
def test_nul_in_a_url(edge: httpx.Client, vendor: SimpleNamespace, path: str):
    """Postgres has no NUL in its texts: that is the caller's fault, and said so."""
    response = edge.get(path, headers=vendor.headers)
    assert (422, "invalid_input") == (response.status_code, response.json()["code"])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/deployments", {"name": "n", "provider": "byoc", "model_id": NUL}),
        ("/api/deployments", {"name": "n", "provider": "byoc", "image": NUL}),
        ("/api/vendors/models", {"name": "n", "task": "signal", "version": "1", "description": NUL}),
        ("/api/vendors/models", {"name": "n", "task": "signal", "version": "1", "run_id": NUL}),
        ("/api/vendors/heartbeats", {"deployment_id": NUL, "status": "ready", "timestamp": INSTANT}),
    ],
)
def test_nul_in_a_body(edge: httpx.Client, vendor: SimpleNamespace, path: str, body: dict[str, Any]):
    """The same in a body, and the answer bears no SQL."""
    response = edge.post(path, json=body, headers=vendor.headers)
    assert (422, "invalid_input") == (response.status_code, response.json()["code"])
    assert "INSERT" not in response.text


@pytest.mark.parametrize("metrics", ['{"a":"\\u0000"}', '{"\\u0000":1}'])
def test_metrics_that_no_json_column_takes(edge: httpx.Client, deployment: SimpleNamespace, metrics: str):
    """A heartbeat's metrics are free, but they have to be storable."""
    body = f'{{"deployment_id":"{deployment.id}","status":"ready","timestamp":"{INSTANT}","metrics":{metrics}}}'
    response = edge.post("/api/vendors/heartbeats", content=body, headers=deployment.headers)
    assert (422, "invalid_input") == (response.status_code, response.json()["code"])


def test_a_body_too_deep_to_read(edge: httpx.Client, deployment: SimpleNamespace):
    """A body that no parser follows is malformed."""
    response = edge.post("/api/vendors/heartbeats", content='{"a":' * 5_000, headers=deployment.headers)
    assert (400, "malformed_json") == (response.status_code, response.json()["code"])


@pytest.mark.parametrize("place", ["[" * 20_000, json.dumps(["2026-01-01T00:00:00+00:00", "a\x00"])])
def test_foreign_cursor_of_runs(edge: httpx.Client, vendor: SimpleNamespace, place: str):
    """A cursor that was never ours is refused, whatever it unpacks to."""
    cursor = base64.urlsafe_b64encode(place.encode()).decode()
    response = edge.get("/api/training/runs", params={"cursor": cursor}, headers=vendor.headers)
    assert (422, "invalid_input") == (response.status_code, response.json()["code"])


def arrow(column: pa.Array) -> bytes:
    """An Arrow stream of one column."""
    table = pa.table({"timestamp": column})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    payload: bytes = sink.getvalue().to_pybytes()
    return payload


def beyond_its_buffer() -> bytes:
    """A stream whose last text is said to end far behind the bytes that came."""
    payload = arrow(pa.array(["ab", "cd"]))
    return payload.replace(struct.pack("<iii", 0, 2, 4), struct.pack("<iii", 0, 2, 100_000_000))


ARROWS = {
    "a time beyond the calendar": arrow(pa.array([2**62], pa.timestamp("s"))),
    "a zone that nobody knows": arrow(pa.array([1], pa.timestamp("s", "Nowhere/Bad"))),
    "a date beyond the calendar": arrow(pa.array([2**31 - 1], pa.date32())),
    "a text that is no UTF-8": arrow(pa.array([b"\xff\xfe"], pa.binary()).view(pa.string())),
    "an offset beyond the buffer": beyond_its_buffer(),
}


@pytest.mark.parametrize("body", ARROWS.values(), ids=ARROWS)
def test_arrow_that_cannot_be_read(edge: httpx.Client, deployment: SimpleNamespace, body: bytes):
    """It is refused before the process follows an offset out of its memory."""
    headers = deployment.headers | {"Content-Type": ARROW}
    response = edge.post("/api/signals/store", content=body, headers=headers)
    assert (400, "malformed_json") == (response.status_code, response.json()["code"])


def columns(**of: pa.Array) -> bytes:
    """An Arrow stream of columns."""
    batch = pa.record_batch(of)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    payload: bytes = sink.getvalue().to_pybytes()
    return payload


ROWS = 9_000
LONG = pa.array(["x" * 100_000])
FIRST = pa.array(np.zeros(ROWS, np.int32))
STARTS = pa.array(np.arange(ROWS + 1, dtype=np.int32))
FAT = {
    "a text named by every row": (413, {"symbol": pa.DictionaryArray.from_arrays(FIRST, LONG)}),
    "a text in every row's list": (
        413,
        {"rationale": pa.ListArray.from_arrays(STARTS, pa.DictionaryArray.from_arrays(FIRST, LONG))},
    ),
    "nulls without a byte": (
        413,
        {"rationale": pa.ListArray.from_arrays(pa.array([0, 2**31 - 1], pa.int32()), pa.nulls(2**31 - 1))},
    ),
    "a run of one text": (
        422,
        {"symbol": pa.RunEndEncodedArray.from_arrays(pa.array([ROWS], pa.int32()), LONG)},
    ),
    "lists over each other": (
        422,
        {
            "rationale": pa.ListViewArray.from_arrays(
                FIRST, pa.array(np.full(ROWS, 1_000, np.int32)), pa.array(["x"] * 1_000)
            )
        },
    ),
}


@pytest.mark.parametrize(("status", "of"), FAT.values(), ids=FAT)
def test_arrow_that_becomes_more_than_it_is(
    edge: httpx.Client, deployment: SimpleNamespace, status: int, of: dict[str, pa.Array]
):
    """What its values would take is counted before any is made."""
    body = columns(**of)
    assert len(body) < 300_000
    headers = deployment.headers | {"Content-Type": ARROW}
    assert status == edge.post("/api/signals/store", content=body, headers=headers).status_code


def test_a_view_that_every_row_shares(edge: httpx.Client, deployment: SimpleNamespace):
    """A view names its text by place; the same place may stand in every row."""
    one = pa.array(["x" * 100_000], pa.string_view())
    shared = pa.Array.from_buffers(
        pa.string_view(), ROWS, [None, pa.py_buffer(one.buffers()[1].to_pybytes() * ROWS), one.buffers()[2]]
    )
    headers = deployment.headers | {"Content-Type": ARROW}
    response = edge.post("/api/signals/store", content=columns(symbol=shared), headers=headers)
    assert (413, "too_large") == (response.status_code, response.json()["code"])


def test_more_values_than_we_hold(edge: httpx.Client, deployment: SimpleNamespace):
    """Twenty-four megabytes of empty lists would become half a gigabyte."""
    body = b"[" + b"[]," * 8_000_001 + b"[]]"
    response = edge.post(
        "/api/signals/store", content=body, headers=deployment.headers | {"Content-Type": "application/json"}
    )
    assert (413, "too_large") == (response.status_code, response.json()["code"])


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_a_packed_body_is_not_unpacked(edge: httpx.Client, deployment: SimpleNamespace, encoding: str):
    """No route takes one, so that none of them can be a bomb; the sentence says so."""
    body = gzip.compress(b"[" + b" " * (16 << 20) + b"]")
    headers = deployment.headers | {"Content-Type": "application/json", "Content-Encoding": encoding}
    response = edge.post("/api/signals/store", content=body, headers=headers)
    assert (415, "unsupported_media_type") == (response.status_code, response.json()["code"])


def test_more_lines_than_a_batch_has(edge: httpx.Client, deployment: SimpleNamespace):
    """Counted before they are read, because an empty object costs 50 times its two bytes."""
    headers = deployment.headers | {"Content-Type": NDJSON}
    response = edge.post("/api/signals/store", content=b"{}\n" * (2 * MAX_ROWS + 1), headers=headers)
    assert (413, "too_large") == (response.status_code, response.json()["code"])


def test_only_signals_come_in_bulk(edge: httpx.Client, vendor: SimpleNamespace, deployment: SimpleNamespace):
    """64 MiB are for signals; other bodies have 8 MiB."""
    large = b" " * (9 << 20)
    answers = [
        edge.post("/api/vendors/models", content=large, headers=vendor.headers),
        edge.post("/api/signals/store", content=large + b"[{}]", headers=deployment.headers),
    ]
    assert [413, 200] == [answer.status_code for answer in answers]


@pytest.mark.parametrize("budget", [{"max_hours": 1e9}, {"max_cost_usd": 1e12}])
def test_budget_beyond_all_bounds(edge: httpx.Client, vendor: SimpleNamespace, budget: dict[str, float]):
    """A deadline that the calendar does not have would stop the supervisor, not the run."""
    wanted = {"round_id": "current", "task": "signal", "provider": "local", "budget": budget}
    response = edge.post("/api/training/runs", json=wanted, headers=vendor.headers)
    assert (422, ["budget", next(iter(budget))]) == (response.status_code, response.json()["details"][0]["loc"])


def test_a_version_named_as_another_one_s_id(edge: httpx.Client, vendor: SimpleNamespace):
    """The id wins over the name, and neither breaks the route."""
    wanted = {"name": "m", "task": "signal", "version": "1"}
    first = edge.post("/api/vendors/models", json=wanted, headers=vendor.headers).json()["data"]
    twin = wanted | {"version": first["version_id"]}
    assert 200 == edge.post("/api/vendors/models", json=twin, headers=vendor.headers).status_code
    path = f"/api/vendors/models/{first['model_id']}/versions/{first['version_id']}"
    moved = edge.patch(path, json={"stage": "pilot"}, headers=vendor.headers).json()["data"]
    assert (first["version_id"], "pilot") == (moved["version_id"], moved["stage"])


def test_a_violation_says_where_in_plain_words(edge: httpx.Client, vendor: SimpleNamespace):
    """The sentence names the place as its caller wrote it, and none of our classes."""
    query = edge.get("/api/signals?timeframe=7m", headers=vendor.headers).json()
    body = edge.post("/api/deployments", headers=vendor.headers).json()
    assert query["error"].startswith("The request does not fit the contract: query.timeframe: ")
    assert ("body: the body is missing.", []) == (body["error"][-26:], body["details"][0]["loc"])

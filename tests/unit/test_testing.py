from __future__ import annotations

import httpx
import pyarrow as pa
import pytest

from mp_kit import errors
from mp_kit.client.marketplace import Marketplace
from mp_kit.contracts import CONTRACTS_VERSION
from mp_kit.testing import FakeMarketplace, sample_tables


@pytest.fixture
def fake() -> FakeMarketplace:
    return FakeMarketplace()


def client(fake: FakeMarketplace) -> httpx.Client:
    """A client that knows nothing of mp-kit."""
    return httpx.Client(base_url=fake.url, transport=fake.transport)


def test_fake_speaks_the_envelope(fake: FakeMarketplace):
    """Success and error bodies, request id and version, as the wire has them."""
    with client(fake) as http:
        good = http.get("/api/rounds/current", headers={"X-Request-Id": "abc"})
        bad = http.get("/api/vendors/me")
    assert (200, True, "abc") == (good.status_code, good.json()["success"], good.headers["X-Request-Id"])
    assert CONTRACTS_VERSION == good.headers["X-Marketplace-Contracts-Version"]
    assert (401, False, "unauthorized") == (bad.status_code, bad.json()["success"], bad.json()["code"])
    assert isinstance(bad.json()["error"], str)


@pytest.mark.parametrize(
    ("method", "where", "content", "version", "status", "code"),
    [
        ("GET", "/api/nowhere", b"", None, 404, "route_not_found"),
        ("GET", "/api/rounds/none", b"", None, 404, "not_found"),
        ("GET", "/api/health", b"", "2.0.0", 422, "contracts_version_unsupported"),
        ("POST", "/api/datasets/signed-urls", b"{", None, 400, "malformed_json"),
        ("POST", "/api/datasets/signed-urls", b"{}", None, 422, "invalid_input"),
    ],
)
def test_fake_refuses_as_the_wire_says(
    fake: FakeMarketplace, method: str, where: str, content: bytes, version: str | None, status: int, code: str
):
    """Codes and statuses."""
    headers = {"Authorization": f"Bearer {fake.api_key}"}
    headers |= {"X-Marketplace-Contracts-Version": version} if version else {}
    with client(fake) as http:
        answer = http.request(method, where, content=content, headers=headers)
    assert (status, code) == (answer.status_code, answer.json()["code"])


def test_fake_serves_ranges(fake: FakeMarketplace):
    """206 with Content-Range; another ETag in If-Range gets the whole."""
    digest, content = next(iter(fake.shelf.files.items()))
    with client(fake) as http:
        part = http.get(f"/files/{digest}", headers={"Range": "bytes=2-5", "If-Range": f'"{digest}"'})
        whole = http.get(f"/files/{digest}", headers={"Range": "bytes=2-5", "If-Range": '"other"'})
    assert (206, content[2:6], f"bytes 2-5/{len(content)}") == (
        part.status_code,
        part.content,
        part.headers["Content-Range"],
    )
    assert (200, content) == (whole.status_code, whole.content)


def test_fake_publishes_given_tables():
    """Vendors test on their own tables."""
    fake = FakeMarketplace({("train", "GBPUSD"): pa.table({"x": [1, 2, 3]})})
    market = Marketplace(fake.url, fake.api_key, transport=fake.transport)
    assert ["GBPUSD"] == market.rounds.manifest().symbols
    assert 3 == market.rounds.current().files[0].rows


def test_fake_fails_on_demand(fake: FakeMarketplace):
    """So many times, for the paths that were named, then no more."""
    fake.fail(errors.RateLimitedError("Slow.", retry_after=3), times=1, path="/api/rounds")
    with client(fake) as http:
        assert 200 == http.get("/api/health").status_code
        refused = http.get("/api/rounds/current")
        assert (429, "3") == (refused.status_code, refused.headers["Retry-After"])
        assert 200 == http.get("/api/rounds/current").status_code


def test_fake_key_reused_with_another_batch_is_processed(fake: FakeMarketplace):
    """Old clients derive the key from a slot: two honest batches may share it, and none is lost."""
    market = Marketplace(fake.url, fake.api_key, transport=fake.transport)
    token = market.deployments.create("d", provider="byoc").infra_token
    row = {"symbol": "EURUSD", "timeframe": "1h", "decision": "BUY", "confidence": 1, "model_version": "1"}
    headers = {"Authorization": f"Bearer {token}", "X-Idempotency-Key": "EURUSD:1h:1"}
    with client(fake) as http:
        answers = [
            http.post("/api/signals/store", json=[row | {"timestamp": f"2026-01-0{day}T00:00:00Z"}], headers=headers)
            for day in (1, 1, 2)
        ]
    data = [answer.json()["data"] for answer in answers]
    assert [1, 1, 1] == [item["accepted"] for item in data]
    assert [None, None, True] == [item.get("idempotency_key_reused") for item in data]
    assert 2 == len(fake.book.signals)


def test_sample_tables_are_the_same_each_time():
    """Deterministic: hashes in a vendor's tests stay."""
    assert all(table.equals(sample_tables()[key]) for key, table in sample_tables().items())

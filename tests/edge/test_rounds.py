"""Rounds over HTTP: manifests, signed URLs, files with ranges."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import httpx
import pytest

from mp_kit.contracts import ManifestFile, ManifestSignature, SigningKey
from mp_kit.errors import ConflictError, IntegrityError
from mp_kit.server.house import House
from mp_kit.server.services import rounds
from mp_kit.server.storage import UploadBound, content_key
from mp_kit.signing import open_manifest

PAYLOAD = bytes(range(256)) * 5000


def draft(house: House, payload: bytes, name: str = "round") -> rounds.Draft:
    """A round of one file whose bytes lie in the store."""
    digest = hashlib.sha256(payload).hexdigest()
    house.store.put_bytes(content_key(digest), payload)
    file = ManifestFile(
        name="train-EURUSD.parquet",
        type="train",
        symbol="EURUSD",
        size_bytes=len(payload),
        sha256=digest,
        rows=3,
        max_time=datetime(2026, 1, 2, tzinfo=UTC),
    )
    facts = {
        "name": name,
        "timeframe": "1d",
        "symbols": ["EURUSD"],
        "horizon": 5,
        "embargo": 5,
        "source": {"kind": "test"},
        "code_version": "0",
    }
    return rounds.Draft(manifest=facts, files=[file], metadata={"input_bars": 3})


@pytest.fixture
def published(edge_house: House) -> rounds.Published:
    with edge_house.db.begin() as tx:
        return rounds.publish(tx, edge_house.signer, draft(edge_house, PAYLOAD), actor="test")


@pytest.fixture
def url(edge: httpx.Client, published: rounds.Published, vendor: SimpleNamespace) -> str:
    body = edge.post("/api/datasets/signed-urls", json={"round_id": "current"}, headers=vendor.headers).json()["data"]
    assert (published.round_id, 900) == (body["round_id"], body["ttl_seconds"])
    address: str = body["urls"][0]["url"]
    return address


def test_no_current_round(edge: httpx.Client, edge_house: House, published: rounds.Published):
    """Before the first publication, and after the current one is retired."""
    with edge_house.db.begin() as tx:
        rounds.retire(tx, published.round_id, actor="test", force=True)
    response = edge.get("/api/rounds/current")
    assert (404, "no_current_round") == (response.status_code, response.json()["code"])
    with edge_house.db.begin() as tx:
        rounds.publish(tx, edge_house.signer, draft(edge_house, b"another", "second"), actor="test")
    assert edge.get("/api/rounds/current").json()["data"]["is_current"] is True


def test_current_round_is_retired_by_force_alone(edge_house: House):
    """It stays current otherwise; a retired one is listed among all, and publishing it again tells what that did."""
    drafts = [draft(edge_house, name.encode(), name) for name in ("old", "new")]
    with edge_house.db.begin() as tx:
        old, new = (rounds.publish(tx, edge_house.signer, one, actor="test") for one in drafts)
        assert (old.round_id, False) == (new.replaced, new.restored)
        with pytest.raises(ConflictError, match="is the current one") as refused:
            rounds.retire(tx, new.round_id, actor="test")
        assert "set-current" in refused.value.hint
        rounds.retire(tx, old.round_id, actor="test")
        assert old.round_id not in {one.round_id for one in rounds.newest(tx, 100)}
        [at] = [at for one, at in rounds.listed(tx, 100, retired=True) if one.round_id == old.round_id]
        assert at is not None
        again = rounds.publish(tx, edge_house.signer, drafts[0], actor="test")
    assert (False, True, True, new.round_id) == (again.created, again.made_current, again.restored, again.replaced)


def test_publishing_twice_is_one_round(edge_house: House):
    """The same input again is a no-op that says so."""
    wanted = draft(edge_house, PAYLOAD, "twice")
    with edge_house.db.begin() as tx:
        first = rounds.publish(tx, edge_house.signer, wanted, actor="test")
    with edge_house.db.begin() as tx:
        second = rounds.publish(tx, edge_house.signer, wanted, actor="test")
    assert (first.round_id, False, False) == (second.round_id, second.created, second.made_current)


def test_manifest_verifies_over_its_exact_bytes(edge: httpx.Client, published: rounds.Published):
    """Bytes, signature and key from the edge; one changed byte and it does not hold."""
    response = edge.get(f"/api/rounds/{published.round_id}/manifest")
    keys = {key["key_id"]: SigningKey(**key) for key in edge.get("/api/rounds/keys").json()["data"]["keys"]}
    signed = ManifestSignature(
        key_id=response.headers["X-Manifest-Key-Id"],
        signature=response.headers["X-Manifest-Signature"],
        sha256=hashlib.sha256(response.content).hexdigest(),
    )
    assert published.round_id == open_manifest(response.content, signed, keys).round_id
    with pytest.raises(IntegrityError, match="not the ones that were signed"):
        open_manifest(response.content.replace(b"EURUSD", b"EURUSE"), signed, keys)
    with pytest.raises(IntegrityError, match="not among the trusted"):
        open_manifest(response.content, signed, {})


def test_list_needs_a_token(edge: httpx.Client, published: rounds.Published, vendor: SimpleNamespace):
    """The list is for vendors; each round stands in it."""
    assert 401 == edge.get("/api/rounds").status_code
    listed = edge.get("/api/rounds", headers=vendor.headers).json()["data"]["rounds"]
    assert published.round_id in {entry["round_id"] for entry in listed}


def test_unknown_file_and_round(edge: httpx.Client, vendor: SimpleNamespace, published: rounds.Published):
    """A wrong name says which names there are."""
    wanted = {"round_id": published.round_id, "files": ["trian.parquet"]}
    response = edge.post("/api/datasets/signed-urls", json=wanted, headers=vendor.headers)
    assert 404 == response.status_code
    assert "train-EURUSD.parquet" in response.text
    assert 404 == edge.post("/api/datasets/signed-urls", json={"round_id": "x"}, headers=vendor.headers).status_code


def test_whole_file(edge: httpx.Client, url: str):
    """No token, the whole bytes, resumable."""
    response = edge.get(url)
    assert (200, PAYLOAD, "bytes") == (response.status_code, response.content, response.headers["Accept-Ranges"])


RANGES = {
    "bytes=0-9": (206, PAYLOAD[:10], "bytes 0-9/1280000"),
    "bytes=1279990-": (206, PAYLOAD[-10:], "bytes 1279990-1279999/1280000"),
    "bytes=-5": (206, PAYLOAD[-5:], "bytes 1279995-1279999/1280000"),
    "bytes=5-99999999": (206, PAYLOAD[5:], "bytes 5-1279999/1280000"),
    "bytes=1280000-": (416, b"", "bytes */1280000"),
    "bytes=9-5": (416, b"", "bytes */1280000"),
    "bytes=0-1,5-6": (200, PAYLOAD, None),
    "lines=1-2": (200, PAYLOAD, None),
    "bytes=-": (200, PAYLOAD, None),
}


@pytest.mark.parametrize("asked", RANGES)
def test_ranges(edge: httpx.Client, url: str, asked: str):
    """One satisfiable range is a 206; everything else is the whole file or 416."""
    response = edge.get(url, headers={"Range": asked})
    told = (response.status_code, response.content, response.headers.get("Content-Range"))
    assert RANGES[asked] == told


def test_if_range_and_if_none_match(edge: httpx.Client, url: str):
    """A changed file is never glued to an old part."""
    etag = edge.head(url).headers["ETag"]
    assert 206 == edge.get(url, headers={"Range": "bytes=0-9", "If-Range": etag}).status_code
    assert 200 == edge.get(url, headers={"Range": "bytes=0-9", "If-Range": '"old"'}).status_code
    assert 304 == edge.get(url, headers={"If-None-Match": etag}).status_code


def test_tampered_urls_are_403(edge: httpx.Client, url: str, edge_house: House):
    """Another file, another end, another method, no signature: all refused."""
    expires = dict(part.split("=") for part in urlsplit(url).query.split("&"))["expires"]
    tampered = [
        url.replace(expires, str(int(expires) + 60)),
        url.replace("/objects/", "/objects2/"),
        url.split("?", maxsplit=1)[0],
        url + "0",
    ]
    assert [403] * 4 == [edge.get(address).status_code for address in tampered]
    assert 403 == edge.put(url, content=b"x").status_code
    past = edge_house.store.presign("GET", "objects/x", datetime.now(UTC) - timedelta(seconds=1))
    response = edge.get(past)
    assert 403 == response.status_code
    assert "expired" in response.json()["error"]


@pytest.mark.parametrize(
    "path", ["/files/../secrets.json", "/files/%2e%2e/secrets.json", "/files//etc/passwd", "/files"]
)
def test_nothing_can_be_walked_out_of(edge: httpx.Client, path: str):
    """No path leads out of the store."""
    assert edge.get(path).status_code in {403, 404, 422}


def test_upload_is_bound_to_its_bytes(edge: httpx.Client, edge_house: House):
    """Other bytes than were announced leave nothing behind."""
    body = b"model bytes"
    bound = UploadBound(len(body), hashlib.sha256(body).hexdigest())
    address = edge_house.store.presign("PUT", "runs/r1/model.onnx", datetime.now(UTC) + timedelta(minutes=1), bound)
    for wrong in (b"model bytez", b"model bytes and more", b""):
        assert 502 == edge.put(address, content=wrong).status_code
        assert not edge_house.store.path("runs/r1/model.onnx").exists()
    assert 200 == edge.put(address, content=body).status_code
    assert body == edge_house.store.path("runs/r1/model.onnx").read_bytes()
    assert [] == [p for p in Path(edge_house.store.path("runs/r1/x")).parent.iterdir() if p.name.startswith(".")]


def test_grants_are_rows(edge: httpx.Client, edge_house: House, url: str, vendor: SimpleNamespace):
    """Who was given what, until when."""
    assert 200 == edge.get(url).status_code
    with edge_house.db.begin() as tx:
        granted = tx.exec_driver_sql(f"SELECT files FROM dataset_grants WHERE vendor_id = '{vendor.id}'").scalar_one()  # noqa: S608 - our own id
    assert ["train-EURUSD.parquet"] == granted


def test_run_of_another_vendor_is_404(
    edge: httpx.Client, published: rounds.Published, vendor: SimpleNamespace, new_vendor: Callable[[], SimpleNamespace]
):
    """Neither seen nor stopped nor read."""
    wanted = {"round_id": published.round_id, "task": "signal", "provider": "local"}
    run = edge.post("/api/training/runs", json=wanted, headers=vendor.headers).json()["data"]
    stranger = new_vendor().headers
    for method, path in (("GET", ""), ("POST", "/cancel"), ("GET", "/logs")):
        assert 404 == edge.request(method, f"/api/training/runs/{run['run_id']}{path}", headers=stranger).status_code
    assert "queued" == edge.get(f"/api/training/runs/{run['run_id']}", headers=vendor.headers).json()["data"]["status"]


def test_run_token_reaches_its_own_run_only(
    edge: httpx.Client, edge_house: House, published: rounds.Published, vendor: SimpleNamespace
):
    """A run token is good for its run's reports and for nothing else."""
    wanted = {"round_id": published.round_id, "task": "signal", "provider": "local"}
    ids = [edge.post("/api/training/runs", json=wanted, headers=vendor.headers).json()["data"]["run_id"] for _ in "ab"]
    token = edge_house.tokens.run_token(ids[0], vendor.id, datetime.now(UTC) + timedelta(minutes=5))
    headers = {"Authorization": f"Bearer {token}"}
    assert (
        200 == edge.post(f"/api/training/runs/{ids[0]}/logs", json={"seq": 0, "lines": []}, headers=headers).status_code
    )
    assert (
        404 == edge.post(f"/api/training/runs/{ids[1]}/logs", json={"seq": 0, "lines": []}, headers=headers).status_code
    )
    assert 403 == edge.post(f"/api/training/runs/{ids[0]}/cancel", headers=headers).status_code
    assert 403 == edge.get("/api/vendors/me", headers=headers).status_code


def test_run_token_reads_its_own_round_while_it_runs(
    edge: httpx.Client, edge_house: House, published: rounds.Published, vendor: SimpleNamespace
):
    """Its round's files and no other's, and nothing once the run is over."""
    with edge_house.db.begin() as tx:
        other = rounds.publish(
            tx, edge_house.signer, draft(edge_house, b"other", "other"), actor="test", current=False
        ).round_id
    wanted = {"round_id": published.round_id, "task": "signal", "provider": "local"}
    run_id = edge.post("/api/training/runs", json=wanted, headers=vendor.headers).json()["data"]["run_id"]
    token = edge_house.tokens.run_token(run_id, vendor.id, datetime.now(UTC) + timedelta(minutes=5))
    headers = {"Authorization": f"Bearer {token}"}

    def status(round_id: str) -> int:
        return edge.post("/api/datasets/signed-urls", json={"round_id": round_id}, headers=headers).status_code

    assert (200, 403) == (status(published.round_id), status(other))
    edge.post(f"/api/training/runs/{run_id}/cancel", headers=vendor.headers)
    assert 403 == status(published.round_id)

"""Signed URLs of every store: one method, one file, one end."""

from __future__ import annotations

import hashlib
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mp_kit.client.opener import Urllib3Opener
from mp_kit.client.partial import Wanted
from mp_kit.client.transfer import Transfer
from mp_kit.client.urls import Signed, UrlBook
from mp_kit.server.storage import UploadBound

PAYLOAD = bytes(range(256)) * 40


def soon(seconds: float = 300) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds)


def bound(payload: bytes) -> UploadBound:
    return UploadBound(len(payload), hashlib.sha256(payload).hexdigest())


@pytest.fixture(scope="module")
def url(shelf: Any) -> str:
    """A good GET URL of a file; another file lies beside it."""
    shelf.store.put_bytes("u/file", PAYLOAD)
    shelf.store.put_bytes("u/other", b"other")
    signed: str = shelf.store.presign("GET", "u/file", soon())
    return signed


TAMPERED = {
    "unsigned": lambda url: url.split("?")[0],
    "other file": lambda url: url.replace("/u/file", "/u/other"),
    "other signature": lambda url: re.sub(r"(?i)(signature=)(.)", lambda m: m[1] + ("0" if m[2] != "0" else "1"), url),
    "longer life": lambda url: re.sub(r"(?i)(expires=)(\d+)", lambda m: f"{m[1]}{int(m[2]) + 60}", url),
    "cut signature": lambda url: url[:-1],
}


@pytest.mark.parametrize("how", TAMPERED)
def test_tampered_url_is_403(shelf: Any, url: str, how: str):
    """Whatever is changed, no byte comes."""
    changed = TAMPERED[how](url)
    assert changed != url
    response = shelf.http.get(changed)
    assert (403, False) == (response.status_code, PAYLOAD[:256] in response.content)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
def test_get_url_is_for_get_alone(shelf: Any, url: str, method: str):
    """Nothing is changed with it."""
    assert 403 == shelf.http.request(method, url, content=b"x").status_code
    assert PAYLOAD == shelf.read("u/file")


def test_expired_url_is_403(shelf: Any):
    """It works, then it is over; the same for uploads."""
    shelf.store.put_bytes("u/short", b"short")
    end = soon(2)
    get, put = shelf.store.presign("GET", "u/short", end), shelf.store.presign("PUT", "u/late", end, bound(b"late"))
    assert 200 == shelf.http.get(get).status_code
    time.sleep(max(0.0, (end - datetime.now(UTC)).total_seconds()) + 1.1)
    assert [403, 403] == [shelf.http.get(get).status_code, shelf.http.put(put, content=b"late").status_code]


def test_absent_file_is_404(shelf: Any):
    """A good signature over nothing."""
    assert 404 == shelf.http.get(shelf.store.presign("GET", "u/none", soon())).status_code


RANGES = {
    "bytes=0-0": (206, PAYLOAD[:1], f"bytes 0-0/{len(PAYLOAD)}"),
    "bytes=100-299": (206, PAYLOAD[100:300], f"bytes 100-299/{len(PAYLOAD)}"),
    "bytes=10000-": (206, PAYLOAD[10_000:], f"bytes 10000-{len(PAYLOAD) - 1}/{len(PAYLOAD)}"),
    "bytes=-8": (206, PAYLOAD[-8:], f"bytes {len(PAYLOAD) - 8}-{len(PAYLOAD) - 1}/{len(PAYLOAD)}"),
}


@pytest.mark.parametrize("asked", RANGES)
def test_ranges(shelf: Any, url: str, asked: str):
    """Just the bytes asked for."""
    response = shelf.http.get(url, headers={"Range": asked})
    assert RANGES[asked] == (response.status_code, response.content, response.headers.get("Content-Range"))


def test_range_beyond_the_end_is_416(shelf: Any, url: str):
    """No byte, and no error that looks like content."""
    assert 416 == shelf.http.get(url, headers={"Range": f"bytes={len(PAYLOAD)}-"}).status_code


def test_whole_file_with_its_etag(shelf: Any, url: str):
    """The ETag of the answer is the store's own, and it makes conditional requests work."""
    response = shelf.http.get(url)
    assert (200, PAYLOAD) == (response.status_code, response.content)
    etag = response.headers["ETag"]
    assert shelf.store.stat("u/file").etag == etag
    assert 304 == shelf.http.get(url, headers={"If-None-Match": etag}).status_code
    assert 206 == shelf.http.get(url, headers={"Range": "bytes=0-9", "If-Range": etag}).status_code


def test_head_of_a_get_url(shelf: Any, url: str):
    """Our edge answers it, S3 counts it as another method; a body comes from neither."""
    response = shelf.http.head(url)
    assert (b"", {"local": 200, "s3": 403}[shelf.kind]) == (response.content, response.status_code)


def test_put_brings_the_bytes(shelf: Any):
    """They are an object once the server said so; the URL is for nothing else."""
    target = shelf.store.presign("PUT", "up/model", soon(), bound(PAYLOAD))
    assert 403 == shelf.http.put(target.replace("/up/model", "/up/other"), content=PAYLOAD).status_code
    assert 403 == shelf.http.get(target).status_code
    assert 200 == shelf.http.put(target, content=PAYLOAD).status_code
    assert PAYLOAD == shelf.read("up/model")


def test_put_of_other_bytes(shelf: Any):
    """A store that binds uploads refuses them; the other says that it does not bind."""
    target = shelf.store.presign("PUT", "up/bad", soon(), bound(b"announced"))
    response = shelf.http.put(target, content=b"delivered")
    assert shelf.store.binds_uploads == (response.status_code != 200)
    assert {"local": True, "s3": False}[shelf.kind] == shelf.store.binds_uploads


def test_batch_is_signed_in_order(shelf: Any):
    """A URL per key; each fetches its own file. No key, no URL."""
    keys = [f"batch/{i}" for i in range(12)]
    for key in keys:
        shelf.store.put_bytes(key, key.encode())
    urls = shelf.store.presign_many("GET", keys, soon())
    assert keys == [shelf.http.get(url).text for url in urls]
    assert [] == shelf.store.presign_many("GET", [], soon())


def test_transfer_pulls_from_it(shelf: Any, tmp_path: Any):
    """The client's own engine: ranges in parallel, verified, from either store."""
    payloads = {f"f{i}": bytes([i]) * (70_000 * i + 1) for i in range(4)}
    for name, payload in payloads.items():
        shelf.store.put_bytes(f"pull/{name}", payload)
    end = soon()
    book = UrlBook(lambda: Signed({name: shelf.store.presign("GET", f"pull/{name}", end) for name in payloads}, 300))
    wanted = [
        Wanted(name, len(payload), hashlib.sha256(payload).hexdigest(), tmp_path / name)
        for name, payload in payloads.items()
    ]
    opener = Urllib3Opener()
    done = Transfer(opener, book, range_bytes=50_000).run(wanted)
    opener.close()
    assert payloads == {name: (tmp_path / name).read_bytes() for name in payloads}
    assert sum(len(payload) for payload in payloads.values()) == done.bytes

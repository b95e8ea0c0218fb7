"""Large artifacts: sent in parts by the wrapper's own uploader, to every store, through trouble and restarts."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from mp_kit.contracts.training import ArtifactAnnouncement, ArtifactRequest, ArtifactTarget
from mp_kit.errors import MarketplaceError, NetworkError
from mp_kit.server.services import runs_artifacts
from mp_kit.server.storage.s3_parts import MOST_PARTS, part_size
from mp_kit.trainer.api import RunApi
from mp_kit.trainer.uploads import upload_all

MIB = 1 << 20
PART = 5 * MIB
CONTENT = random.Random(7).randbytes(2 * PART + 12_345)


class Market(RunApi):
    """Announcements go straight to the store, as the edge's service asks it; uploads go over HTTP."""

    def __init__(self, store: Any, trouble: Callable[[str], None] = lambda _: None) -> None:
        self._store = store
        self._trouble = trouble
        self._base = "http://unused.example"
        self._seconds = 30.0
        self._plain = httpx.Client(timeout=30)
        self.puts: list[str] = []

    def artifact(self, request: ArtifactAnnouncement) -> ArtifactTarget:
        """Plans as the edge does."""
        self._trouble("announce")
        end = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=300)
        key = f"big/{request.sha256}/{request.name}"
        bound = runs_artifacts.UploadBound(request.size_bytes, request.sha256)
        url = self._store.presign("PUT", key, end, bound)
        parts = runs_artifacts._plan(self._store, key, request, end)
        return ArtifactTarget(name=request.name, url=url, expires_at=end, parts=parts)

    def _put(self, url: str, path: Path, offset: int, size: int, what: str) -> None:
        self._trouble(what)
        super()._put(url, path, offset, size, what)
        self.puts.append(what)


@pytest.fixture
def small_parts(shelf: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The store, with parts as small as S3 takes them."""
    if shelf.kind == "s3":
        monkeypatch.setattr(shelf.store, "_part_bytes", PART)
    return shelf


def folder_with(tmp_path: Path, content: bytes) -> tuple[Path, str]:
    folder = tmp_path / "artifacts"
    folder.mkdir(exist_ok=True)
    (folder / "model.bin").write_bytes(content)
    return folder, f"big/{hashlib.sha256(content).hexdigest()}/model.bin"


def send(market: Market, folder: Path, patience: float = 30.0) -> list[ArtifactRequest]:
    with market._plain:
        return upload_all(market, folder, patience, multipart_bytes=MIB)


def test_large_file_arrives_whole(small_parts: Any, tmp_path: Path):
    """In parts where the store takes parts, as one stream elsewhere; the bytes are the same."""
    folder, key = folder_with(tmp_path, CONTENT)
    market = Market(small_parts.store)
    [request] = send(market, folder)
    assert CONTENT == small_parts.read(key)
    assert {"local": 1, "s3": 3}[small_parts.kind] == len(market.puts)
    assert ArtifactRequest is type(request)


def test_restarted_sender_sends_only_what_is_missing(small_parts: Any, tmp_path: Path):
    """The second part never gets through; a new sender finds the others there."""
    content = CONTENT[::-1]
    folder, key = folder_with(tmp_path, content)

    def trouble(what: str) -> None:
        if what == "model.bin" or what.endswith("part 2"):
            raise NetworkError("away")

    first = Market(small_parts.store, trouble)
    with pytest.raises(MarketplaceError):
        send(first, folder, patience=1.5)
    second = Market(small_parts.store)
    send(second, folder)
    assert content == small_parts.read(key)
    assert {"local": ["model.bin"], "s3": ["model.bin, part 2"]}[small_parts.kind] == second.puts


def test_refused_url_is_renewed(small_parts: Any, tmp_path: Path):
    """Every first URL has expired: announcing again gives fresh ones."""
    content = CONTENT[7:]
    folder, key = folder_with(tmp_path, content)
    announced = iter(range(100))
    market = Market(small_parts.store)
    honest = market.artifact

    def stale(request: ArtifactAnnouncement) -> ArtifactTarget:
        target = honest(request)
        if next(announced):
            return target
        parts = target.parts and target.parts.model_copy(
            update={"missing": [part.model_copy(update={"url": part.url[:-3]}) for part in target.parts.missing]}
        )
        return target.model_copy(update={"url": target.url[:-3], "parts": parts})

    market.artifact = stale  # type: ignore[method-assign]
    send(market, folder, patience=90.0)
    assert content == small_parts.read(key)


def test_urls_of_parts_are_for_one_part_each(small_parts: Any):
    """A part's URL with another part's number is refused; so is a URL whose end was put off."""
    plan = small_parts.store.plan_parts("big/signed", len(CONTENT), datetime.now(UTC) + timedelta(seconds=300))
    if small_parts.kind == "local":
        assert plan is None
        return
    url = plan.missing[0].url
    assert "X-Amz-Signature" in url
    for tampered in (url.replace("partNumber=1", "partNumber=2"), url.replace("X-Amz-Expires=2", "X-Amz-Expires=9")):
        assert tampered != url
        assert 403 == small_parts.http.put(tampered, content=b"x").status_code


def test_joined_upload_stays_joined(small_parts: Any, tmp_path: Path):
    """Announcing again after the end tells that it is complete and begins nothing."""
    folder, _ = folder_with(tmp_path, CONTENT[3:])
    market = Market(small_parts.store)
    send(market, folder)
    again = Market(small_parts.store)
    send(again, folder)
    assert {"local": ["model.bin"], "s3": []}[small_parts.kind] == again.puts


SIZES = {1: PART, 5_000 * MIB: PART, 5_001 * MIB: 6 * MIB, 400_000 * MIB: 400 * MIB}


@pytest.mark.parametrize("size", SIZES)
def test_parts_are_few_enough(size: int):
    """Whatever the size: no more parts than a plan may have, none smaller than S3 takes."""
    assert SIZES[size] == part_size(size, PART)
    assert -(-size // part_size(size, PART)) <= MOST_PARTS

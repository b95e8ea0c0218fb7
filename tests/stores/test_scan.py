"""Parts of a real round's files, over each store: the edge's own files, and presigned URLs of a bucket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import s3fs
from walks import write_bars

from mp_kit import Marketplace
from mp_kit.contracts.rounds import ManifestFile
from mp_kit.errors import IntegrityError
from mp_kit.market import parquet
from mp_kit.market.rowgroups import bounds
from mp_kit.server.services import publication, vendors
from mp_kit.server.services.publication import RoundOrder
from mp_kit.server.storage import content_key

GROUP = 250
SYMBOLS = ("EURUSD", "USDJPY")


@pytest.fixture(scope="module")
def round_id(shelf: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A round of two symbols in small row groups."""
    folder = tmp_path_factory.mktemp("bars")
    for symbol in SYMBOLS:
        write_bars(folder, symbol)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "ROW_GROUP_ROWS", GROUP)
        order = RoundOrder(source=str(folder), name=f"to be scanned in {shelf.kind}")
        house = shelf.house
        yield publication.run(house.db.begin, house.store, house.signer, order, actor="test").round_id


@pytest.fixture
def market(shelf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Marketplace]:
    """A vendor's client, with a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with shelf.house.db.begin() as tx:
        vendor = vendors.create(tx, shelf.house.tokens, f"scanner {tmp_path.name} {shelf.kind}", actor="test")
    with Marketplace(shelf.house.settings.base_url, vendor.api_key) as made:
        yield made


def train(market: Marketplace, round_id: str) -> ManifestFile:
    """The first train file's manifest entry."""
    return next(file for file in market.rounds.manifest(round_id).files if file.type == "train")


def overwrite(shelf: Any, key: str, content: bytes) -> None:
    """Changes an object behind the store's back, which would refuse it."""
    if shelf.kind == "local":
        shelf.store.path(key).write_bytes(content)
        return
    env = shelf.house.settings.store_env
    filesystem = s3fs.S3FileSystem(
        key=env["AWS_ACCESS_KEY_ID"],
        secret=env["AWS_SECRET_ACCESS_KEY"],
        endpoint_url=env["AWS_ENDPOINT_URL"],
        skip_instance_cache=True,
    )
    filesystem.pipe_file(f"{shelf.house.settings.store_url}/{key}", content)


@pytest.fixture
def flip(shelf: Any) -> Iterator[Callable[[ManifestFile, str, int], None]]:
    """Flips the first byte of a column chunk in the store; the object is put right afterwards."""
    kept: dict[str, bytes] = {}

    def flipped(file: ManifestFile, column: str, group: int) -> None:
        key = content_key(file.sha256)
        kept[key] = content = shelf.read(key)
        metadata = pq.read_metadata(pa.BufferReader(content))
        start, _ = bounds(metadata.row_group(group).column(metadata.schema.names.index(column)))
        overwrite(shelf, key, content[:start] + bytes([content[start] ^ 1]) + content[start + 1 :])

    yield flipped
    for key, content in kept.items():
        overwrite(shelf, key, content)


def test_scan_flipped_byte_in_the_store_is_told(market: Marketplace, round_id: str, flip: Callable[..., None]):
    """In a wanted chunk; in any other it is neither fetched nor noticed."""
    file = train(market, round_id)
    flip(file, "close", 1)
    with pytest.raises(IntegrityError, match=rf"{file.name}, row group 1, column 'close'"):
        market.data.scan("train", columns=["close"], round=round_id, progress=False)
    found = market.data.scan("train", columns=["open"], round=round_id, progress=False)
    assert found.table.num_rows == sum(f.rows for f in market.rounds.manifest(round_id).files if f.type == "train")
    assert {} == dict(found.whole)


def test_scan_fetches_what_the_manifest_says(market: Marketplace, round_id: str):
    """Two columns of two symbols: exactly their chunks and footers, by few requests."""
    columns = ["timestamp", "close"]
    found = market.data.scan("train", columns=columns, round=round_id, progress=False)
    files = [file for file in market.rounds.manifest(round_id).files if file.type == "train"]
    assert found.bytes == sum(file.size_bytes for file in files)
    assert ({}, True) == (dict(found.whole), found.fetched_bytes < found.bytes / 3)
    groups = sum(len(file.row_groups) for file in files)
    assert (True, groups * 2 + len(files)) == (groups > len(files), found.requests)


def test_scan_equals_the_pulled_round(market: Marketplace, round_id: str, tmp_path: Path):
    """Columns, symbols and a window, against whole files read and filtered."""
    pulled = market.data.pull(round_id, tmp_path / "pulled", roles=["train"], symbols=["USDJPY"], progress=False)
    whole = pq.read_table(pulled.files[0])
    middle = whole["timestamp"][whole.num_rows // 3].as_py()
    found = market.data.scan(
        "train", columns=["rsi_14", "label_return"], symbols=["USDJPY"], start=middle, round=round_id, progress=False
    )
    expected = whole.filter(pc.field("timestamp") >= middle).select(["rsi_14", "label_return"])
    assert expected == found.table
    assert found.table.num_rows == whole.num_rows - whole.num_rows // 3

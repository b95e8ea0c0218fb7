"""``m.data`` over scans: what they cost, their progress, and when whole files come instead."""

from __future__ import annotations

import pytest

from mp_kit.client.cache import Cache
from mp_kit.client.marketplace import Marketplace
from mp_kit.client.scan import NO_DIGESTS
from mp_kit.signing import canonical_bytes
from mp_kit.testing import FakeMarketplace


def test_data_scan_says_what_it_cost(market: Marketplace, fake: FakeMarketplace):
    """Through the marketplace; a repr for people, frames for work."""
    found = market.data.scan("train", columns=["close"], start="2026-01-06", progress=False)
    assert (["close"], 40, {}) == (found.table.column_names, found.table.num_rows, dict(found.whole))
    assert all(part in repr(found) for part in (fake.shelf.manifest.round_id, "% of the files", "signed manifest"))
    assert found.table.column("close").to_pylist() == list(found.to_pandas()["close"])


def test_data_scan_progress_reaches_the_total(market: Marketplace):
    """A callable is told of all chunks' bytes."""
    seen: list[tuple[int, int]] = []
    found = market.data.scan("train", columns=["close"], progress=lambda done, total, _: seen.append((done, total)))
    done, total = seen[-1]
    assert (total, True) == (done, 0 < total < found.fetched_bytes)


def test_data_of_a_round_before_1_1_loads_whole(market: Marketplace, fake: FakeMarketplace):
    """The same rows, and the reason."""
    files = [file.model_copy(update={"footer": None, "row_groups": []}) for file in fake.shelf.manifest.files]
    fake.shelf.manifest = fake.shelf.manifest.model_copy(update={"manifest_version": "1.0.0", "files": files})
    fake.shelf.manifest_bytes = canonical_bytes(fake.shelf.manifest.model_dump(mode="json", exclude_none=True))
    found = market.data.scan("train", columns=["close"], progress=False)
    assert ({"train-EURUSD.parquet": NO_DIGESTS}, 64) == (dict(found.whole), found.table.num_rows)
    assert found.bytes == found.fetched_bytes


@pytest.mark.parametrize("verb", ["load", "arrow", "batches"])
def test_data_loads_parts_where_a_projection_is_asked(market: Marketplace, fake: FakeMarketplace, verb: str):
    """No file goes whole, and none lies in the cache whole."""
    found = getattr(market.data, verb)("train", columns=["close"], progress=False)
    rows = sum(batch.num_rows for batch in found) if verb == "batches" else len(found)
    whole = {file.sha256 for file in fake.shelf.manifest.files}
    assert (64, set()) == (rows, whole & {one.sha256 for one in Cache().list()})

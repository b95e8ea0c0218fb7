"""URLs that end in the middle of a pull, over a real edge: the marketplace's clocks jump, the client's do not."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import edges
import gate
import pytest
from sqlalchemy import text

from mp_kit import Marketplace
from mp_kit.client.data import PullResult
from mp_kit.contracts import ManifestFile
from mp_kit.errors import ForbiddenError
from mp_kit.server import clock
from mp_kit.server.edge import files as edge_files
from mp_kit.server.house import House
from mp_kit.server.processes import free_port
from mp_kit.server.services import rounds, vendors
from mp_kit.server.storage import content_key
from mp_kit.server.wiring import build

MIB = 1 << 20
CONTENT = random.Random(9).randbytes(24 * MIB)
NAME = "train-EURUSD.parquet"
THREADS = 8


@pytest.fixture(autouse=True)
def back() -> Iterator[None]:
    """The machine's time again afterwards."""
    yield
    clock.shift_to(timedelta(0))


@pytest.fixture
def standing() -> Iterator[gate.Gate]:
    with gate.opened(free_port()) as made:
        yield made


@pytest.fixture
def shop(house: House, standing: gate.Gate) -> Iterator[House]:
    """A marketplace whose edge stands behind the gate."""
    built = build(replace(house.settings, base_url=f"http://127.0.0.1:{standing.port}"))
    with closing(built), edges.serving(built, standing.upstream):
        yield built


@pytest.fixture
def market(shop: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Marketplace]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with shop.db.begin() as tx:
        made = vendors.create(tx, shop.tokens, f"vendor {tmp_path.name}", actor="test")
    with Marketplace(shop.settings.base_url, made.api_key) as opened:
        yield opened


def publish(house: House, content: bytes) -> str:
    """A current round of one file."""
    digest = hashlib.sha256(content).hexdigest()
    house.store.put_bytes(content_key(digest), content)
    file = ManifestFile(name=NAME, type="train", symbol="EURUSD", size_bytes=len(content), sha256=digest, rows=1)
    facts = {"name": digest[:8], "timeframe": "1d", "symbols": ["EURUSD"], "horizon": 1, "embargo": 1}
    draft = rounds.Draft(manifest={**facts, "source": {"kind": "test"}, "code_version": "0"}, files=[file])
    with house.db.begin() as tx:
        return rounds.publish(tx, house.signer, draft, actor="test").round_id


def granted(house: House, round_id: str) -> int:
    """How often URLs of a round were signed."""
    counted = text("SELECT count(*) FROM dataset_grants WHERE round_id = :id")
    with house.db.begin() as tx:
        return int(tx.execute(counted, {"id": round_id}).scalar_one())


def test_pull_goes_on_with_new_urls_of_the_same_round(
    shop: House, market: Marketplace, standing: gate.Gate, tmp_path: Path
):
    """All URLs end while eight ranges are on their way, and another round is current: 403, new URLs, the same file."""
    first = publish(shop, CONTENT)
    pulled: list[PullResult] = []
    standing.hold_after(MIB + MIB // 2)
    pull = threading.Thread(target=lambda: pulled.append(market.data.pull("current", tmp_path / "r", progress=False)))
    pull.start()
    standing.await_held(THREADS)
    second = publish(shop, CONTENT[:1000])
    clock.shift_to(timedelta(minutes=16))
    standing.let_go()
    pull.join(60)
    assert [(first, len(CONTENT))] == [(one.round_id, one.fetched_bytes) for one in pulled]
    assert CONTENT == (tmp_path / "r" / NAME).read_bytes()
    assert (2, 0) == (granted(shop, first), granted(shop, second))
    refused = len(standing.asked) - len(set(standing.asked))
    assert 1 <= refused <= THREADS


def test_pull_with_urls_that_are_never_good_ends(
    shop: House, market: Marketplace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """A store whose clock is a day ahead refuses each new URL too: the pull says so instead of signing for ever."""
    tomorrow = SimpleNamespace(now=lambda: clock.now() + timedelta(days=1))
    monkeypatch.setattr(edge_files, "clock", tomorrow)
    published = publish(shop, CONTENT[:2000])
    with pytest.raises(ForbiddenError):
        market.data.pull(published, tmp_path / "r", progress=False)
    assert [] == list((tmp_path / "r").iterdir())
    assert 3 == granted(shop, published)

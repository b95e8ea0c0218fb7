"""Drops over the real edge: announced, put, taken in by the same function as requests, and told about."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from mp_kit.contracts import DeploymentRequest
from mp_kit.server.house import House
from mp_kit.server.services import deployments, drops
from mp_kit.signing import Signer

BAR = datetime(2024, 5, 1, tzinfo=UTC)
NOW = datetime.now(UTC)


def rows(count: int, **changes: Any) -> list[dict[str, Any]]:
    return [
        {
            "symbol": "EURUSD", "timeframe": "1m", "decision": "BUY", "confidence": 0.5, "model_version": "1",
            "timestamp": BAR + timedelta(minutes=n), **changes,
        }
        for n in range(count)
    ]  # fmt: skip


def parquet(items: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(items), sink)
    return sink.getvalue()


def announce(edge: httpx.Client, who: SimpleNamespace, name: str, body: bytes) -> dict[str, Any]:
    """Announces a drop; gives the answer's data."""
    wanted = {"name": name, "size_bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    answer = edge.post("/api/signals/drops", json=wanted, headers=who.headers)
    assert 200 == answer.status_code, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


def drop(edge: httpx.Client, who: SimpleNamespace, name: str, body: bytes) -> None:
    """Announces a drop and puts it."""
    assert 200 == httpx.put(announce(edge, who, name, body)["url"], content=body).status_code


def take(house: House, now: datetime = NOW, signer: Any = None) -> list[tuple[str, str, int]]:
    """Takes in what has come: name, state and rows of each."""
    grace = timedelta(minutes=5)
    taken = drops.take_in(house.db, house.store, signer=signer or house.signer, now=now, grace=grace)
    return [(one.name, one.state, one.rows) for one in taken]


def told(edge: httpx.Client, who: SimpleNamespace, name: str) -> dict[str, Any]:
    """What the vendor reads of a drop."""
    (found,) = edge.get("/api/signals/drops", params={"name": name}, headers=who.headers).json()["data"]
    return dict(found)


def stored(house: House, who: SimpleNamespace) -> int:
    with house.db.begin() as tx:
        count = text("SELECT count(*) FROM signals WHERE deployment_id = :id")
        return int(tx.execute(count, {"id": who.id}).scalar_one())


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a hundred rows have several chunks."""
    monkeypatch.setattr(drops, "CHUNK_ROWS", 30)


@pytest.mark.usefixtures("small_chunks")
def test_drop_is_stored_once_and_told_about(edge: httpx.Client, edge_house: House, deployment: SimpleNamespace):
    """Every outcome of a row, by its place in the file; the vendor and the deployment read the same."""
    items = rows(100)
    items[40]["confidence"] = 2.0
    items[70] |= {"timestamp": items[3]["timestamp"], "decision": "SELL"}
    items[71] |= {"timestamp": items[3]["timestamp"]}
    drop(edge, deployment, "all-2024", parquet(items))
    assert "awaited" == told(edge, deployment, "all-2024")["state"]
    assert [("all-2024", "stored", 100)] == take(edge_house)
    found = told(edge, deployment, "all-2024")
    counts = [found[name] for name in ("rows", "accepted", "duplicates", "conflicts", "rejected")]
    assert ["stored", 100, 97, 1, 1, 1] == [found["state"], *counts]
    assert [(40, "rejected"), (70, "conflict")] == [(one["index"], one["status"]) for one in found["problems"]]
    assert 97 == stored(edge_house, deployment)
    assert [] == take(edge_house)


def test_announcing_again(edge: httpx.Client, edge_house: House, deployment: SimpleNamespace):
    """The same bytes are known, other bytes under the name of a stored drop are refused."""
    body = parquet(rows(3))
    drop(edge, deployment, "again", body)
    assert announce(edge, deployment, "again", body)["url"]
    take(edge_house)
    known = announce(edge, deployment, "again", body)
    assert ("stored", None) == (known["drop"]["state"], known.get("url"))
    other = {"name": "again", "size_bytes": 1, "sha256": "0" * 64}
    answer = edge.post("/api/signals/drops", json=other, headers=deployment.headers)
    assert 409 == answer.status_code
    assert 3 == stored(edge_house, deployment)


class DyingSigner(Signer):
    """Ends the taker in the middle of a chunk's transaction, as a kill would."""

    left = 2

    def sign(self, *args: Any, **kwargs: Any) -> Any:
        """Signs twice, then dies."""
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return super().sign(*args, **kwargs)


@pytest.mark.usefixtures("small_chunks")
def test_taker_that_dies_midway_is_carried_on(edge: httpx.Client, edge_house: House, deployment: SimpleNamespace):
    """What it had stored stays; the next one goes on behind it, and each row is there once."""
    drop(edge, deployment, "long", parquet(rows(100)))
    with pytest.raises(KeyboardInterrupt):
        take(edge_house, signer=DyingSigner(bytes(32)))
    assert (60, "awaited") == (told(edge, deployment, "long")["rows"], told(edge, deployment, "long")["state"])
    assert 60 == stored(edge_house, deployment)
    assert [("long", "stored", 40)] == take(edge_house)
    found = told(edge, deployment, "long")
    assert (100, 100, 0) == (found["rows"], found["accepted"], found["duplicates"])
    assert 100 == stored(edge_house, deployment)


BROKEN = {
    "no Parquet": (b"hello, this is no table at all", "no Parquet file"),
    "cut off": (parquet(rows(50))[:-20], "no Parquet file"),
    "another's signals": (parquet(rows(2, vendor_id="ven_other")), "claims another vendor"),
}


def repeated(text: str, rows: int, *, listed: bool = False) -> bytes:
    """A Parquet file of one text, named by many rows: some hundred bytes."""
    named = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([text]))
    column = pa.ListArray.from_arrays(pa.array(range(rows + 1), pa.int32()), named) if listed else named
    sink = io.BytesIO()
    pq.write_table(pa.table({"rationale": column}), sink, compression="zstd", store_schema=False)
    return sink.getvalue()


def empty_rows() -> bytes:
    """One byte, said fifty million times and more."""
    sink = io.BytesIO()
    pq.write_table(pa.table({"symbol": pa.nulls(drops.MAX_DROP_ROWS + 1, pa.int8())}), sink)
    return sink.getvalue()


BOMBS = {
    "a page beyond all": (lambda: repeated("x" * (120 << 20), 1), "take more than"),
    "a text named by every row": (lambda: repeated("x" * 100_000, 9_000), "take more than"),
    "a text in a list of every row": (lambda: repeated("x" * 100_000, 9_000, listed=True), "take more than"),
    "more rows than bytes": (empty_rows, "rows"),
}


@pytest.mark.parametrize(("make", "why"), BOMBS.values(), ids=BOMBS)
def test_drop_that_unpacks_to_more_than_we_hold(
    edge: httpx.Client,
    edge_house: House,
    deployment: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[], bytes],
    why: str,
):
    """Its reader lives on, and takes the next one."""
    body = make()
    assert len(body) < 200_000
    monkeypatch.setattr(drops, "_MAX_MEMORY", 96 << 20)
    monkeypatch.setattr(drops, "_MAX_CHUNK_BYTES", 64 << 20)
    drop(edge, deployment, "bomb", body)
    assert [("bomb", "failed", 0)] == take(edge_house)
    assert why in told(edge, deployment, "bomb")["failure"]
    monkeypatch.undo()
    drop(edge, deployment, "good", parquet(rows(3)))
    assert [("good", "stored", 3)] == take(edge_house)


@pytest.mark.parametrize(("body", "why"), BROKEN.values(), ids=BROKEN)
def test_broken_drop_is_told_and_left(
    edge: httpx.Client, edge_house: House, deployment: SimpleNamespace, body: bytes, why: str
):
    """It ends with its reason, is not tried again, and a mended one may come under its name."""
    drop(edge, deployment, "broken", body)
    assert [("broken", "failed", 0)] == take(edge_house)
    assert why in told(edge, deployment, "broken")["failure"]
    assert [] == take(edge_house)
    drop(edge, deployment, "broken", parquet(rows(2)))
    assert [("broken", "stored", 2)] == take(edge_house)
    assert told(edge, deployment, "broken").get("failure") is None


def test_drop_that_never_comes(edge: httpx.Client, edge_house: House, deployment: SimpleNamespace):
    """It is waited for, for a day."""
    announce(edge, deployment, "never", parquet(rows(1)))
    assert [] == take(edge_house)
    take(edge_house, now=datetime.now(UTC) + drops.AWAITED)
    assert ("failed", "Its bytes never came.") == tuple(
        told(edge, deployment, "never")[n] for n in ("state", "failure")
    )


def test_drop_that_kills_its_reader_is_given_up(edge: httpx.Client, edge_house: House, deployment: SimpleNamespace):
    """After five attempts without a chunk of progress."""
    drop(edge, deployment, "killer", parquet(rows(5)))
    dying = DyingSigner(bytes(32))
    dying.left = 0
    for _ in range(drops.MAX_ATTEMPTS):
        with pytest.raises(KeyboardInterrupt):
            take(edge_house, signer=dying)
    assert [("killer", "failed", 0)] == take(edge_house)
    assert "5 attempts" in told(edge, deployment, "killer")["failure"]


def test_store_that_is_away_is_tried_again(
    edge: httpx.Client, edge_house: House, deployment: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
):
    """What passes is no fault of the file."""
    drop(edge, deployment, "later", parquet(rows(5)))

    def away(_: str) -> Any:
        raise OSError("no route to host")

    with monkeypatch.context() as patch:
        patch.setattr(edge_house.store, "open", away)
        assert [("later", "awaited", 0)] == take(edge_house)
    assert [("later", "stored", 5)] == take(edge_house)


def test_drop_of_a_suspended_vendor_waits(edge: httpx.Client, edge_house: House, deployment: SimpleNamespace):
    """What its token may not push now is not stored for it either."""
    change = text(
        "UPDATE marketplace_vendors SET status = :status WHERE id = (SELECT vendor_id FROM deployments WHERE id = :id)"
    )
    drop(edge, deployment, "held", parquet(rows(5)))
    with edge_house.db.begin() as tx:
        tx.execute(change, {"status": "suspended", "id": deployment.id})
    assert [] == take(edge_house)
    with edge_house.db.begin() as tx:
        tx.execute(change, {"status": "active", "id": deployment.id})
    assert [("held", "stored", 5)] == take(edge_house)


def greedy(house: House, vendor_id: str) -> SimpleNamespace:
    """A deployment of a vendor's; it will announce all that it may."""
    wanted = DeploymentRequest(name="greedy", provider="byoc", image="none")
    with house.db.begin() as tx:
        made = deployments.create(tx, house.tokens, vendor_id, wanted, actor="test")
    return SimpleNamespace(id=made.deployment_id, headers={"Authorization": f"Bearer {made.infra_token}"})


@pytest.mark.parametrize("status", ["active", "suspended"])
def test_drops_that_never_come_hold_up_no_other_vendor(
    edge: httpx.Client, edge_house: House, deployment: SimpleNamespace, new_vendor: Any, status: str
):
    """As many as a look takes were announced before; the honest one is stored at once all the same."""
    other = new_vendor()
    liar = greedy(edge_house, other.id)
    for n in range(100):
        announce(edge, liar, f"never-{n}", b"x")
    with edge_house.db.begin() as tx:
        change = text("UPDATE marketplace_vendors SET status = :status WHERE id = :id")
        tx.execute(change, {"status": status, "id": other.id})
    drop(edge, deployment, "honest", parquet(rows(3)))
    assert [("honest", "stored", 3)] == take(edge_house)


def test_drop_behind_many_of_the_same_vendor_has_its_turn(
    edge: httpx.Client, edge_house: House, deployment: SimpleNamespace, vendor: SimpleNamespace
):
    """What was looked at goes behind what was not: a second look reaches it."""
    with edge_house.db.begin() as tx:
        tx.execute(text("DELETE FROM signal_drops"))  # of the other tests' vendors, who would take turns
    liar = greedy(edge_house, vendor.id)
    for n in range(100):
        announce(edge, liar, f"never-{n}", b"x")
    drop(edge, deployment, "later", parquet(rows(3)))
    assert [[], [("later", "stored", 3)]] == [take(edge_house, now=datetime.now(UTC)) for _ in range(2)]


def test_announcements_of_a_deployment_have_an_end(
    edge: httpx.Client, edge_house: House, vendor: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
):
    """The refusal says the cap and how to go on, and leaves nothing behind; what is known may be announced again."""
    monkeypatch.setattr(drops, "MAX_AWAITED", 2)
    eager = greedy(edge_house, vendor.id)
    for name in ("one", "two", "two"):
        assert announce(edge, eager, name, b"x")["url"]
    wanted = {"name": "three", "size_bytes": 1, "sha256": "0" * 64}
    answer = edge.post("/api/signals/drops", json=wanted, headers=eager.headers)
    assert 409 == answer.status_code
    assert ("2 drops announced" in answer.text, "PUT the bytes" in answer.text) == (True, True)
    assert [] == edge.get("/api/signals/drops", params={"name": "three"}, headers=eager.headers).json()["data"]


def test_others_see_nothing(edge: httpx.Client, deployment: SimpleNamespace, vendor: SimpleNamespace, new_vendor: Any):
    """A drop is its vendor's."""
    announce(edge, deployment, "mine", b"x")
    wanted = {"params": {"name": "mine", "deployment_id": deployment.id}}
    assert 1 == len(edge.get("/api/signals/drops", headers=vendor.headers, **wanted).json()["data"])
    assert [] == edge.get("/api/signals/drops", headers=new_vendor().headers, **wanted).json()["data"]


@pytest.mark.parametrize(
    "change", [{"name": "../up"}, {"name": ""}, {"size_bytes": 0}, {"size_bytes": 1 << 40}, {"sha256": "x"}]
)
def test_odd_announcements(edge: httpx.Client, deployment: SimpleNamespace, change: dict[str, Any]):
    """Refused with the field's name."""
    wanted = {"name": "a", "size_bytes": 1, "sha256": "0" * 64} | change
    answer = edge.post("/api/signals/drops", json=wanted, headers=deployment.headers)
    assert (422, next(iter(change))) == (answer.status_code, answer.json()["details"][0]["loc"][-1])

"""Vendors' own consensus: exactly once, attributed by token, and shown as a method."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from mp_kit.contracts import ModelRegistration, Stage, StoreResult, Task
from mp_kit.errors import AttributionError, ForbiddenError, InvalidInputError
from mp_kit.server.house import House
from mp_kit.server.services import consensus, models, vendor_consensus
from mp_kit.server.services.tokens import Principal
from mp_kit.server.store.engine import Tx
from tests.support.voices import make_voice, say, signal

PARTS = {"a": {"decision": "BUY", "weight": 0.75, "confidence": 0.5}, "b": {"decision": "SELL", "weight": 0.25}}


def row(**changes: Any) -> dict[str, Any]:
    return signal(contributions=PARTS) | changes


def store(tx: Tx, who: Principal, *rows: Any, **options: Any) -> StoreResult:
    sent = vendor_consensus.Submission(items=rows, body=json.dumps(rows).encode(), **options)
    return vendor_consensus.store(tx, who, sent)


def statuses(result: StoreResult) -> list[str]:
    return [receipt.status.value for receipt in result.receipts]


@pytest.fixture
def who(tx: Tx, house: House) -> Principal:
    return make_voice(tx, house, "Blender", Stage.PILOT, task=Task.CONSENSUS)


@pytest.mark.parametrize("kind", ["vendor", "run"])
def test_only_deployments_and_operator_push(tx: Tx, kind: Any):
    """A vendor key is not for pushing."""
    with pytest.raises(ForbiddenError):
        store(tx, Principal(kind=kind, vendor_id="v"), row())


def test_scope_must_cover_it(tx: Tx, who: Principal):
    """A token for signals alone stores no consensus."""
    narrow = Principal(**(vars(who) | {"scope": {"routes": ["signals:store"]}}))
    with pytest.raises(ForbiddenError, match="scope"):
        store(tx, narrow, row())


@pytest.mark.parametrize("claim", [{"vendor_id": "v"}, {"deployment_id": "d"}, {"model_id": "m"}])
def test_contradicting_claim_is_refused(tx: Tx, who: Principal, claim: dict[str, str]):
    """A claim against the token refuses the request."""
    with pytest.raises(AttributionError):
        store(tx, who, row(symbol="GBPUSD"), row(**claim))


BAD: dict[str, dict[str, Any]] = {
    "no contributions": {"contributions": {}},
    "contributions are no object": {"contributions": [1]},
    "negative weight": {"contributions": {"a": {"decision": "BUY", "weight": -1}}},
    "unknown decision": {"contributions": {"a": {"decision": "UP", "weight": 1}}},
    "nameless": {"contributions": {"": {"decision": "BUY", "weight": 1}}},
    "too many": {"contributions": {f"m{at:04}": PARTS["a"] for at in range(1_000)}},
    "confidence": {"confidence": 1.5},
    "naive": {"event_time": "2026-01-05T10:00:00"},
    "future": {"event_time": (datetime.now(UTC) + timedelta(hours=1)).isoformat()},
    "metadata": {"metadata": {"a": "\x00"}},
}


@pytest.mark.parametrize("changes", BAD.values(), ids=BAD)
def test_bad_row_is_rejected_alone(tx: Tx, who: Principal, changes: dict[str, Any]):
    """With a reason, and the good one beside it is stored."""
    result = store(tx, who, row(**changes), row(symbol="GBPUSD"))
    assert ["rejected", "accepted"] == statuses(result)
    assert result.receipts[0].error


def test_atomic_stores_all_or_none(tx: Tx, who: Principal):
    """Every reason is told."""
    with pytest.raises(InvalidInputError, match="1 of 2") as caught:
        store(tx, who, row(), row(confidence=7), atomic=True)
    assert [1] == caught.value.details[0]["loc"]


@pytest.mark.parametrize("count", [0, 100_001])
def test_batch_sizes(tx: Tx, who: Principal, count: int):
    """An empty or oversized batch is refused."""
    with pytest.raises(InvalidInputError, match="1 to 100000"):
        vendor_consensus.store(tx, who, vendor_consensus.Submission(items=[None] * count, body=b""))


def test_exactly_once(tx: Tx, who: Principal):
    """Again is a duplicate with the first id; anything else under the identity is a conflict."""
    first = store(tx, who, row(), row())
    assert ["accepted", "duplicate"] == statuses(first)
    again = store(tx, who, row(), row(confidence=0.1), row(contributions={"a": PARTS["a"]}))
    assert ["duplicate", "conflict", "conflict"] == statuses(again)
    assert {first.receipts[0].signal_id} == {receipt.signal_id for receipt in again.receipts}
    assert str(first.receipts[0].signal_id).startswith("con_")
    assert first.receipts[0].late is True


def test_idempotency_key(tx: Tx, who: Principal):
    """The same body: the first answer; an honest other one under the same key is processed."""
    first = store(tx, who, row(), key="k")
    assert first == store(tx, who, row(), key="k")
    other = store(tx, who, row(symbol="GBPUSD"), key="k")
    assert (["accepted"], True) == (statuses(other), other.idempotency_key_reused)


def test_token_decides_attribution(tx: Tx, who: Principal):
    """Vendor, deployment and model are the token's; of contributions only what a vendor may say is kept."""
    boast = {"a": PARTS["a"] | {"vendor": "Somebody Famous", "value": 9.0}}
    store(tx, who, row(contributions=boast))
    stored = tx.execute(text("SELECT vendor_id, deployment_id, model_id, contributions FROM vendor_consensus")).one()
    assert (who.vendor_id, who.deployment_id, who.model_id, {"a": PARTS["a"]}) == tuple(stored)


def test_shown_as_a_method(tx: Tx, who: Principal):
    """With whose it is; the marketplace's own methods have no such bar."""
    store(tx, who, row(decision="SELL", confidence=0.6))
    assert consensus.refresh(tx)
    assert not consensus.refresh(tx)
    bar = consensus.latest(tx, method=f"vendor:{who.model_id}")
    assert ("SELL", 0.6, -0.6, 2) == (bar.decision, bar.confidence, bar.score, bar.signals)
    assert ("Blender", who.deployment_id) == (bar.vendor, bar.deployment_id)
    assert [] == consensus.history(tx)


@pytest.mark.parametrize("stages", [(), (Stage.PILOT, Stage.SHADOW)])
def test_shadow_is_not_shown(tx: Tx, house: House, stages: tuple[Stage, ...]):
    """It is stored, and nobody sees it."""
    who = make_voice(tx, house, "Private", *stages)
    assert ["accepted"] == statuses(store(tx, who, row()))
    while consensus.refresh(tx):
        pass
    assert [] == consensus.history(tx, method=f"vendor:{who.model_id}")


def test_moving_its_deployment_shows_nothing_of_before(tx: Tx, house: House):
    """What was said in shadow stays unseen, though its deployment runs a version in pilot now; and the other way."""
    heard = make_voice(tx, house, "Heard", Stage.PILOT, task=Task.CONSENSUS)
    hidden = make_voice(tx, house, "Hidden", task=Task.CONSENSUS)
    for who in (heard, hidden):
        store(tx, who, row())
    for who, name, stage in ((heard, "shadow", Stage.SHADOW), (hidden, "pilot", Stage.PILOT)):
        given = {"name": name, "task": Task.CONSENSUS, "version": "1", "deployment_id": who.deployment_id}
        made = models.register(tx, str(who.vendor_id), ModelRegistration(**given))
        if stage is Stage.PILOT:
            models.change_stage(tx, str(who.vendor_id), made.model_id, "1", stage, actor="test", reason=None)
    consensus.refresh(tx)
    shown = [consensus.history(tx, method=f"vendor:{who.model_id}") for who in (heard, hidden)]
    assert [1, 0] == [len(bars) for bars in shown]


def test_newest_statement_holds(tx: Tx, who: Principal):
    """A later version of the deployment's about the same bar replaces the earlier one's."""
    tx.execute(text("UPDATE deployments SET version_id = (SELECT id FROM model_versions v WHERE v.model_id = :m)"
                    " WHERE id = :id"), {"m": who.model_id, "id": who.deployment_id})  # fmt: skip
    store(tx, who, row())
    consensus.refresh(tx)
    store(tx, who, row(model_version="2", decision="HOLD"))
    consensus.refresh(tx)
    assert ["HOLD"] == [bar.decision for bar in consensus.history(tx, method=f"vendor:{who.model_id}")]


def test_operator_shows_a_vendors_first(tx: Tx, house: House, who: Principal):
    """Where it is silent the marketplace's own is shown, and each bar says by whom."""
    say(tx, make_voice(tx, house, "Voice", Stage.PILOT), signal(), signal(symbol="GBPUSD"))
    store(tx, who, row(decision="SELL"))
    consensus.refresh(tx)
    method = f"vendor:{who.model_id}"
    consensus.choose(tx, method, actor="operator:test")
    told = {bar.symbol: (bar.method, bar.decision.value) for bar in consensus.history(tx)}
    assert {"EURUSD": (method, "SELL"), "GBPUSD": ("confidence_skill", "BUY")} == told


def test_eight_at_once_store_once(house: House):
    """One key and body from eight threads: the first one's answer for all, and each row once."""
    with house.db.begin() as tx:
        who = make_voice(tx, house, "Eight", Stage.PILOT)
    rows = [row(symbol=f"S{at:03}") for at in range(50)]

    def push(_: int) -> StoreResult:
        with house.db.begin() as tx:
            return store(tx, who, *rows, key="same")

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(push, range(8)))
    assert all(answer == told[0] for answer in told)
    assert 50 == told[0].accepted
    with house.db.begin() as tx:
        count = text("SELECT count(*) FROM vendor_consensus WHERE deployment_id = :id")
        assert 50 == tx.execute(count, {"id": who.deployment_id}).scalar_one()


def test_refreshes_at_once_lose_nothing(house: House):
    """Voices come while others blend: the last bar has all of them."""
    with house.db.begin() as tx:
        voices = [make_voice(tx, house, f"Crowd {at}", Stage.PILOT) for at in range(8)]

    def speak(who: Principal) -> None:
        with house.db.begin() as tx:
            say(tx, who, signal(symbol="CROWD"))
        with house.db.begin() as tx:
            consensus.refresh(tx)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(speak, voices))
    with house.db.begin() as tx:
        assert 8 == consensus.latest(tx, "CROWD").signals

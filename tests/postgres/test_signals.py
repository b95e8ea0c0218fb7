"""Signals in Postgres: exactly once, attributed, told apart row by row."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from mp_kit.contracts import ReceiptStatus
from mp_kit.errors import AttributionError, ForbiddenError, InvalidInputError
from mp_kit.server.house import House
from mp_kit.server.services import signals, vendors
from mp_kit.server.services.signal_outcome import Outcome
from mp_kit.server.services.tokens import Principal
from mp_kit.server.store.engine import Database, Tx
from mp_kit.server.store.signals import LARGE
from mp_kit.signing import Signer

BAR = datetime(2026, 1, 5, 10, tzinfo=UTC)
SIGNER = Signer(bytes(32))


def signal(**changes: Any) -> dict[str, Any]:
    row = {
        "symbol": "EURUSD",
        "timeframe": "1h",
        "decision": "BUY",
        "confidence": 0.8,
        "model_version": "1.0.0",
        "timestamp": BAR.isoformat(),
        "event_time": BAR.isoformat(),
    }
    return row | changes


def batch(*items: Any, **options: Any) -> signals.Batch:
    return signals.Batch(items=items, body=json.dumps(items).encode(), **options)


def make_deployment(tx: Tx, house: House, name: str = "ACME") -> Principal:
    vendor = vendors.create(tx, house.tokens, name, actor="test")
    deployment_id = f"dep_{vendor.vendor_id}"
    tx.execute(
        text("INSERT INTO deployments (id, vendor_id, name, provider) VALUES (:id, :vendor, 'live', 'byoc')"),
        {"id": deployment_id, "vendor": vendor.vendor_id},
    )
    return Principal(
        kind="deployment",
        vendor_id=vendor.vendor_id,
        deployment_id=deployment_id,
        scope={"routes": ["signals:store"], "deployment": deployment_id},
    )


@pytest.fixture
def who(tx: Tx, house: House) -> Principal:
    return make_deployment(tx, house)


def store(tx: Tx, who: Principal, given: signals.Batch) -> Outcome:
    return signals.store(tx, who, given, signer=SIGNER)


def statuses(result: Outcome) -> list[str]:
    return [receipt.status.value for receipt in result.receipts]


def test_store_twice_is_stored_once(tx: Tx, who: Principal):
    """The second push of a batch says duplicate, with the first one's ids."""
    rows = [signal(), signal(symbol="GBPUSD")]
    first = store(tx, who, batch(*rows))
    second = store(tx, who, batch(*rows))
    assert ["accepted", "accepted"] == statuses(first)
    assert ["duplicate", "duplicate"] == statuses(second)
    assert [r.signal_id for r in first.receipts] == [r.signal_id for r in second.receipts]
    assert 2 == tx.execute(text("SELECT count(*) FROM signals")).scalar_one()


def test_rewriting_is_a_conflict(tx: Tx, who: Principal):
    """The same identity with another decision or confidence is kept out, and the answer says what stands."""
    store(tx, who, batch(signal()))
    result = store(tx, who, batch(signal(decision="SELL"), signal(confidence=0.81)))
    assert ["conflict", "conflict"] == statuses(result)
    assert "BUY with 0.8 stands" in (result.receipts[0].error or "")


def test_twins_within_a_batch(tx: Tx, who: Principal):
    """Within one batch the first of two equal rows is stored, the second told apart."""
    result = store(tx, who, batch(signal(), signal(), signal(decision="HOLD")))
    assert ["accepted", "duplicate", "conflict"] == statuses(result)
    assert result.receipts[0].signal_id == result.receipts[1].signal_id


BAD_ROWS = {
    "no decision": ({"decision": None}, "decision"),
    "naive time": ({"timestamp": "2026-01-05T10:00:00"}, "zone"),
    "numeric time": ({"timestamp": 1767607200}, "RFC 3339"),
    "confidence over 1": ({"confidence": 1.01}, "confidence"),
    "unknown timeframe": ({"timeframe": "2h"}, "timeframe"),
    "far future": ({"event_time": "2199-01-01T00:00:00Z"}, "future"),
    "NUL in metadata": ({"metadata": {"a": "x\x00y"}}, "NUL"),
    "half a surrogate": ({"metadata": {"a": "\ud800"}}, "surrogate"),
    "NUL in version": ({"model_version": "1\x00"}, "model_version"),
    "huge metadata": ({"metadata": {"a": "x" * 20_000}}, "bytes"),
    "empty symbol": ({"symbol": ""}, "symbol"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_bad_row_is_rejected_and_good_ones_stored(tx: Tx, who: Principal, name: str):
    """A bad row is rejected by index and reason; its neighbours are stored."""
    changes, reason = BAD_ROWS[name]
    result = store(tx, who, batch(signal(symbol="AUDUSD"), signal(**changes), signal(symbol="NZDUSD")))
    assert ["accepted", "rejected", "accepted"] == statuses(result)
    assert reason in (result.receipts[1].error or "")


@pytest.mark.parametrize("row", [None, 5, "x", [], {}])
def test_row_that_is_no_signal(tx: Tx, who: Principal, row: Any):
    """A row of a wrong kind is rejected, not an error of the request."""
    assert ["rejected", "accepted"] == statuses(store(tx, who, batch(row, signal())))


def test_atomic_stores_none(shared_db: Database, house: House):
    """With atomic, one bad row refuses all; the transaction takes the good ones back."""
    with shared_db.begin() as tx:
        who = make_deployment(tx, house, "Atomic")
    with pytest.raises(InvalidInputError, match="1 of 2") as caught, shared_db.begin() as tx:
        store(tx, who, batch(signal(), signal(confidence=2), atomic=True))
    assert [{"loc": [1], "msg": caught.value.details[0]["msg"]}] == caught.value.details
    with shared_db.begin() as tx:
        count = text("SELECT count(*) FROM signals WHERE deployment_id = :id")
        assert 0 == tx.execute(count, {"id": who.deployment_id}).scalar_one()


@pytest.mark.parametrize("claim", [{"vendor_id": "ven_other"}, {"deployment_id": "dep_other"}])
def test_contradicting_claim_is_refused(tx: Tx, who: Principal, claim: dict[str, str]):
    """A claim against the token refuses the request: it is never rewritten silently."""
    with pytest.raises(AttributionError):
        store(tx, who, batch(signal(), signal(symbol="GBPUSD", **claim)))
    assert 0 == tx.execute(text("SELECT count(*) FROM signals")).scalar_one()


def test_agreeing_claim_is_fine(tx: Tx, who: Principal):
    """A claim that says what the token says is no contradiction."""
    row = signal(vendor_id=who.vendor_id, deployment_id=who.deployment_id)
    assert ["accepted"] == statuses(store(tx, who, batch(row)))


def test_idempotency_key_gives_the_first_answer_again(tx: Tx, who: Principal):
    """Same key, same body: the very same answer, accepted and all."""
    first = store(tx, who, batch(signal(), key="k"))
    assert first == store(tx, who, batch(signal(), key="k"))


def test_idempotency_key_reused_by_an_honest_batch(tx: Tx, who: Principal):
    """Old clients derive the key from a 5 s slot: another batch under it is processed, and the answer says so."""
    store(tx, who, batch(signal(), key="EURUSD:1h:353521440"))
    second = store(tx, who, batch(signal(symbol="GBPUSD"), key="EURUSD:1h:353521440"))
    assert ["accepted"] == statuses(second)
    assert second.idempotency_key_reused is True


def test_third_dialect_is_mapped(tx: Tx, who: Principal):
    """owner, bar_ts and meta are understood."""
    row = {
        "owner": who.vendor_id,
        "model_id": "m1",
        "symbol": "EURUSD",
        "timeframe": "5m",
        "bar_ts": "2026-01-05T10:00:00Z",
        "decision": "SELL",
        "confidence": 0.6,
        "meta": {"model_version": "7"},
    }
    assert ["accepted"] == statuses(store(tx, who, batch(row)))
    stored = tx.execute(text("SELECT model_version, model_id, event_time FROM signals")).one()
    assert ("7", "m1", BAR) == tuple(stored)


def test_late_signal_is_marked(tx: Tx, who: Principal):
    """A signal long after its bar's end is stored and marked; one in time is not."""
    now = datetime.now(UTC).replace(microsecond=0)
    result = store(tx, who, batch(signal(), signal(timestamp=now.isoformat(), event_time=now.isoformat())))
    assert [True, None] == [receipt.late for receipt in result.receipts]


def test_scope_of_symbols(tx: Tx, who: Principal):
    """A token for some symbols rejects rows about others."""
    narrow = Principal(**(vars(who) | {"scope": {**who.scope, "symbols": ["EURUSD"]}}))
    result = store(tx, narrow, batch(signal(), signal(symbol="GBPUSD")))
    assert ["accepted", "rejected"] == statuses(result)


@pytest.mark.parametrize("kind", ["vendor", "run"])
def test_only_deployments_and_operator_push(tx: Tx, kind: Any):
    """A vendor key is not for pushing: attribution comes from a deployment."""
    with pytest.raises(ForbiddenError):
        store(tx, Principal(kind=kind, vendor_id="v"), batch(signal()))


def test_house_signals_have_no_vendor(tx: Tx):
    """The operator's own signals are stored unattributed."""
    store(tx, Principal(kind="operator"), batch(signal()))
    assert (None, "house") == tuple(tx.execute(text("SELECT vendor_id, deployment_id FROM signals")).one())


@pytest.mark.parametrize("count", [0, 100_001])
def test_batch_sizes(tx: Tx, who: Principal, count: int):
    """An empty or oversized batch is refused with a hint."""
    with pytest.raises(InvalidInputError, match="1 to 100000"):
        store(tx, who, signals.Batch(items=[None] * count, body=b""))


def many(count: int, **changes: Any) -> list[dict[str, Any]]:
    """Signals about bars of their own, with some of everything that a row may have."""
    return [
        signal(
            symbol=f"S{n % 7}",
            event_time=(BAR - timedelta(minutes=n // 7)).isoformat(),
            confidence=n / count,
            decision=("BUY", "SELL", "HOLD")[n % 3],
            model_id=None if n % 2 else "momentum",
            rationale=None if n % 5 else [f"because é {n}"],
            metadata=None if n % 11 else {"n": n},
            **changes,
        )
        for n in range(count)
    ]


STORED = text(
    "SELECT row_no, event_time, ts, confidence, symbol, timeframe, model_version, decision, model_id, rationale,"
    " metadata, late, vendor_id, deployment_id FROM signals WHERE deployment_id = :id ORDER BY batch_id, row_no"
)


@pytest.mark.parametrize("count", [LARGE - 1, LARGE])
def test_large_batch_is_stored_as_it_was_sent(tx: Tx, who: Principal, count: int):
    """By arrays or through the staging table, every value of every column arrives."""
    rows = many(count)
    outcome = store(tx, who, batch(*rows))
    assert [count, 0, 0, 0] == outcome.counts
    stored = [tuple(row) for row in tx.execute(STORED, {"id": who.deployment_id})]
    sent = [
        (
            n, datetime.fromisoformat(row["event_time"]), BAR, row["confidence"], row["symbol"], "1h", "1.0.0",
            row["decision"], row["model_id"], row["rationale"], row["metadata"], True, who.vendor_id, who.deployment_id,
        )
        for n, row in enumerate(rows)
    ]  # fmt: skip
    assert sent == stored


@pytest.mark.parametrize("count", [90, LARGE + 90])
def test_every_outcome_in_one_batch(tx: Tx, who: Principal, count: int):
    """Small or large: new, known, contradicting, twin and bad rows are told apart, in place."""
    first = many(count)
    store(tx, who, batch(*first[: count // 2], key="first"))
    changed = first[0] | {"decision": "HOLD"}
    rows = [*first, first[-1], changed, first[-1] | {"confidence": 0.123}, signal(symbol="")]
    outcome = store(tx, who, batch(*rows, key="second"))
    told = statuses(outcome)
    assert ["duplicate"] * (count // 2) + ["accepted"] * (count - count // 2) == told[:count]
    assert ["duplicate", "conflict", "conflict", "rejected"] == told[count:]
    receipts = outcome.receipts
    assert receipts[count - 1].signal_id == receipts[count].signal_id == receipts[count + 2].signal_id
    assert "BUY with 0.0 stands: a signal is never rewritten" == receipts[count + 1].error
    assert (None, "symbol") == (receipts[-1].signal_id, (receipts[-1].error or "")[:6])
    assert outcome == store(tx, who, batch(*rows, key="second"))


def test_two_large_batches_in_one_transaction(tx: Tx, who: Principal):
    """The staging table is emptied between them."""
    one, two = many(LARGE), many(LARGE, model_version="2")
    assert LARGE == store(tx, who, batch(*one)).accepted
    assert [LARGE, 1, 0, 0] == store(tx, who, batch(*two, two[5])).counts
    assert 2 * LARGE == tx.execute(text("SELECT count(*) FROM signals")).scalar_one()


def test_answers_kept_before_are_given_again(tx: Tx, who: Principal):
    """An answer that an earlier release kept as JSON is read as well."""
    outcome = store(tx, who, batch(signal(), signal(), signal(decision="SELL"), signal(symbol=""), key="k"))
    kept = zlib.compress(outcome.json().encode(), 1)
    tx.execute(text("UPDATE signal_batches SET answer = :kept"), {"kept": kept})
    again = store(tx, who, batch(signal(), signal(), signal(decision="SELL"), signal(symbol=""), key="k"))
    assert outcome.result == again.result


PUSHER = """
import json, sys
from mp_kit.server.services import signals
from mp_kit.server.services.tokens import Principal
from mp_kit.server.store.engine import Database
from mp_kit.signing import Signer
given = json.load(sys.stdin)
db = Database(given["url"], pool_size=1)
who = Principal(kind="deployment", **given["who"])
body = json.dumps(given["rows"]).encode()
with db.begin() as tx:
    batch = signals.Batch(items=given["rows"], body=body, key="same")
    result = signals.store(tx, who, batch, signer=Signer(bytes(32)))
print(json.dumps([result.accepted, result.duplicates, result.conflicts, result.rejected]))
"""


@pytest.mark.parametrize("rows_each", [300, pytest.param(LARGE, marks=pytest.mark.hardening)])
def test_eight_processes_at_once_store_once(house: House, rows_each: int):
    """Eight processes push one batch at the same moment: each row is stored exactly once."""
    with house.db.begin() as tx:
        who = make_deployment(tx, house, f"Eight of {rows_each}")
    rows = [signal(symbol=f"S{n:03}", event_time=(BAR + timedelta(hours=n % 7)).isoformat()) for n in range(rows_each)]
    caller = {"vendor_id": who.vendor_id, "deployment_id": who.deployment_id, "scope": dict(who.scope)}
    given = json.dumps({"url": house.settings.database_url, "who": caller, "rows": rows})
    argv = [sys.executable, "-c", PUSHER]
    pushers = [subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        told = [json.loads(out) for out, _ in pool.map(lambda pusher: pusher.communicate(given), pushers)]
    with house.db.begin() as tx:
        count = text("SELECT count(*) FROM signals WHERE deployment_id = :id")
        assert rows_each == tx.execute(count, {"id": who.deployment_id}).scalar_one()
    # Who finds the key taken by the same body gets the first answer again; who raced with it sees duplicates.
    first, again = (rows_each, 0, 0, 0), (0, rows_each, 0, 0)
    assert {first} <= {tuple(answer) for answer in told} <= {first, again}


def test_overlapping_batches_in_any_order_never_wait_for_each_other(house: House):
    """Small and large batches of shuffled, overlapping rows at once: none is a victim of another, each row is once."""
    with house.db.begin() as tx:
        who = make_deployment(tx, house, "Shuffled")
    rows = many(2 * LARGE)

    def push(number: int) -> int:
        part = random.Random(number).sample(rows, 500 if number % 2 else LARGE + 100)
        with house.db.begin() as tx:
            return store(tx, who, batch(*part)).accepted

    with ThreadPoolExecutor(6) as pool:
        accepted = list(pool.map(push, range(24)))
    with house.db.begin() as tx:
        count = text("SELECT count(*) FROM signals WHERE deployment_id = :id")
        assert sum(accepted) == tx.execute(count, {"id": who.deployment_id}).scalar_one()


def test_receipt_statuses_are_the_wires():
    """The four words that clients branch on."""
    assert {"accepted", "duplicate", "conflict", "rejected"} == {status.value for status in ReceiptStatus}

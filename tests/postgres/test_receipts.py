"""Receipts in Postgres: what is stored is what is proved, whatever was stored at the same moment."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from mp_kit.chains import ChainReport, verify_chain
from mp_kit.contracts.receipts import ReceiptBody
from mp_kit.errors import InvalidInputError
from mp_kit.server.house import House
from mp_kit.server.services import chain_checks, checks, receipts, rounds, signals
from mp_kit.server.services.tokens import Principal
from mp_kit.server.store.engine import Tx
from mp_kit.server.store.signals import LARGE
from mp_kit.signing import Signer
from tests.postgres.test_signals import batch, make_deployment, signal

SIGNER = Signer(bytes(range(32)))
BAR = datetime(2026, 1, 5, 10, tzinfo=UTC)
EVERYTHING = {"symbol": None, "timeframe": None, "since": None, "until": None, "limit": 10_000}
START = {"cursor_time": None, "cursor_batch": None, "cursor_row": None}


@pytest.fixture
def who(tx: Tx, house: House) -> Principal:
    return make_deployment(tx, house, "Receipts")


def check(tx: Tx, who: Principal, signer: Signer = SIGNER) -> ChainReport:
    """The chain as a vendor checks it, out of what the wire gives."""
    own = {"vendor_id": who.vendor_id, "deployment_id": who.deployment_id}
    page = receipts.list_page(tx, own | {"after_deployment": "", "after_seq": 0, "limit": 1000})
    told = signals.list_page(tx, own | EVERYTHING | START)
    keys = {key.key_id: key for key in rounds.keys(tx)} | {signer.key_id: signer.public}
    chain = [receipts.to_wire(row) for row in page]
    return verify_chain(who.deployment_id or "house", chain, [signals.to_wire(row) for row in told], keys)


ODD_METADATA: list[Any] = [
    {"z": 1, "a": {"y": [1.5, 2.0, -0.0]}},
    {"huge": 1e300, "tiny": 1e-300, "round": 12345678901234567890, "exact": 1.5e16, "e": 1e22},
    {"text": 'ü\n\t"\\ 漢字 \u2028', "empty": {}, "none": None, "yes": True},
    {"é": 1, "e\u0301": 2, "10": 1, "9": 2, "": 0},
    {},
]


def test_all_kinds_of_rows_hash_into_their_receipts(tx: Tx, who: Principal):
    """Instants to the microsecond, JSON as the database gives it back, missing values, lateness."""
    rows = [
        signal(symbol=f"S{n}", metadata=metadata, rationale=["RSI > 70", "ü\n"] if n % 2 else None)
        for n, metadata in enumerate(ODD_METADATA)
    ]
    rows.append(signal(symbol="T1", timestamp="2026-01-05T10:00:00.000001Z", confidence=0.1 + 0.2, model_id="m-1"))
    rows.append({**signal(symbol="T2", confidence=1e-310), "model_version": "v1 ü"})
    now = datetime.now(UTC).replace(microsecond=0)
    rows.append(signal(symbol="T3", timestamp=now.isoformat(), event_time=now.isoformat(), confidence=0))
    assert len(rows) == signals.store(tx, who, batch(*rows), signer=SIGNER).accepted
    report = check(tx, who)
    assert ((), len(rows), 1) == (report.problems, report.signals, report.receipts)


def test_large_batch_with_everything_in_it(tx: Tx, who: Principal):
    """By COPY too; duplicates, conflicts and rejected rows are no part of the receipt."""
    signals.store(tx, who, batch(signal(symbol="S000005"), signal(symbol="S000006", decision="SELL")), signer=SIGNER)
    rows = [signal(symbol=f"S{n:06}", metadata={"n": n / 3}) for n in range(LARGE + 3)]
    rows += [signal(confidence=2), signal(symbol="S000000")]
    outcome = signals.store(tx, who, batch(*rows), signer=SIGNER)
    assert [LARGE + 1, 2, 1, 1] == outcome.counts
    assert outcome.receipt is not None
    body = ReceiptBody.model_validate_json(outcome.receipt.payload)
    assert (2, LARGE + 1) == (body.seq, body.rows)
    report = check(tx, who)
    assert ((), LARGE + 3, 2) == (report.problems, report.signals, report.receipts)


def test_batch_that_adds_nothing_has_no_receipt(tx: Tx, who: Principal):
    """Duplicates and refused rows leave the chain as it is."""
    signals.store(tx, who, batch(signal()), signer=SIGNER)
    assert None is signals.store(tx, who, batch(signal()), signer=SIGNER).receipt
    assert None is signals.store(tx, who, batch(signal(confidence=2)), signer=SIGNER).receipt
    assert 1 == check(tx, who).receipts


def test_same_key_and_body_gives_the_first_receipt_again(tx: Tx, who: Principal):
    """The answer that got lost on the way is not lost."""
    first = signals.store(tx, who, batch(signal(), key="k"), signer=SIGNER)
    again = signals.store(tx, who, batch(signal(), key="k"), signer=SIGNER)
    assert first.receipt is not None
    assert first.receipt == again.receipt == again.result.batch_receipt


def test_atomic_batch_that_fails_leaves_no_receipt(tx: Tx, who: Principal):
    """The chain moves with the batch or not at all."""
    signals.store(tx, who, batch(signal()), signer=SIGNER)
    with pytest.raises(InvalidInputError), tx.begin_nested():
        signals.store(tx, who, batch(signal(symbol="GBPUSD"), signal(confidence=2), atomic=True), signer=SIGNER)
    signals.store(tx, who, batch(signal(symbol="AUDUSD")), signer=SIGNER)
    report = check(tx, who)
    assert ((), 2, 2) == (report.problems, report.receipts, report.signals)


def test_new_signing_key_goes_on_with_the_chain(tx: Tx, who: Principal):
    """Both public keys are offered; the chain holds over the change."""
    signals.store(tx, who, batch(signal()), signer=SIGNER)
    signals.store(tx, who, batch(signal(symbol="GBPUSD")), signer=Signer(bytes(reversed(range(32)))))
    assert () == check(tx, who).problems


def test_house_signals_have_their_chain(tx: Tx):
    """Unattributed, and proved all the same."""
    house_rows = Principal(kind="operator")
    signals.store(tx, house_rows, batch(signal()), signer=SIGNER)
    own = {"vendor_id": None, "deployment_id": "house"}
    page = receipts.list_page(tx, own | {"after_deployment": "", "after_seq": 0, "limit": 10})
    told = signals.list_page(tx, own | EVERYTHING | START)
    chain = [receipts.to_wire(row) for row in page]
    keys = {SIGNER.key_id: SIGNER.public}
    assert () == verify_chain("house", chain, [signals.to_wire(row) for row in told], keys).problems


@pytest.mark.parametrize("statement", ["UPDATE signal_receipts SET seq = seq + 7", "DELETE FROM signal_receipts"])
def test_receipts_can_only_be_added(tx: Tx, who: Principal, statement: str):
    """The database itself refuses."""
    signals.store(tx, who, batch(signal()), signer=SIGNER)
    with pytest.raises(DBAPIError), tx.begin_nested():
        tx.execute(text(statement))


def test_tampering_with_the_table_is_caught(tx: Tx, who: Principal):
    """Whoever rewrites a signal in the database breaks its receipt."""
    signals.store(tx, who, batch(signal(), signal(symbol="GBPUSD")), signer=SIGNER)
    tx.execute(text("UPDATE signals SET confidence = 0.99 WHERE symbol = 'GBPUSD'"))
    assert check(tx, who).problems


def test_parallel_batches_of_one_deployment_make_one_chain(house: House):
    """Eight at once, overlapping: no gap, no fork, no deadlock, every signal covered."""
    with house.db.begin() as tx:
        who = make_deployment(tx, house, "Parallel")

    def push(number: int) -> int:
        times = [BAR + timedelta(hours=(number * 5 + n) % 60) for n in range(20)]
        rows = [signal(event_time=at.isoformat(), model_version="p") for at in times]
        given = signals.Batch(items=rows, body=json.dumps(rows).encode(), key=f"k{number % 7}")
        with house.db.begin() as tx:
            return signals.store(tx, who, given, signer=house.signer).accepted

    with ThreadPoolExecutor(8) as pool:
        accepted = sum(pool.map(push, range(48)))
    with house.db.begin() as tx:
        report = check(tx, who, house.signer)
    assert ((), 60, 60) == (report.problems, report.signals, accepted)


def test_whoever_pushes_while_chains_are_checked_breaks_none(house: House, monkeypatch: pytest.MonkeyPatch):
    """All of it is looked at as it was at one moment: the ends of chains, their receipts, their signals."""
    with house.db.begin() as tx:
        who = make_deployment(tx, house, "Busy")
    hours = iter(range(9))

    def push() -> None:
        with house.db.begin() as tx:
            given = batch(signal(event_time=(BAR - timedelta(hours=next(hours))).isoformat()))
            assert 1 == signals.store(tx, who, given, signer=SIGNER).accepted

    def interrupted(*given: Any) -> list[str]:
        push()
        return real(*given)

    real = chain_checks._check_one
    monkeypatch.setattr(chain_checks, "_check_one", interrupted)
    push()
    [found] = [one for one in checks.everything(house.db, house.store, house.vault) if one.name == "receipts"]
    assert [] == found.problems

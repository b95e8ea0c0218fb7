"""Receipts hold over exactly what was stored; whatever else somebody shows is caught."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mp_kit.chains import columns_of, verify_chain
from mp_kit.contracts import Decision, Signal, Timeframe
from mp_kit.contracts.receipts import BatchReceipt, ReceiptBody
from mp_kit.receipts import GENESIS, canonical_json, check, issue, payload_sha256, rows_sha256
from mp_kit.signing import Signer

SIGNER = Signer(bytes(range(32)))
OTHER = Signer(bytes(32))
KEYS = {SIGNER.key_id: SIGNER.public}
NOW = datetime(2026, 1, 5, 10, 0, 1, 123456, tzinfo=UTC)
BAR = datetime(2026, 1, 5, 10, tzinfo=UTC)


def make_signal(batch: int, row_no: int, **changes: Any) -> Signal:
    facts = {
        "signal_id": f"sig_{batch:x}_{row_no}",
        "symbol": ("EURUSD", "GBPUSD", "USDJPY")[row_no % 3],
        "timeframe": "1h",
        "decision": ("BUY", "SELL", "HOLD")[row_no % 3],
        "confidence": 0.1 * (row_no + 1),
        "model_version": "1.0.0",
        "timestamp": BAR + timedelta(minutes=1),
        "event_time": BAR,
        "received_at": NOW + timedelta(seconds=batch),
        "late": False,
        "vendor_id": "ven_1",
        "deployment_id": "dep_1",
        "model_id": None if row_no % 2 else "mod_1",
        "rationale": ["RSI über 70"] if row_no == 1 else None,
        "metadata": {"b": 1e17, "a": [-0.0, 1.5, None]} if row_no == 2 else None,
    }
    return Signal.model_validate(facts | changes)


def make_receipt(seq: int, signals: Sequence[Signal], previous: str, signer: Signer = SIGNER) -> BatchReceipt:
    batch = signals[0].signal_id.split("_")[1]
    rows = {int(signal.signal_id.split("_")[2]): signal for signal in signals}
    return issue(
        signer,
        ReceiptBody(
            deployment_id="dep_1",
            vendor_id="ven_1",
            seq=seq,
            batch=batch,
            rows=len(signals),
            rows_sha256=rows_sha256(columns_of(rows)),
            received_at=signals[0].received_at,
            previous=previous,
        ),
    )


def make_chain(sizes: Sequence[int]) -> tuple[list[BatchReceipt], list[Signal]]:
    receipts: list[BatchReceipt] = []
    told: list[Signal] = []
    previous = GENESIS
    for seq, size in enumerate(sizes, 1):
        signals = [make_signal(seq, row_no) for row_no in range(size)]
        receipts.append(make_receipt(seq, signals, previous))
        previous = payload_sha256(receipts[-1].payload)
        told += signals
    return receipts, told


def problems(receipts: Sequence[BatchReceipt], signals: Sequence[Signal], **known: Any) -> Sequence[str]:
    return verify_chain("dep_1", receipts, signals, KEYS, **known).problems


def test_chain_that_holds():
    """All receipts and signals are proved; the head is the last receipt's hash."""
    receipts, signals = make_chain([3, 1, 4])
    report = verify_chain("dep_1", receipts, signals[::-1], KEYS)
    assert (True, 3, 8, 0) == (report.ok, report.receipts, report.signals, report.before)
    assert payload_sha256(receipts[-1].payload) == report.head


def test_rows_hash_is_the_one_of_the_docs():
    """The bytes are fixed for ever: another implementation comes to the same hash."""
    columns = {
        "row_no": [0, 2],
        "symbol": ["EURUSD", "GBPUSD"],
        "timeframe": ["1h", "1h"],
        "event_time": [BAR, BAR],
        "timestamp": [BAR, NOW],
        "decision": ["BUY", "SELL"],
        "confidence": [0.5, 0.1],
        "model_version": ["1", "1"],
        "model_id": [None, "m"],
        "late": [False, True],
        "rationale": [None, None],
        "metadata": [None, None],
    }
    micros = [1767607200000000, 1767607200000000, 1767607201123456]
    frames = [
        ("row_no", struct.pack("<2q", 0, 2)),
        ("symbol", b"EURUSD\nGBPUSD"),
        ("timeframe", b"1h\n1h"),
        ("event_time", struct.pack("<2q", micros[0], micros[1])),
        ("timestamp", struct.pack("<2q", micros[0], micros[2])),
        ("decision", b"BUY\nSELL"),
        ("confidence", struct.pack("<2d", 0.5, 0.1)),
        ("model_version", b"1\n1"),
        ("model_id", b"\nm"),
        ("late", struct.pack("<2q", 0, 1)),
        ("rationale", b"\n"),
        ("metadata", b"\n"),
    ]
    whole = b"".join(f"{name} {len(frame)}\n".encode() + frame for name, frame in frames)
    assert hashlib.sha256(whole).hexdigest() == rows_sha256(columns)


TAMPERED: dict[str, Any] = {
    "symbol": "AUDUSD",
    "timeframe": Timeframe.D1,
    "decision": Decision.HOLD,
    "confidence": 0.2000001,
    "model_version": "1.0.1",
    "timestamp": BAR,
    "event_time": BAR + timedelta(microseconds=1),
    "received_at": NOW - timedelta(days=1),
    "late": True,
    "vendor_id": "ven_2",
    "deployment_id": "dep_2",
    "model_id": "mod_2",
    "rationale": ["RSI under 30"],
    "metadata": {"a": 1},
    "signal_id": "sig_1_9",
}


def test_every_field_is_covered():
    """The table above names each field of a stored signal: a new one can't slip past the receipts."""
    assert {*Signal.model_fields} == {*TAMPERED}


@pytest.mark.parametrize("field", TAMPERED)
@pytest.mark.parametrize("place", [0, 1, 4])
def test_tampered_field_is_caught(field: str, place: int):
    """Whatever is changed about a signal, its receipt says so."""
    receipts, signals = make_chain([3, 3])
    signals[place] = signals[place].model_copy(update={field: TAMPERED[field]})
    assert problems(receipts, signals)


BODY_CHANGES: dict[str, Any] = {
    "deployment_id": "dep_2",
    "vendor_id": None,
    "seq": 3,
    "batch": "ff",
    "rows": 2,
    "rows_sha256": "0" * 64,
    "received_at": NOW,
    "previous": "1" * 64,
}


@pytest.mark.parametrize("field", BODY_CHANGES)
def test_receipt_that_says_something_else_is_caught(field: str):
    """Even when the marketplace itself signs it."""
    receipts, signals = make_chain([3, 3, 3])
    body = ReceiptBody.model_validate_json(receipts[1].payload)
    receipts[1] = issue(SIGNER, body.model_copy(update={field: BODY_CHANGES[field]}))
    assert problems(receipts, signals)


ATTACKS: dict[str, Callable[[list[BatchReceipt], list[Signal]], Any]] = {
    "first receipt removed": lambda receipts, _: receipts.pop(0),
    "receipt removed": lambda receipts, _: receipts.pop(1),
    "last receipt removed": lambda receipts, _: receipts.pop(),
    "receipt twice": lambda receipts, _: receipts.insert(1, receipts[1]),
    "receipts swapped": lambda receipts, _: receipts.insert(0, receipts.pop(1)),
    "signal removed": lambda _, signals: signals.pop(4),
    "signal invented": lambda _, signals: signals.append(make_signal(2, 7)),
    "signal told twice": lambda _, signals: signals.insert(0, signals[4].model_copy(update={"confidence": 0.9})),
    "id written otherwise": lambda _, signals: signals.__setitem__(
        0, signals[0].model_copy(update={"signal_id": "sig_1_00"})
    ),
    "batch invented": lambda _, signals: signals.append(make_signal(9, 0)),
    "signals of two rows swapped": lambda _, signals: signals.__setitem__(
        slice(0, 2),
        [
            signals[0].model_copy(update={"signal_id": "sig_1_1"}),
            signals[1].model_copy(update={"signal_id": "sig_1_0"}),
        ],
    ),
    "payload changed": lambda receipts, _: receipts.__setitem__(
        0, receipts[0].model_copy(update={"payload": receipts[0].payload.replace("ven_1", "ven_2")})
    ),
    "signature of another": lambda receipts, _: receipts.__setitem__(
        0, receipts[0].model_copy(update={"signature": receipts[1].signature})
    ),
    "unknown key": lambda receipts, signals: receipts.__setitem__(
        1, make_receipt(2, signals[3:6], payload_sha256(receipts[0].payload), OTHER)
    ),
    "key of another name": lambda receipts, _: receipts.__setitem__(
        0, receipts[0].model_copy(update={"key_id": OTHER.key_id})
    ),
    "forked": lambda receipts, signals: receipts.__setitem__(1, make_receipt(2, signals[3:6], GENESIS)),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_on_a_chain_is_caught(name: str):
    """Removed, reordered, doubled, forked, forged: each has its problem."""
    receipts, signals = make_chain([3, 3, 3])
    ATTACKS[name](receipts, signals)
    assert problems(receipts, signals)


def test_cut_end_is_caught_by_who_kept_a_receipt():
    """A chain alone can't show that its end is gone; one receipt that was handed out can."""
    receipts, signals = make_chain([3, 3, 3])
    seen = {3: payload_sha256(receipts[2].payload)}
    assert not problems(receipts[:2], signals[:6])
    assert problems(receipts[:2], signals[:6], known=seen)
    assert not problems(receipts, signals, known=seen)


def test_fork_is_caught_by_who_kept_a_receipt():
    """Two chains that both hold, told to two people, are told apart by a receipt of one."""
    receipts, signals = make_chain([3, 3])
    told = [make_signal(2, row_no, confidence=0.9) for row_no in range(3)]
    forked = [receipts[0], make_receipt(2, told, payload_sha256(receipts[0].payload))]
    assert not problems(forked, signals[:3] + told)
    assert problems(forked, signals[:3] + told, known={2: payload_sha256(receipts[1].payload)})


def test_signals_from_before_the_chain_are_counted_and_not_proved():
    """A chain that began later says nothing about them."""
    receipts, signals = make_chain([3])
    old = make_signal(77, 0, received_at=NOW - timedelta(days=30))
    report = verify_chain("dep_1", receipts, [*signals, old], KEYS)
    assert (True, 3, 1) == (report.ok, report.signals, report.before)


def test_nothing_at_all_is_a_chain_of_nothing():
    """No receipts, no signals, no problem."""
    report = verify_chain("dep_1", [], [], KEYS)
    assert (True, GENESIS) == (report.ok, report.head)


def test_signed_payload_of_an_unknown_kind_is_told():
    """A later version's receipt is not taken for good."""
    receipts, _ = make_chain([1])
    odd = '{"receipt_version":"9"}'
    signature = SIGNER.sign("mp-kit/receipt/v1", odd.encode())
    found = problems([receipts[0].model_copy(update={"payload": odd, "signature": signature})], [])
    assert "does not read" in found[0]


def test_signature_for_a_manifest_is_none_for_a_receipt():
    """The purpose is part of what is signed."""
    receipt = make_chain([1])[0][0]
    signed = SIGNER.sign_manifest(receipt.payload.encode())
    assert not check(receipt.model_copy(update={"signature": signed.signature}), KEYS).ok


@settings(max_examples=60)
@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=5), data=st.data())
def test_any_bit_of_a_payload_matters(sizes: list[int], data: st.DataObject):
    """A chain holds as it is; with any one character of any receipt changed it doesn't."""
    receipts, signals = make_chain(sizes)
    assert not problems(receipts, signals)
    which = data.draw(st.integers(0, len(receipts) - 1))
    payload = receipts[which].payload
    at = data.draw(st.integers(0, len(payload) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda char: char != payload[at]))
    receipts[which] = receipts[which].model_copy(update={"payload": payload[:at] + other + payload[at + 1 :]})
    assert problems(receipts, signals)


@settings(max_examples=60)
@given(sizes=st.lists(st.integers(1, 4), min_size=2, max_size=6), data=st.data())
def test_any_other_order_or_subset_is_caught(sizes: list[int], data: st.DataObject):
    """Only the whole chain in its order holds, among all arrangements of its receipts."""
    receipts, signals = make_chain(sizes)
    order = data.draw(st.lists(st.integers(0, len(receipts) - 1), min_size=1, max_size=len(receipts) + 1))
    arranged = [receipts[place] for place in order]
    good = order == [*range(len(receipts))]
    assert good is not bool(problems(arranged, signals))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(value=json_values)
def test_canonical_json_is_stable(value: Any):
    """Reading it and writing it again changes nothing."""
    text = canonical_json(value)
    assert text == (None if text is None else canonical_json(json.loads(text)) if text != "null" else text)

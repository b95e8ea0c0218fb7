"""Checks a deployment's chain of receipts against its signals, offline and without trusting the marketplace.

A chain is good when

1. every signature holds over the receipt's exact bytes, by a trusted key;
2. the numbers are 1, 2, 3 … without a gap or a twin, and each ``previous`` is the hash of the receipt before;
3. the signals are exactly those that the receipts cover, field by field;
4. every receipt that was handed out before is still in it: a chain alone can't show that its end was cut off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from mp_kit.contracts.receipts import BatchReceipt, ReceiptBody
from mp_kit.contracts.rounds import SigningKey
from mp_kit.contracts.signals import Signal
from mp_kit.receipts import GENESIS, canonical_json, check, payload_sha256, rows_sha256


@dataclass(frozen=True)
class ChainReport:
    """What checking one deployment's chain found.

    Args:
        deployment_id: Whose chain.
        receipts: Receipts that hold.
        signals: Signals that hash into their receipts.
        before: Signals from before the chain began; nothing proves them.
        problems: A sentence for each thing that is wrong.
        head: Hash of the last receipt that holds: who keeps it can tell later that nothing was taken away.
    """

    deployment_id: str
    receipts: int
    signals: int
    before: int
    problems: Sequence[str]
    head: str

    @property
    def ok(self) -> bool:
        """Nothing is wrong."""
        return not self.problems


def verify_chain(
    deployment_id: str,
    receipts: Sequence[BatchReceipt],
    signals: Iterable[Signal],
    keys: Mapping[str, SigningKey],
    *,
    known: Mapping[int, str] | None = None,
) -> ChainReport:
    """Checks a whole chain against all of a deployment's signals; pure.

    Args:
        deployment_id: Whose chain it is said to be.
        receipts: All of its receipts, first to last.
        signals: All of its signals, in any order.
        keys: Public keys that are trusted, by id.
        known: Hashes of receipts that were handed out before, by their number.
    """
    bodies, problems = read_chain(deployment_id, receipts, keys)
    hashes = [payload_sha256(receipt.payload) for receipt in receipts[: len(bodies)]]
    for seq, expected in sorted((known or {}).items()):
        if len(hashes) < seq or hashes[seq - 1] != expected:
            problems.append(f"receipt {seq} is not the one that was handed out before: the chain was cut or forked")
    left = by_batch(signals, problems)
    covered = 0
    for body in bodies:
        rows = left.pop(body.batch, {})
        wrong = unlike(body, rows)
        if wrong:
            problems.append(f"receipt {body.seq}: {wrong}")
        covered += 0 if wrong else len(rows)
    unproved = [signal for rows in left.values() for signal in rows.values()]
    orphans = [signal for signal in unproved if bodies and signal.received_at >= bodies[0].received_at]
    if orphans and len(bodies) == len(receipts):  # behind a broken receipt nothing can be told
        problems.append(f"{len(orphans)} signals have no receipt, {orphans[0].signal_id} among them")
    head = hashes[-1] if hashes else GENESIS
    return ChainReport(deployment_id, len(bodies), covered, len(unproved) - len(orphans), tuple(problems), head)


def read_chain(
    deployment_id: str,
    receipts: Sequence[BatchReceipt],
    keys: Mapping[str, SigningKey],
    *,
    first: int = 1,
    previous: str = GENESIS,
) -> tuple[list[ReceiptBody], list[str]]:
    """What receipts of a chain say, up to the first one that does not hold: what follows it proves nothing.

    Args:
        deployment_id: Whose chain it is said to be.
        receipts: Some that follow each other.
        keys: Public keys that are trusted, by id.
        first: The number of the first of them.
        previous: The hash of the receipt before it.
    """
    bodies: list[ReceiptBody] = []
    for place, receipt in enumerate(receipts, first):
        held = check(receipt, keys)
        if not held.ok:
            return bodies, [f"receipt {place}: {held.reason}"]
        try:
            body = ReceiptBody.model_validate_json(receipt.payload)
        except ValidationError:
            return bodies, [f"receipt {place}: signed, but of a kind that this version does not read"]
        if wrong := _out_of_place(body, deployment_id, place, previous):
            return bodies, [f"receipt {place}: {wrong}"]
        previous = payload_sha256(receipt.payload)
        bodies.append(body)
    return bodies, []


def _out_of_place(body: ReceiptBody, deployment_id: str, place: int, previous: str) -> str:
    if body.deployment_id != deployment_id:
        return f"it belongs to deployment {body.deployment_id}"
    if body.seq != place:
        return f"it bears the number {body.seq}: receipts are missing, twice there, or out of order"
    if body.previous != previous:
        return "it does not follow the one before it: the chain is forked"
    return ""


def by_batch(signals: Iterable[Signal], problems: list[str]) -> dict[str, dict[int, Signal]]:
    """Signals by batch and row, as their ids say; one of a foreign form is a batch of its own that no receipt has."""
    found: dict[str, dict[int, Signal]] = {}
    for signal in signals:
        _, _, place = signal.signal_id.partition("_")
        batch, _, digits = place.rpartition("_")
        row_no = int(digits) if digits.isdecimal() else -1
        if signal.signal_id != f"sig_{batch}_{row_no}":
            batch, row_no = signal.signal_id, 0
        if row_no in found.setdefault(batch, {}):
            problems.append(f"{signal.signal_id} is there twice")
        found[batch][row_no] = signal
    return found


def unlike(body: ReceiptBody, rows: Mapping[int, Signal]) -> str:
    """How the batch's signals differ from what the receipt covers; empty when they don't."""
    if len(rows) != body.rows:
        return f"it covers {body.rows} signals of batch {body.batch}, and {len(rows)} are there"
    for signal in rows.values():
        if signal.received_at != body.received_at or (signal.vendor_id, _sender(signal)) != (
            body.vendor_id,
            body.deployment_id,
        ):
            return f"{signal.signal_id} has another time of receipt, vendor or deployment"
    if rows_sha256(columns_of(rows)) != body.rows_sha256:
        return f"the signals of batch {body.batch} are not those that were stored"
    return ""


def _sender(signal: Signal) -> str:
    return signal.deployment_id or "house"


def columns_of(rows: Mapping[int, Signal]) -> dict[str, list[object]]:
    """A batch's signals, by row number, as :func:`mp_kit.receipts.rows_sha256` takes them."""
    numbers = sorted(rows)
    signals = [rows[number] for number in numbers]
    return {
        "row_no": [*numbers],
        "symbol": [signal.symbol for signal in signals],
        "timeframe": [signal.timeframe.value for signal in signals],
        "event_time": [signal.event_time for signal in signals],
        "timestamp": [signal.timestamp for signal in signals],
        "decision": [signal.decision.value for signal in signals],
        "confidence": [signal.confidence for signal in signals],
        "model_version": [signal.model_version for signal in signals],
        "model_id": [signal.model_id for signal in signals],
        "late": [signal.late for signal in signals],
        "rationale": [canonical_json(signal.rationale) for signal in signals],
        "metadata": [canonical_json(signal.metadata) for signal in signals],
    }

"""Signals, exactly once.

1. A signal's identity is (deployment, symbol, timeframe, event_time, model_version), unique in the database.
2. A batch is one statement, sorted by the key; what was there already is looked up and told apart: ``duplicate``
   (same decision and confidence) or ``conflict`` (another: kept out).
3. The token decides the attribution; a row that claims otherwise fails the whole request.
4. The answer is sent after the commit; sending the batch again is harmless.
5. What a batch adds is signed and chained in the same transaction (``services/receipts.py``); the answer bears it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np

from mp_kit.contracts import Signal, check_idempotency_key
from mp_kit.errors import ForbiddenError, InvalidInputError
from mp_kit.server import clock
from mp_kit.server.services import receipts, webhook_events
from mp_kit.server.services.ids import new_batch_id, signal_id
from mp_kit.server.services.signal_outcome import ACCEPTED, CONFLICT, DUPLICATE, REJECTED, Outcome
from mp_kit.server.services.signal_reading import Items, Reading, Rules
from mp_kit.server.services.signal_reading import read as read_items
from mp_kit.server.services.tokens import Principal
from mp_kit.server.store import signals as rows
from mp_kit.server.store.engine import Tx
from mp_kit.server.store.signal_columns import Columns, instant
from mp_kit.server.store.tables import HOUSE
from mp_kit.signing import Signer

MAX_DETAILS = 100


@dataclass(frozen=True)
class Batch:
    """A batch as it came.

    Args:
        items: Its rows, or an Arrow table of them.
        body: The exact bytes, to tell a repeat from another batch under the same key.
        key: The idempotency key, if one was sent.
        atomic: Store all rows or none.
    """

    items: Items
    body: bytes
    key: str | None = None
    atomic: bool = False


def store(tx: Tx, who: Principal, batch: Batch, *, signer: Signer, grace: timedelta = timedelta(minutes=5)) -> Outcome:
    """Stores a batch and says what became of each row.

    Args:
        tx: The batch's transaction.
        who: The bearer.
        batch: What came.
        signer: Signs the receipt.
        grace: How long after its bar a signal is not late yet.

    Raises:
        ForbiddenError: The bearer may not push signals.
        AttributionError: A row claims another vendor or deployment than the token's.
        InvalidInputError: No batch at all; or ``atomic`` and not every row can be stored.
        MalformedJsonError: A value of an Arrow table cannot be read.
    """
    deployment_id = _deployment_of(who)
    key = check_idempotency_key(batch.key)
    digest = hashlib.sha256(batch.body).digest()
    before = rows.find_batch(tx, deployment_id, key) if key else None
    if before is not None and bytes(before.body_sha256) == digest:
        return Outcome.unpack(before.answer)
    now = clock.now()
    symbols = who.scope.get("symbols")
    read = read_items(batch.items, Rules(now, grace, deployment_id, who.vendor_id, symbols, who.model_id))
    head = rows.Head(new_batch_id(), deployment_id, who.vendor_id, now)
    outcome = _store_rows(tx, head, read, reused=before is not None)
    if batch.atomic:
        _require_all(outcome)
    if outcome.accepted:
        added = read.good.take(np.flatnonzero(outcome.status[read.good.row_no] == ACCEPTED))
        outcome = replace(outcome, receipt=receipts.chain(tx, signer, head, added))
        webhook_events.signals_stored(tx, head, outcome, added)
    return _note(tx, head, read.good, outcome, None if before is not None else key, digest)


def _deployment_of(who: Principal) -> str:
    if who.kind == "operator":
        return HOUSE
    if who.kind != "deployment" or who.deployment_id is None:
        raise ForbiddenError(
            "Signals are pushed with a deployment's token (sit_…).", hint="Get one: mp link-infra DEPLOYMENT"
        )
    if "signals:store" not in who.scope.get("routes", ()):
        raise ForbiddenError("This token's scope does not cover storing signals.")
    return who.deployment_id


def _store_rows(tx: Tx, head: rows.Head, read: Reading, *, reused: bool) -> Outcome:
    good = read.good
    count = len(good) + len(read.bad)
    status = np.full(count, REJECTED, np.int8)
    batch_ids, stored_rows, late = np.zeros(count, np.int64), np.arange(count), np.zeros(count, bool)
    status[good.row_no], batch_ids[good.row_no], late[good.row_no] = ACCEPTED, head.batch_id, good.late
    errors = dict(read.bad)
    for known in rows.insert(tx, head, good) if len(good) else ():
        status[known.row_no] = DUPLICATE if known.same else CONFLICT
        batch_ids[known.row_no], stored_rows[known.row_no] = known.batch_id, known.stored_row_no
        late[known.row_no] = known.late
        if not known.same:
            errors[known.row_no] = f"{known.decision} with {known.confidence} stands: a signal is never rewritten"
    return Outcome(status, batch_ids, stored_rows, late, errors, reused)


def _require_all(outcome: Outcome) -> None:
    """Raising rolls the whole batch back: duplicates are stored already, so only they may stand beside new rows."""
    if outcome.errors:
        details: list[Mapping[str, Any]] = [
            {"loc": [index], "msg": outcome.errors[index]} for index in sorted(outcome.errors)[:MAX_DETAILS]
        ]
        raise InvalidInputError(
            f"{len(outcome.errors)} of {len(outcome)} signals cannot be stored, so none was (atomic=true).",
            details=details,
        )


def _note(tx: Tx, head: rows.Head, good: Columns, outcome: Outcome, key: str | None, digest: bytes) -> Outcome:
    """Notes the batch; returns the answer, which is the first one's where the same batch came twice at once."""
    values = {
        "id": head.batch_id,
        "deployment_id": head.deployment_id,
        "idempotency_key": key,
        "body_sha256": digest,
        "answer": outcome.pack() if key else None,
        "rows": len(outcome),
        "accepted": outcome.accepted,
        "first_event": instant(int(good.event_time.min())) if len(good) else None,
        "last_event": instant(int(good.event_time.max())) if len(good) else None,
        "received_at": head.received_at,
    }
    if rows.insert_batch_row(tx, values):
        return outcome
    # Somebody used the key while we worked: the rows are exactly once by themselves, the key stays theirs.
    first = rows.find_batch(tx, head.deployment_id, key or "")
    if first is not None and bytes(first.body_sha256) == digest and not outcome.accepted:
        return Outcome.unpack(first.answer)
    rows.insert_batch_row(tx, values | {"idempotency_key": None, "answer": None})
    return replace(outcome, reused=True)


def list_page(tx: Tx, filters: Mapping[str, Any]) -> list[Any]:
    """A page of signals as stored, newest bar first; ``vendor_id`` None means everybody's (the operator only)."""
    return list(rows.list_page(tx, filters))


def to_wire(row: Any) -> Signal:
    """A stored signal as the wire shows it."""
    facts = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public way to a row's mapping
    house = row.deployment_id == HOUSE
    return Signal.model_validate(
        facts
        | {
            "signal_id": signal_id(row.batch_id, row.row_no),
            "timestamp": row.ts,
            "deployment_id": None if house else row.deployment_id,
        }
    )

"""The outbox: what happened, written in the deed's own transaction, for those who want to hear of it.

1. An event stands if, and only if, its deed does. Nothing is sent here, and nobody waits for anybody.
2. One statement per event, and nothing is written where no endpoint wants it; what happens often wakes nobody.
   Batches of signals do not even ask: whose vendors want to hear of them is remembered for a second, so that a new
   endpoint hears of batches from a second after it was made.
3. A vendor's events go to that vendor's endpoints alone; public ones to whoever wants them; of a report
   those hear whose eyes it is for.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, Row

from mp_kit.contracts import WebhookEventType
from mp_kit.server import clock
from mp_kit.server.services.ids import new_id
from mp_kit.server.services.signal_outcome import Outcome
from mp_kit.server.store import webhooks as rows
from mp_kit.server.store.engine import Tx
from mp_kit.server.store.signal_columns import Columns, instant
from mp_kit.server.store.signals import Head

__all__ = ["consensus_updated", "emit", "message", "report_finished", "signals_stored", "wanting_changed"]

_MOST_SYMBOLS = 100
_REMEMBER_SECONDS = 1.0
_remembered: WeakKeyDictionary[Engine, tuple[float, frozenset[str]]] = WeakKeyDictionary()
_FREQUENT = frozenset({WebhookEventType.SIGNAL_STORED})


def emit(tx: Tx, kind: WebhookEventType, vendor_id: str | None, **data: Any) -> int:
    """Writes an event for the endpoints that want it.

    Args:
        tx: The deed's transaction.
        kind: What happened.
        vendor_id: Whose event it is; public kinds are everybody's, whoever did the deed.
        **data: The event's facts: ids and counts, never a secret, never what a vendor keeps to itself.

    Returns:
        How many endpoints will hear of it.
    """
    if vendor_id is None and not kind.is_public:
        return 0  # the house's own: nobody's endpoint
    told = rows.emit(tx, message(kind, None if kind.is_public else vendor_id, data))
    if told and kind not in _FREQUENT:
        rows.wake(tx)
    return told


def wanting_changed() -> None:
    """An endpoint was made, or enabled, by this process: what it remembers is old."""
    _remembered.clear()


def _wanting(tx: Tx) -> frozenset[str]:
    """Vendors that want to hear of batches of signals, as of a second ago at most."""
    known, now = _remembered.get(tx.engine), time.monotonic()
    if known is None or now - known[0] > _REMEMBER_SECONDS:
        known = now, rows.wanting(tx, WebhookEventType.SIGNAL_STORED.value)
        _remembered[tx.engine] = known
    return known[1]


def signals_stored(tx: Tx, head: Head, outcome: Outcome, added: Columns) -> int:
    """A batch of a vendor's signals: how many, of which deployment and bars; nothing that they say.

    Args:
        tx: The batch's transaction.
        head: Whose batch it is.
        outcome: What became of its rows.
        added: The rows that were new, one at least.
    """
    if head.vendor_id not in _wanting(tx):
        return 0
    return emit(
        tx,
        WebhookEventType.SIGNAL_STORED,
        head.vendor_id,
        deployment_id=head.deployment_id,
        accepted=outcome.accepted,
        rows=len(outcome),
        first_bar=instant(int(added.event_time.min())),
        last_bar=instant(int(added.event_time.max())),
    )


def consensus_updated(tx: Tx, bars: Sequence[Row[Any]]) -> int:
    """Bars that one transaction blended: how many, and of what; nothing where there are none.

    Args:
        tx: The blend's transaction.
        bars: Rows with symbol, timeframe and event_time.
    """
    if not bars:
        return 0
    return emit(
        tx,
        WebhookEventType.CONSENSUS_UPDATED,
        None,
        bars=len(bars),
        symbols=sorted({bar.symbol for bar in bars})[:_MOST_SYMBOLS],
        timeframes=sorted({bar.timeframe for bar in bars}),
        first_bar=min(bar.event_time for bar in bars),
        last_bar=max(bar.event_time for bar in bars),
    )


def report_finished(tx: Tx, audience: str, vendor_id: str | None, /, **data: Any) -> int:
    """A report ended: told to everybody, to its vendor, or to the operator's endpoints alone.

    Args:
        tx: The transaction that notes it.
        audience: Whose eyes the report is for.
        vendor_id: The vendor whose it is.
        **data: Its id, name, audience and page; nothing that it says.
    """
    event = message(WebhookEventType.REPORT_FINISHED, vendor_id, data)
    told = rows.emit(tx, event, house_only=audience == "operator")
    if told:
        rows.wake(tx)
    return told


def message(kind: WebhookEventType, vendor_id: str | None, data: dict[str, Any]) -> dict[str, Any]:
    """An event's row; its body is what is sent, byte by byte, however often."""
    body = {"type": kind.value, "timestamp": _instant(clock.now()), "data": data}
    return {
        "id": new_id("msg"),
        "type": kind.value,
        "vendor_id": vendor_id,
        "body": json.dumps(body, separators=(",", ":"), default=_plain),
    }


def _plain(value: Any) -> str:
    return _instant(value) if isinstance(value, datetime) else str(value)


def _instant(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")

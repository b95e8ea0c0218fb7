"""Being asked, the vendor's side: wanting it, how it stands in words, what became of each bar.

1. A deployment that its vendor runs is asked at a URL of the vendor's; it is checked when it is stored, outside of any
   transaction, and again before each call. One that the marketplace runs is asked where its provider said.
2. Saying that it is wanted, or where, closes the breaker: who mended a server need not wait.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row

from mp_kit.contracts import Poll, PollBreaker, Polling, PollWish, Task
from mp_kit.errors import ConflictError, InvalidInputError, RateLimitedError
from mp_kit.server.providers.addresses import AddressGuard
from mp_kit.server.services import audit
from mp_kit.server.services.poll_breaker import Breaker
from mp_kit.server.store import models as model_rows
from mp_kit.server.store import polling as rows
from mp_kit.server.store.engine import Tx

__all__ = ["KEPT_DAYS", "change", "check_url", "forget", "polls_of", "sentence", "to_wire"]

KEPT_DAYS = 30
_FORGET_AT_ONCE = 50_000
_CHECKS = threading.BoundedSemaphore(2)  # a name that resolves slowly must not hold every handler
_CLOSED = {"failures": 0, "opens": 0, "retry_at": None}


def check_url(guard: AddressGuard, wish: PollWish) -> None:
    """Refuses a URL that the marketplace must not send to; no transaction may be open.

    Raises:
        InvalidInputError: The sentence says which rule.
        RateLimitedError: Too many URLs are being checked at once.
    """
    if wish.infer_url is None:
        return
    if not _CHECKS.acquire(blocking=False):
        raise RateLimitedError("Too many URLs are being checked at once.", retry_after=2)
    try:
        guard.check(wish.infer_url)
    except InvalidInputError as refused:
        details = [{"loc": ["infer_url"], "msg": one["msg"]} for one in refused.details]
        raise InvalidInputError(refused.message, hint=refused.hint, details=details) from None
    finally:
        _CHECKS.release()


def change(tx: Tx, deployment: Row[Any], hosting: Row[Any] | None, wish: PollWish, *, actor: str) -> None:
    """Says whether, where and about what a deployment is asked from now on.

    Raises:
        InvalidInputError: It has no address, or one too many; or its model does not answer to bars.
        ConflictError: It is removed.
    """
    known = rows.seen(tx, deployment.vendor_id, deployment.id).get(deployment.id)
    values: dict[str, Any] = {"poll": known.poll if known is not None else False}
    values |= {} if wish.poll is None else {"poll": wish.poll}
    values |= {} if wish.infer_url is None else {"infer_url": wish.infer_url}
    values |= {} if wish.poll_symbols is None else {"symbols": sorted(set(wish.poll_symbols)) or None}
    if wish.poll_timeframes is not None:
        values["timeframes"] = sorted({one.value for one in wish.poll_timeframes}) or None
    _require_address(hosting, values.get("infer_url") or (known.infer_url if known is not None else None), values)
    if values["poll"]:
        _require_signals(tx, deployment)
    if wish.poll or wish.infer_url is not None:
        values |= _CLOSED
    rows.put(tx, deployment.id, deployment.vendor_id, values)
    said = wish.model_dump(mode="json", include={"poll", "poll_symbols", "poll_timeframes"}, exclude_none=True)
    audit.record(tx, actor, "deployment.poll", deployment.id, **said, url_changed=wish.infer_url is not None)


def _require_address(hosting: Row[Any] | None, url: str | None, values: Mapping[str, Any]) -> None:
    if hosting is None:
        if values["poll"] and url is None:
            raise InvalidInputError(
                "The marketplace does not know where this deployment answers.",
                hint="Say so with infer_url: mp deployments poll NAME --url https://models.example.com/infer",
                details=[{"loc": ["infer_url"], "msg": "missing"}],
            )
        return
    if hosting.wanted == "removed":
        raise ConflictError(f"Deployment {hosting.deployment_id} is removed.", hint="Deploy anew: mp deploy.")
    if url is not None:
        raise InvalidInputError(
            "The marketplace runs this server and knows its address: infer_url is for deployments that you run.",
            details=[{"loc": ["infer_url"], "msg": "not for a server that the marketplace runs"}],
        )


def _require_signals(tx: Tx, deployment: Row[Any]) -> None:
    model = model_rows.find_model(tx, deployment.vendor_id, deployment.model_id) if deployment.model_id else None
    if model is not None and model.task != Task.SIGNAL:
        raise InvalidInputError(
            f"Only models that answer to bars are asked, and this one is for {model.task}.",
            details=[{"loc": ["poll"], "msg": f"the model's task is {model.task}"}],
        )


def breaker_of(row: Row[Any]) -> Breaker:
    """The breaker as stored."""
    return Breaker(row.failures, row.opens, row.retry_at)


def to_wire(row: Row[Any]) -> Polling:
    """How a deployment stands with being asked, as the wire shows it; of :func:`rows.seen`."""
    return Polling(
        poll=row.poll,
        infer_url=row.infer_url,
        symbols=row.symbols,
        timeframes=row.timeframes,
        breaker=breaker_of(row).state(row.at),
        failures=row.failures,
        retry_at=row.retry_at,
        last_at=row.last_at,
        last_outcome=row.last_outcome,
        last_reason=row.last_reason,
        calls_today=row.calls or 0,
        calls_per_day=row.most_calls,
        seconds_today=(row.milliseconds or 0) / 1000,
        seconds_per_day=None if row.most_milliseconds is None else row.most_milliseconds / 1000,
        exhausted=bool(row.exhausted),
    )


def sentence(polling: Polling) -> str:
    """The same in a sentence; nothing where it is not wanted."""
    if not polling.poll:
        return ""
    if polling.exhausted:
        spent = f"{polling.calls_today} calls, {polling.seconds_today:.0f} s of waiting"
        return f"It is not asked until 00:00 UTC: today's budget is used up ({spent})."
    if polling.breaker is PollBreaker.CLOSED:
        return "It is asked at each bar's close."
    why = f"{polling.failures} calls in a row failed (the last: {polling.last_reason})"
    if polling.breaker is PollBreaker.HALF_OPEN or polling.retry_at is None:
        return f"It is asked once more, to see whether it answers: {why}."
    return f"It is not asked until {_clock(polling.retry_at)}: {why}."


def polls_of(tx: Tx, deployment_id: str, limit: int) -> list[Poll]:
    """The bars that a deployment was asked about, the latest call first."""
    return [Poll.model_validate(dict(row._mapping)) for row in rows.of_deployment(tx, deployment_id, limit)]  # noqa: SLF001 - SQLAlchemy's public way to a row's mapping


def forget(tx: Tx, now: datetime) -> int:
    """Forgets polls that are older than 30 days; returns how many."""
    return rows.forget(tx, now - timedelta(days=KEPT_DAYS), _FORGET_AT_ONCE)


def _clock(moment: datetime) -> str:
    return f"{moment:%H:%M:%S} UTC"

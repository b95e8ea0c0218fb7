"""Adds up what became of a push's requests, or of what waited."""

from __future__ import annotations

from collections.abc import Sequence

from mp_kit.client.outbox import Letter, Outbox
from mp_kit.client.pushes import FlushResult, PushResult
from mp_kit.client.sending import Outcome, Sent
from mp_kit.contracts.signals import SignalReceipt, SignalWrite, StoreResult
from mp_kit.errors import AuthError, MarketplaceError

_RENEW = (
    "Issue a new token: m.deployments.token(deployment_id, rotate=True), or mp link-infra --deployment ID --rotate."
)


def push_result(
    writes: Sequence[SignalWrite], told: Sequence[tuple[Letter, Outcome | None]], sent: Sent | None = None
) -> PushResult:
    """Adds up the answers of a push's letters.

    Raises:
        MarketplaceError: A letter was refused for good, or nothing can be sent until somebody mends something.
    """
    receipts: list[SignalReceipt] = []
    stored: list[StoreResult] = []
    start = pending = 0
    for letter, outcome in told:
        if isinstance(outcome, MarketplaceError):
            raise outcome
        if outcome is None:
            pending += letter.rows
        else:
            stored.append(outcome)
            receipts += [one.model_copy(update={"index": one.index + start}) for one in outcome.receipts]
        start += letter.rows
    stopped = sent.stopped if sent is not None else None
    if pending and stopped is not None and not stopped.retryable:
        raise _told(stopped, pending)
    return PushResult(
        accepted=sum(one.accepted for one in stored),
        duplicates=sum(one.duplicates for one in stored),
        conflicts=sum(one.conflicts for one in stored),
        rejected=sum(one.rejected for one in stored),
        receipts=receipts,
        pending=pending,
        reason=(stopped.message if stopped else "another process is sending") if pending else None,
        batch_receipts=[one.batch_receipt for one in stored if one.batch_receipt is not None],
        _writes=writes,
    )


def flush_result(box: Outbox, sent: Sent, reason: str | None) -> FlushResult:
    """What a flush did, and what still waits."""
    stored = [one for one in sent.outcomes.values() if isinstance(one, StoreResult)]
    waits = sum(one.rows for one in box.waiting())
    return FlushResult(
        accepted=sum(one.accepted for one in stored),
        duplicates=sum(one.duplicates for one in stored),
        refused=sent.refused,
        pending=waits,
        reason=(sent.stopped.message if sent.stopped else reason) if waits else None,
    )


def add(one: FlushResult, other: FlushResult) -> FlushResult:
    """Two flushes as one."""
    return FlushResult(
        one.accepted + other.accepted,
        one.duplicates + other.duplicates,
        one.refused + other.refused,
        one.pending + other.pending,
        one.reason or other.reason,
    )


def waiting_error(error: MarketplaceError, box: Outbox) -> MarketplaceError:
    """The error with a word about what waits."""
    return _told(error, sum(one.rows for one in box.waiting()))


def _told(error: MarketplaceError, count: int) -> MarketplaceError:
    """The same error, with a word about what waits. A token that pushes is a deployment's: nobody signs in as one."""
    mend = _RENEW if isinstance(error, AuthError) else error.hint
    hint = f"{mend} {count:,} signals wait in the outbox: `mp signals flush` sends them then.".strip()
    return type(error)(error.message, hint=hint, details=error.details, request_id=error.request_id)

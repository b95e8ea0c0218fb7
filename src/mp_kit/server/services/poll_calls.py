"""One call: claimed before it is made, and noted with its answer's signal in one transaction.

1. A bar of a deployment is one row. Who claims it holds a lease; who dies loses it, and another call may be made, so
   many times at most. An answer whose claim is over is dropped: nothing of it is stored.
2. A call is paid from its vendor's day before it is made, at its longest; what it did not wait is given back, and what
   it took longer, to find its address for instance, is taken as well.
3. The answer is stored as the deployment's own push would be: the same rules, receipt and events. It is refused if it
   speaks for another version than the deployment serves.
4. Nothing that a server sent stands in a reason, but a version's name.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, NoReturn

from pydantic import ValidationError
from sqlalchemy import Row

from mp_kit.contracts import InferResponse, PollOutcome, WebhookEventType
from mp_kit.errors import InvalidInputError
from mp_kit.server.providers.inference import Said
from mp_kit.server.services import signals
from mp_kit.server.services.poll_breaker import Breaker, Rules
from mp_kit.server.services.tokens import Principal
from mp_kit.server.services.webhook_events import emit
from mp_kit.server.store import polling as rows
from mp_kit.server.store.engine import Tx
from mp_kit.server.store.polling import Bar
from mp_kit.server.store.vendors import now as stored_now
from mp_kit.signing import Signer

__all__ = ["Budget", "Claim", "Noted", "Refusal", "Terms", "claim", "note", "read_answer"]

_LONGEST_NAME = 80


class Refusal(StrEnum):
    """Why a bar is not asked about now."""

    OFF = "it is not asked any more"
    BREAKER = "its last calls failed"
    BUDGET = "its vendor's budget of today is used up"
    TAKEN = "somebody else has it"


@dataclass(frozen=True)
class Budget:
    """What a vendor's day, in UTC, is worth: calls, and seconds of waiting for answers."""

    calls_per_day: int = 20_000
    seconds_per_day: float = 7_200.0


@dataclass(frozen=True)
class Terms:
    """On what terms bars are asked about.

    Args:
        budget: Of each vendor.
        breaker: When a deployment is left alone.
        attempts: Calls about one bar at most.
        call_seconds: A call's deadline.
        lease_seconds: How long a claim lasts; longer than any call, its name's resolution and its storing.
        grace: How long after its bar a signal is not late yet.
    """

    budget: Budget = field(default_factory=Budget)
    breaker: Rules = field(default_factory=Rules)
    attempts: int = 4
    call_seconds: float = 10.0
    lease_seconds: float = 120.0
    grace: timedelta = timedelta(minutes=5)

    @property
    def call_milliseconds(self) -> int:
        """A call's longest wait, as it is paid."""
        return int(self.call_seconds * 1_000)


@dataclass(frozen=True)
class Claim:
    """The right to ask about a bar.

    Args:
        bar: Which.
        vendor_id: Whose day pays.
        lock_token: Proves it.
        probe: It is the one call of a half-open breaker.
    """

    bar: Bar
    vendor_id: str
    lock_token: str
    probe: bool


@dataclass(frozen=True)
class Noted:
    """What became of a call."""

    outcome: PollOutcome
    reason: str | None = None
    late: bool | None = None


def claim(tx: Tx, bar: Bar, terms: Terms) -> Claim | Refusal:
    """Takes a bar, and its call from the vendor's day. The deployment's lock makes the steps one."""
    row = rows.lock(tx, bar.deployment_id)
    if row is None or not row.poll or row.vendor_status != "active" or row.wanted != "running":
        return Refusal.OFF
    if row.is_left_alone:
        return Refusal.BREAKER
    if not rows.unasked(tx, [bar], terms.attempts):
        return Refusal.TAKEN
    budget, longest = terms.budget, int(terms.budget.seconds_per_day * 1_000)
    if not rows.spend(tx, row.vendor_id, terms.call_milliseconds, calls=budget.calls_per_day, longest=longest):
        return Refusal.BUDGET
    token = secrets.token_hex(8)
    rows.claim(tx, bar, row.vendor_id, lock_token=token, lease=terms.lease_seconds)
    if row.opens:  # until this call is noted, or its lease is over, there is no second one
        rows.change(tx, bar.deployment_id, {"retry_at": stored_now(tx) + timedelta(seconds=terms.lease_seconds)})
    return Claim(bar, row.vendor_id, token, probe=bool(row.opens))


def note(tx: Tx, signer: Signer, claimed: Claim, said: Said, terms: Terms) -> Noted | None:
    """Stores the answer's signal, and what became of the call; None where the claim is over, and nothing counts.

    Args:
        tx: One transaction: all of it stands, or nothing.
        signer: Signs the receipt.
        claimed: What :func:`claim` gave.
        said: What the server said.
        terms: When the breaker opens, and until when a signal is in time.

    Raises:
        InvalidInputError: The database cannot hold the signal.
    """
    row = rows.lock(tx, claimed.bar.deployment_id)
    held = rows.hold(tx, claimed.bar, claimed.lock_token)
    if row is None or held is None:
        return None
    noted = _stored(tx, signer, row, claimed.bar, said, terms)
    again = said.passes and held.attempts < terms.attempts
    facts = {"outcome": noted.outcome.value, "reason": noted.reason}
    call = {"state": "again" if again else "done", "http_status": said.status, "milliseconds": said.milliseconds}
    rows.note(tx, claimed.bar, facts | call | {"late": noted.late})
    told = {"last_at": held.asked_at, "last_outcome": noted.outcome.value, "last_reason": noted.reason}
    rows.change(tx, row.deployment_id, told | _breaker(tx, row, noted, terms.breaker, probe=claimed.probe))
    rows.refund(tx, row.vendor_id, held.asked_at, terms.call_milliseconds - said.milliseconds)
    return noted


def read_answer(body: bytes, version: str | None) -> InferResponse:
    """Reads a server's answer.

    Args:
        body: As it came.
        version: The one that must have answered; any where it is None.

    Raises:
        InvalidInputError: It is no JSON, breaks the contract, or is another version's.
    """
    try:
        document = json.loads(body, parse_constant=_refuse_constant)
        answer = InferResponse.model_validate(document)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in found["loc"]) or "the answer"
        raise InvalidInputError(f"its answer breaks the contract: {where}: {found['msg']}") from None
    except (ValueError, RecursionError):
        raise InvalidInputError("its answer is no JSON") from None
    if version is not None and answer.model_version != version:
        named = answer.model_version[:_LONGEST_NAME]
        raise InvalidInputError(
            f"it answered as version {named!a}, and the deployment serves {version!a}: "
            "set MODEL_VERSION, or register and deploy that version"
        )
    return answer


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _stored(tx: Tx, signer: Signer, row: Row[Any], bar: Bar, said: Said, terms: Terms) -> Noted:
    if said.body is None:
        return Noted(PollOutcome.FAILED, said.reason)
    try:
        answer = read_answer(said.body, row.version)
    except InvalidInputError as error:
        return Noted(PollOutcome.FAILED, error.message)
    if row.vendor_status != "active":
        return Noted(PollOutcome.REJECTED, f"the vendor is {row.vendor_status}")
    if row.wanted == "removed":
        return Noted(PollOutcome.REJECTED, "the deployment was removed meanwhile")
    where = {"symbol": bar.symbol, "timeframe": bar.timeframe, "event_time": bar.event_time.isoformat()}
    batch = [answer.model_dump(mode="json", exclude_none=True) | where]
    sent = signals.Batch(items=batch, body=json.dumps(batch).encode())
    [receipt] = signals.store(tx, _bearer(row), sent, signer=signer, grace=terms.grace).receipts
    late = None if receipt.signal_id is None else bool(receipt.late)
    return Noted(PollOutcome(receipt.status.value), receipt.error, late)


def _bearer(row: Row[Any]) -> Principal:
    """Who speaks: the deployment, as its own token would have it, for this one route."""
    return Principal(
        kind="deployment",
        vendor_id=row.vendor_id,
        deployment_id=row.deployment_id,
        model_id=row.model_id,
        scope={"routes": ["signals:store"], "deployment": row.deployment_id},
    )


def _breaker(tx: Tx, row: Row[Any], noted: Noted, rules: Rules, *, probe: bool) -> dict[str, Any]:
    """What the outcome makes of the breaker; opening and closing are told, each once."""
    before = Breaker(row.failures, row.opens, row.retry_at)
    failed = noted.outcome in {PollOutcome.FAILED, PollOutcome.REJECTED}
    after = before.failed(rules, stored_now(tx), probe=probe) if failed else Breaker()
    facts = {"deployment_id": row.deployment_id, "name": row.name}
    if after.opens and not before.opens:
        told = {"failures": after.failures, "reason": noted.reason, "retry_at": after.retry_at}
        emit(tx, WebhookEventType.POLL_PAUSED, row.vendor_id, **facts, **told)
    if before.opens and not after.opens:
        emit(tx, WebhookEventType.POLL_RESUMED, row.vendor_id, **facts)
    return {"failures": after.failures, "opens": after.opens, "retry_at": after.retry_at}

"""Empties an outbox: oldest first, one sender at a time, and each answer is written down before the next is sent."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pydantic import SecretStr

from mp_kit.client.http import Api, Call, read
from mp_kit.client.outbox import Outbox, Parcel, Refused
from mp_kit.contracts.signals import ReceiptStatus, StoreResult
from mp_kit.errors import (
    BY_CODE,
    AttributionError,
    ContractsVersionError,
    InternalError,
    InvalidInputError,
    MarketplaceError,
)

STORE = "/api/signals/store"
POLL_SECONDS = 0.05
LAST_RECEIPT = "last_receipt"
"""What an outbox remembers of the chain: it must still hold this receipt when it is checked."""

FOR_GOOD = (InvalidInputError, AttributionError)
"""What sending the same again can't change; ContractsVersionError alone can (upgrade, then flush)."""

_KEPT_OUT = {ReceiptStatus.REJECTED, ReceiptStatus.CONFLICT}
Outcome = StoreResult | MarketplaceError


@dataclass
class Sent:
    """What a flush did.

    Args:
        outcomes: The answer, or the refusal for good, of each parcel that left, by its number.
        stopped: What kept the rest from leaving; None when nothing is left to do.
        busy: Another process is sending.
        refused: Signals that were refused for good.
    """

    outcomes: dict[int, Outcome] = field(default_factory=dict)
    stopped: MarketplaceError | None = None
    busy: bool = False
    refused: int = 0


def flush(box: Outbox, api: Api, token: SecretStr | None, tell: Callable[[int], None] = lambda _: None) -> Sent:
    """Sends what waits, oldest first, until nothing is left or the marketplace can't take more now.

    Args:
        box: The outbox.
        api: Where to.
        token: Whose it is.
        tell: Told how many signals have just been answered.
    """
    sent = Sent()
    with box.sender() as ours:
        if not ours:
            return Sent(busy=True)
        for parcel in _parcels(box):
            try:
                result = _send(api, token, parcel)
            except MarketplaceError as error:
                if not _go_on(box, parcel, error, sent):
                    break
            else:
                receipt = result.batch_receipt
                kept = {LAST_RECEIPT: receipt.model_dump_json()} if receipt is not None else None
                box.settle(parcel, result.model_dump_json(exclude_none=True), _kept_out(parcel, result), kept)
                sent.outcomes[parcel.number] = result
                sent.refused += result.rejected + result.conflicts
            tell(parcel.rows)
    return sent


def deliver(
    box: Outbox, numbers: list[int], send: Callable[[], Sent], *, patience: float, sleep: Callable[[float], None]
) -> Sent:
    """Sends until these parcels are answered, by us or by whoever is sending now.

    Args:
        box: The outbox.
        numbers: Our parcels.
        send: A flush.
        patience: Seconds to wait for another sender.
        sleep: Waits.
    """
    ends = time.monotonic() + patience
    found: dict[int, Outcome] = {}
    while True:
        sent = send()
        found |= {number: sent.outcomes[number] for number in numbers if number in sent.outcomes}
        for number in numbers:
            if number not in found and (answer := box.answer(number)) is not None:
                found[number] = read_outcome(answer)
        left = [number for number in numbers if number not in found]
        if not left or not sent.busy or time.monotonic() > ends:
            return Sent(found, sent.stopped, busy=sent.busy)
        sleep(POLL_SECONDS)


def _parcels(box: Outbox) -> Iterator[Parcel]:
    after = 0
    while (parcel := box.next(after)) is not None:
        yield parcel
        after = parcel.number


def _send(api: Api, token: SecretStr | None, parcel: Parcel) -> StoreResult:
    call = Call(
        "POST",
        STORE,
        params={"atomic": "true"} if parcel.atomic else None,
        content=parcel.body,
        idempotency_key=parcel.key,
        token=token,
    )
    return read(StoreResult, api.send(call), STORE)


def _go_on(box: Outbox, parcel: Parcel, error: MarketplaceError, sent: Sent) -> bool:
    """Notes a failure; True when the parcels behind this one may still be tried."""
    if isinstance(error, FOR_GOOD) and not isinstance(error, ContractsVersionError):
        box.settle(parcel, write_error(error), _all_refused(parcel, error))
        sent.outcomes[parcel.number] = error
        sent.refused += parcel.rows
        return True
    box.note(parcel.number, f"{error.code}: {error.message}")
    sent.stopped = sent.stopped or error
    # A parcel that trips the marketplace must not hold up those behind it; anything else would stop them too.
    return isinstance(error, InternalError)


def _kept_out(parcel: Parcel, result: StoreResult) -> list[Refused]:
    bad = [receipt for receipt in result.receipts if receipt.status in _KEPT_OUT]
    rows = json.loads(parcel.body) if bad else []
    now = time.time()
    return [Refused(now, one.status.value, one.error or one.status.value, rows[one.index]) for one in bad]


def _all_refused(parcel: Parcel, error: MarketplaceError) -> list[Refused]:
    now = time.time()
    own = {detail["loc"][0]: detail["msg"] for detail in error.details if detail.get("loc")}
    reasons = [own.get(index, error.message) for index in range(parcel.rows)]
    return [
        Refused(now, ReceiptStatus.REJECTED.value, reason, row)
        for reason, row in zip(reasons, json.loads(parcel.body), strict=True)
    ]


def write_error(error: MarketplaceError) -> str:
    """An error as JSON, for the process that waits for it."""
    facts = {"code": error.code, "message": error.message, "hint": error.hint, "details": error.details}
    return json.dumps({"error": facts}, default=str)


def read_outcome(answer: str) -> Outcome:
    """An answer that another process wrote down."""
    facts = json.loads(answer).get("error")
    if facts is None:
        return StoreResult.model_validate_json(answer)
    return BY_CODE.get(facts["code"], InternalError)(facts["message"], hint=facts["hint"], details=facts["details"])

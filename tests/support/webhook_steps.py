"""What tests of webhooks do: endpoints, events, deliveries."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from sqlalchemy import text

from mp_kit.contracts import WebhookEventType, WebhookRequest
from mp_kit.server.house import House
from mp_kit.server.providers.addresses import AddressGuard
from mp_kit.server.providers.webhook_post import Poster
from mp_kit.server.services import vendors, webhooks
from mp_kit.server.services.webhook_delivery import Courier, Schedule, deliver
from mp_kit.server.services.webhook_events import emit

RUN = WebhookEventType.RUN_FINISHED
ROUND = WebhookEventType.ROUND_PUBLISHED
QUICK = Schedule(first_seconds=0.0, longest_seconds=0.0, attempts=3)


def new_vendor(house: House) -> str:
    with house.db.begin() as tx:
        return vendors.create(tx, house.tokens, f"vendor {random.random()}", actor="test").vendor_id


def guard() -> AddressGuard:
    return AddressGuard(allow_private=True)


def endpoint(house: House, vendor_id: str | None, url: str, *events: WebhookEventType) -> Any:
    wanted = WebhookRequest(url=url, events=list(events or [RUN]))
    return webhooks.create(house.db.begin, house.vault, guard(), vendor_id, wanted, actor="test")


def happen(house: House, vendor_id: str | None, kind: WebhookEventType = RUN, times: int = 1) -> None:
    for number in range(times):
        with house.db.begin() as tx:
            emit(tx, kind, vendor_id, number=number)


def courier(house: House, *, seconds: float = 5.0, **how: Any) -> Courier:
    return Courier(house.db, house.vault, Poster(guard(), seconds), **{"schedule": QUICK, **how})


def deliver_until(house: House, so: Callable[[], bool], **how: Any) -> bool:
    """Delivers until it is so; whether it became so."""
    with_ends = courier(house, **how)
    deliver(with_ends, seconds=20, poll=0.05, stop=so)
    return so()


def deliveries(house: House, vendor_id: str | None, endpoint_id: str) -> list[Any]:
    with house.db.begin() as tx:
        return webhooks.deliveries(tx, vendor_id, endpoint_id)


def settled(house: House, vendor_id: str | None, endpoint_id: str) -> bool:
    return all(each.status != "pending" for each in deliveries(house, vendor_id, endpoint_id))


def shown(house: House, vendor_id: str | None, endpoint_id: str) -> Any:
    with house.db.begin() as tx:
        return webhooks.get(tx, vendor_id, endpoint_id)


def count(house: House, table: str) -> int:
    with house.db.begin() as tx:
        return int(tx.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())  # noqa: S608 - a name of ours

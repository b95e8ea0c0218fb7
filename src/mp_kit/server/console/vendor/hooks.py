"""The vendor's webhooks: made, tested, rotated, removed, and what became of their messages."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from litestar import Response, get, post
from litestar.params import FromPath
from pydantic import ValidationError

from mp_kit.contracts import WebhookEventType, WebhookRequest
from mp_kit.errors import ConflictError, InvalidInputError, RateLimitedError
from mp_kit.server.console.pages import page, redirect
from mp_kit.server.console.visits import TheForm, TheHouse, TheVisit, Visit, signed_in, vendor_of
from mp_kit.server.house import House
from mp_kit.server.services import webhooks

HOOKS = "/marketplace/vendor/webhooks"
_ONE = f"{HOOKS}/{{hook_id:str}}"
_SHOWN = 50
_EVENTS = [event for event in WebhookEventType if event.can_be_wanted]
_OPTIONS: dict[str, Any] = {
    "guards": [signed_in], "sync_to_thread": True, "include_in_schema": False, "status_code": 200,
}  # fmt: skip


@get(HOOKS, **_OPTIONS)
def show(house: TheHouse, visit: TheVisit) -> Response[bytes]:
    """The endpoints, and the form for a further one."""
    return _list(house, visit)


@post(HOOKS, **_OPTIONS)
def create(house: TheHouse, visit: TheVisit, form: TheForm) -> Response[bytes]:
    """Makes an endpoint; its secret is on this page alone."""
    typed: dict[str, Any] = {name: form.get(name, "").replace("\0", "") for name in ("url", "description")}
    typed["events"] = [event.value for event in _EVENTS if form.get(event.value)]
    try:
        wanted = WebhookRequest.model_validate(typed)
        guard = house.poster.guard
        made = webhooks.create(house.db.begin, house.vault, guard, vendor_of(visit), wanted, actor=visit.actor)
    except ValidationError as error:
        errors = {str(found["loc"][0]): f"{found['msg']}." for found in error.errors(include_url=False)}
        errors |= {} if typed["events"] else {"events": "Choose at least one."}
        return _list(house, visit, typed=typed, errors=errors, status=422)
    except (InvalidInputError, ConflictError, RateLimitedError) as error:
        return _list(house, visit, typed=typed, errors={"url": error.message}, status=error.http)
    return _list(house, visit, made=made)


@get(_ONE, **_OPTIONS)
def one(house: TheHouse, visit: TheVisit, hook_id: FromPath[str]) -> Response[bytes]:
    """An endpoint, with its messages of the last 30 days."""
    return _one(house, visit, hook_id)


@post(f"{_ONE}/rotate", **_OPTIONS)
def rotate(house: TheHouse, visit: TheVisit, hook_id: FromPath[str]) -> Response[bytes]:
    """A new secret, on this page alone; the former one signs too for a day."""
    with house.db.begin() as tx:
        made = webhooks.rotate(tx, house.vault, vendor_of(visit), hook_id, actor=visit.actor)
    return _one(house, visit, hook_id, made=made)


@post(f"{_ONE}/test", **_OPTIONS)
def test(house: TheHouse, visit: TheVisit, hook_id: FromPath[str]) -> Response[bytes]:
    """Sends a ping."""
    with house.db.begin() as tx:
        webhooks.ping(tx, vendor_of(visit), hook_id, actor=visit.actor)
    return _back(visit, hook_id, "A test is on its way: look for it among the messages.")


@post(f"{_ONE}/enable", **_OPTIONS)
def enable(house: TheHouse, visit: TheVisit, hook_id: FromPath[str]) -> Response[bytes]:
    """Sends to a disabled endpoint again."""
    with house.db.begin() as tx:
        webhooks.enable(tx, vendor_of(visit), hook_id, actor=visit.actor)
    return _back(visit, hook_id, "It gets messages again.")


@post(f"{_ONE}/remove", **_OPTIONS)
def remove(house: TheHouse, visit: TheVisit, hook_id: FromPath[str]) -> Response[bytes]:
    """Removes an endpoint."""
    with house.db.begin() as tx:
        webhooks.remove(tx, vendor_of(visit), hook_id, actor=visit.actor)
    return redirect(visit, HOOKS, say="The webhook is removed.")


@post(f"{_ONE}/deliveries/{{delivery_id:str}}/replay", **_OPTIONS)
def replay(house: TheHouse, visit: TheVisit, hook_id: FromPath[str], delivery_id: FromPath[str]) -> Response[bytes]:
    """Sends a message again."""
    with house.db.begin() as tx:
        webhooks.replay(tx, vendor_of(visit), hook_id, delivery_id, actor=visit.actor)
    return _back(visit, hook_id, "The message is sent again.")


def _back(visit: Visit, hook_id: str, say: str) -> Response[bytes]:
    return redirect(visit, f"{HOOKS}/{quote(hook_id, safe='')}", say=say)


def _list(house: House, visit: Visit, *, status: int = 200, **more: Any) -> Response[bytes]:
    typed = {"url": "", "description": "", "events": []}
    facts: dict[str, Any] = {"made": None, "typed": typed, "errors": {}, **more}
    with house.db.begin() as tx:
        hooks = webhooks.list_of(tx, vendor_of(visit))
    return page(visit, "vendor/webhooks.html", status=status, title="Webhooks", hooks=hooks, events=_EVENTS, **facts)


def _one(house: House, visit: Visit, hook_id: str, *, made: Any = None) -> Response[bytes]:
    with house.db.begin() as tx:
        hook = webhooks.get(tx, vendor_of(visit), hook_id)
        sent = webhooks.deliveries(tx, vendor_of(visit), hook_id, limit=_SHOWN)
    return page(visit, "vendor/webhook.html", title="Webhook", hook=hook, sent=sent, made=made)


HANDLERS = [show, create, one, rotate, test, enable, remove, replay]

"""Approving a program that wants to be signed in: it shows a code, a vendor types it here and sees who asks.

Nothing is approved by following a link: the code is typed, then the program's name and address are shown, then there
is a button.
"""

from __future__ import annotations

from typing import Any

from litestar import Response, get, post

from mp_kit.errors import ConflictError, MarketplaceError, NotFoundError
from mp_kit.server.console.pages import page, redirect
from mp_kit.server.console.vendor.api_keys import who_asks
from mp_kit.server.console.visits import HOME, AnyRequest, TheForm, TheHouse, TheVisit, Visit, signed_in
from mp_kit.server.services import sign_in

PAGE = "/marketplace/device"
_DECISIONS = ("approve", "deny")
_MAX_TYPED = 20


@get(PAGE, guards=[signed_in], sync_to_thread=True, include_in_schema=False)
def device_form(visit: TheVisit) -> Response[bytes]:
    """Asks for a code. An address cannot bear one: nobody can be led to the second step by a link."""
    return _form(visit)


@post(PAGE, guards=[signed_in], sync_to_thread=True, include_in_schema=False, status_code=200)
def decide(house: TheHouse, visit: TheVisit, request: AnyRequest, form: TheForm) -> Response[bytes]:
    """Shows who asks under the code that was typed; with a decision, approves or denies, once."""
    code, decision = form.get("code", "")[:_MAX_TYPED], form.get("decision", "")
    try:
        with house.db.begin() as tx:
            if decision not in _DECISIONS:
                asking = sign_in.find_waiting(tx, code)
                return page(visit, "device_confirm.html", title="Sign in a program", asking=asking)
            approve = decision == "approve"
            done = sign_in.decide(tx, who_asks(house, request), code, approve=approve)
    except (NotFoundError, ConflictError) as error:
        return _form(visit, typed=code, problem=error, status=error.http)
    name = done.client or "The program"
    say = f"{name} is signed in as {visit.vendor_name}." if approve else f"{name} was denied."
    return redirect(visit, HOME, say=say)


def _form(
    visit: Visit, *, typed: str = "", problem: MarketplaceError | None = None, status: int = 200
) -> Response[bytes]:
    facts: dict[str, Any] = {"title": "Sign in a program", "typed": typed}
    facts |= {"problem": problem.message if problem else "", "hint": problem.hint if problem else ""}
    return page(visit, "device.html", status=status, **facts)


HANDLERS = [device_form, decide]

"""Accounts elsewhere: set, tested, removed. A key goes in and is on no page again."""

from __future__ import annotations

from typing import Any

from litestar import Response, get, post
from litestar.params import FromPath
from pydantic import SecretStr

from mp_kit.contracts import ConnectionName, ConnectionStatus
from mp_kit.errors import ConflictError, InvalidInputError
from mp_kit.server.console.pages import page, redirect
from mp_kit.server.console.visits import TheForm, TheHouse, TheVisit, Visit, signed_in, vendor_of
from mp_kit.server.house import House
from mp_kit.server.services import connections

CONNECTIONS = "/marketplace/vendor/connections"
_OPTIONS: dict[str, Any] = {
    "guards": [signed_in], "sync_to_thread": True, "include_in_schema": False, "status_code": 200,
}  # fmt: skip


@get(CONNECTIONS, **_OPTIONS)
def show(house: TheHouse, visit: TheVisit) -> Response[bytes]:
    """The three accounts, and what is known of each."""
    return _page(house, visit)


@post(f"{CONNECTIONS}/{{name:str}}", **_OPTIONS)
def put(house: TheHouse, visit: TheVisit, form: TheForm, name: FromPath[str]) -> Response[bytes]:
    """Stores a key in place of an earlier one; a wrong one is not shown again."""
    try:
        vendor_id, value = vendor_of(visit), SecretStr(form.get("value", ""))
        connections.replace(house.db.begin, house.vault, house.probes, vendor_id, name, value, actor=visit.actor)
    except (InvalidInputError, ConflictError) as error:
        return _page(house, visit, errors={name: error.message}, status=error.http)
    return redirect(visit, CONNECTIONS, say=f"{ConnectionName(name).service} is connected. Test it now.")


@post(f"{CONNECTIONS}/{{name:str}}/test", **_OPTIONS)
def test(house: TheHouse, visit: TheVisit, name: FromPath[str]) -> Response[bytes]:
    """Asks the service whether it takes the key."""
    told = connections.test(house.db.begin, house.vault, house.probes, vendor_of(visit), name, actor=visit.actor)
    service, good = ConnectionName(name).service, told.status == ConnectionStatus.OK
    said = f"{service}: {told.detail}" if told.detail else f"{service} is {told.status}."
    return redirect(visit, CONNECTIONS, say=said) if good else _page(house, visit, problem=said)


@post(f"{CONNECTIONS}/{{name:str}}/remove", **_OPTIONS)
def remove(house: TheHouse, visit: TheVisit, name: FromPath[str]) -> Response[bytes]:
    """Forgets a key."""
    try:
        with house.db.begin() as tx:
            connections.forget(tx, house.vault, vendor_of(visit), name, actor=visit.actor)
    except ConflictError as error:
        return _page(house, visit, problem=error.message, status=error.http)
    return redirect(visit, CONNECTIONS, say=f"The key of {ConnectionName(name).service} is forgotten.")


def _page(house: House, visit: Visit, *, status: int = 200, **more: Any) -> Response[bytes]:
    with house.db.begin() as tx:
        known = {one.name: one for one in connections.list_of(tx, vendor_of(visit))}
    facts: dict[str, Any] = {"errors": {}, "problem": "", **more}
    names = list(ConnectionName)
    return page(visit, "vendor/connections.html", status=status, title="Connections", names=names, known=known, **facts)


HANDLERS = [show, put, test, remove]

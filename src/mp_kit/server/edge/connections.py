"""A vendor's accounts elsewhere: set, listed, tested, removed. No answer bears a credential."""

from __future__ import annotations

from litestar import delete, get, post, put
from litestar.params import FromPath, JSONBody

from mp_kit.contracts import Connection, ConnectionWrite, Listing, Success
from mp_kit.server.edge.auth import allow
from mp_kit.server.edge.parts import Caller, TheHouse, listing, ok, require_json
from mp_kit.server.services import connections

_PATH = "/api/vendors/connections"
_ONE = f"{_PATH}/{{name:str}}"


@get(_PATH, guards=[allow("vendor")], sync_to_thread=True, tags=["connections"])
def list_own(house: TheHouse, who: Caller) -> Listing[list[Connection]]:
    """The vendor's connections, by name: last four characters, status, when it was checked."""
    with house.db.begin() as tx:
        return listing(connections.list_of(tx, who.vendor_id or ""))


@get(_ONE, guards=[allow("vendor")], sync_to_thread=True, tags=["connections"])
def get_one(house: TheHouse, who: Caller, name: FromPath[str]) -> Success[Connection]:
    """What may be read of a connection: runpod, huggingface or wandb."""
    with house.db.begin() as tx:
        return ok(connections.get(tx, who.vendor_id or "", name))


@put(_ONE, guards=[allow("vendor")], before_request=require_json, sync_to_thread=True, tags=["connections"])
def set_one(house: TheHouse, who: Caller, name: FromPath[str], data: JSONBody[ConnectionWrite]) -> Success[Connection]:
    """Stores a credential in place of an earlier one; it never comes out again."""
    begin, vault, vendor_id = house.db.begin, house.vault, who.vendor_id or ""
    return ok(connections.replace(begin, vault, house.probes, vendor_id, name, data.value, actor=who.name))


@delete(_ONE, guards=[allow("vendor")], status_code=200, sync_to_thread=True, tags=["connections"])
def remove_one(house: TheHouse, who: Caller, name: FromPath[str]) -> Success[Connection]:
    """Forgets a credential; the answer says what it was."""
    with house.db.begin() as tx:
        return ok(connections.forget(tx, house.vault, who.vendor_id or "", name, actor=who.name))


@post(f"{_ONE}/test", guards=[allow("vendor")], status_code=200, sync_to_thread=True, tags=["connections"])
def test_one(house: TheHouse, who: Caller, name: FromPath[str]) -> Success[Connection]:
    """Asks the service whether it takes the credential; ``status`` and ``detail`` say what it said."""
    return ok(connections.test(house.db.begin, house.vault, house.probes, who.vendor_id or "", name, actor=who.name))


HANDLERS = [list_own, get_one, set_one, remove_one, test_one]

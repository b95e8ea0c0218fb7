"""Vendors, codes and waiting programs for the tests of signing in."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from threading import Barrier
from typing import Any

from sqlalchemy import text

from mp_kit.contracts import DeviceCode
from mp_kit.errors import MarketplaceError
from mp_kit.server.house import House
from mp_kit.server.services import sign_in, vendors
from mp_kit.server.services.tokens import Principal

numbers = count(1)


def new_vendor(house: House, **how: Any) -> vendors.NewVendor:
    """A vendor of the test's own."""
    with house.db.begin() as tx:
        return vendors.create(tx, house.tokens, f"signs in {next(numbers)}", actor="test", **how)


def bearer(house: House, made: vendors.NewVendor) -> Principal:
    """Who bears the vendor's first key."""
    return house.tokens.authenticate(made.api_key, house.db.begin)


def code_of(house: House, vendor_id: str) -> str:
    """A one-time code from the operator."""
    with house.db.begin() as tx:
        return sign_in.issue_code(tx, house.tokens, vendor_id, actor="test").code


def exchange(house: House, code: str) -> str:
    """The key that a code is traded for."""
    return sign_in.exchange(house.db.begin, house.tokens, code).api_key


def run(house: House, statement: str, **values: Any) -> Any:
    """SQL of the test's own."""
    with house.db.begin() as tx:
        return tx.execute(text(statement), values)


def waiting(house: House, client: str = "mp on a laptop", address: str | None = None) -> DeviceCode:
    """A program that waits, from an address of its own."""
    where = address or f"10.0.0.{next(numbers)}"
    with house.db.begin() as tx:
        return sign_in.begin_device(tx, house.tokens, client=client, address=where, page="http://m/marketplace/device")


def ask(house: House, device: DeviceCode, *, at_once: bool = False) -> Any:
    """What a program hears; as if its interval were over, unless ``at_once``."""
    if not at_once:
        run(house, "UPDATE device_logins SET last_polled_at = NULL WHERE user_code = :c", c=letters(device))
    return sign_in.poll(house.db.begin, house.tokens, device.device_code)


def letters(device: DeviceCode) -> str:
    """The code as it is stored."""
    return device.user_code.replace("-", "")


def decide(house: House, vendor_id: str, typed: str, *, approve: bool = True, opened_by: str = "") -> sign_in.Waiting:
    """A person's decision, in a session that was opened with a key or by other means."""
    who = Principal(kind="vendor", vendor_id=vendor_id, opened_by=opened_by)
    with house.db.begin() as tx:
        return sign_in.decide(tx, who, typed, approve=approve)


def raced(*deeds: Callable[[], Any]) -> list[Any]:
    """All at once; an error of ours is a result."""
    barrier = Barrier(len(deeds))

    def one(deed: Callable[[], Any]) -> Any:
        barrier.wait(timeout=30)
        try:
            return deed()
        except MarketplaceError as error:
            return error

    with ThreadPoolExecutor(len(deeds)) as pool:
        return list(pool.map(one, deeds))

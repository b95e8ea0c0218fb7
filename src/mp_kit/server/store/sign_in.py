"""Queries about one-time codes and programs that wait for approval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, delete, func, select, text, update

from mp_kit.server.store.engine import Tx
from mp_kit.server.store.queries import named
from mp_kit.server.store.tables import auth_codes, device_logins, marketplace_vendors


def insert_code(tx: Tx, values: Mapping[str, Any]) -> None:
    """Stores a one-time code."""
    tx.execute(auth_codes.insert().values(**values))


def find_code(tx: Tx, code_id: str) -> Row[Any] | None:
    """A one-time code with its vendor's status."""
    statement = (
        select(auth_codes, marketplace_vendors.c.status)
        .join(marketplace_vendors, marketplace_vendors.c.id == auth_codes.c.vendor_id)
        .where(auth_codes.c.id == code_id)
    )
    return tx.execute(statement).one_or_none()


def take_code(tx: Tx, code_id: str) -> Row[Any] | None:
    """Uses a code up; None when somebody did before, or it has ended."""
    return tx.execute(text(named("take_auth_code")), {"id": code_id}).one_or_none()


def void_codes(tx: Tx, *, vendor_id: str | None = None, device_id: str | None = None) -> None:
    """Uses up every code of a vendor or of a device that nobody used yet."""
    column, value = (auth_codes.c.vendor_id, vendor_id) if vendor_id else (auth_codes.c.device_id, device_id)
    tx.execute(update(auth_codes).where(column == value, auth_codes.c.used_at.is_(None)).values(used_at=func.now()))


def insert_device(tx: Tx, values: Mapping[str, Any]) -> None:
    """Stores a program that waits."""
    tx.execute(device_logins.insert().values(**values))


def waiting(tx: Tx, address: str) -> tuple[int, int]:
    """How many programs wait for approval: from one address, and in all."""
    row = tx.execute(text(named("count_waiting_devices")), {"address": address}).one()
    return row.here, row.everywhere


def poll(tx: Tx, digest: str, *, slack: int, step: int, longest: int) -> Row[Any] | None:
    """Notes a program's question; see the statement."""
    wanted = {"digest": digest, "slack": slack, "step": step, "longest": longest}
    return tx.execute(text(named("poll_device")), wanted).one_or_none()


def find_waiting(tx: Tx, user_code: str) -> Row[Any] | None:
    """The program that shows this code and waits."""
    columns = device_logins.c
    waits = (columns.user_code == user_code, columns.state == "pending", columns.expires_at > func.now())
    return tx.execute(select(device_logins).where(*waits)).one_or_none()


def decide(tx: Tx, user_code: str, state: str, vendor_id: str | None) -> Row[Any] | None:
    """Approves or denies; None when nothing waits under this code."""
    wanted = {"user_code": user_code, "state": state, "vendor_id": vendor_id}
    return tx.execute(text(named("decide_device")), wanted).one_or_none()


def is_approved(tx: Tx, device_id: str) -> bool:
    """Whether a program is approved, and has not exchanged its code yet."""
    statement = select(device_logins.c.state).where(device_logins.c.id == device_id)
    return tx.execute(statement).scalar_one_or_none() == "approved"


def deny_approved(tx: Tx, vendor_id: str) -> None:
    """Takes back what a vendor approved and no program has exchanged yet."""
    mine = (device_logins.c.vendor_id == vendor_id, device_logins.c.state == "approved")
    tx.execute(update(device_logins).where(*mine).values(state="denied"))


def forget(tx: Tx) -> None:
    """Forgets what ended more than a day ago."""
    old = func.now() - text("interval '1 day'")
    tx.execute(delete(auth_codes).where(auth_codes.c.expires_at < old))
    tx.execute(delete(device_logins).where(device_logins.c.expires_at < old))

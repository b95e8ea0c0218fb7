"""The audit log: who did what to what, when, from where, and what came of it. It can only grow."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Row, text

from mp_kit.server.services.ids import new_id
from mp_kit.server.store import audit as rows
from mp_kit.server.store import vendors
from mp_kit.server.store.audit import Filter
from mp_kit.server.store.engine import Tx
from mp_kit.server.store.queries import named
from mp_kit.server.store.tables import audit_log

__all__ = ["OUTCOMES", "Filter", "come_from", "newest", "page", "record"]

OUTCOMES = ("done", "refused")
_address: ContextVar[str | None] = ContextVar("mp_audit_address", default=None)


def come_from(address: str | None) -> None:
    """Notes the network address that the present request came from: what it does is recorded with it."""
    _address.set(address)


def record(
    tx: Tx, actor: str, action: str, subject: str, *, outcome: Literal["done", "refused"] = "done", **detail: Any
) -> None:
    """Writes one entry in the caller's transaction: it stands if, and only if, the deed does.

    Args:
        tx: The deed's transaction.
        actor: Who, such as ``vendor:ven_…`` or ``operator:service``.
        action: Noun and verb, such as ``vendor.create``.
        subject: Id of the thing.
        outcome: Whether it was done, or refused to somebody who asked.
        **detail: Facts that help later; never a secret.
    """
    said = {"actor": actor, "action": action, "subject": subject, "detail": detail}
    tx.execute(audit_log.insert().values(id=new_id("aud"), address=_address.get(), outcome=outcome, **said))


def newest(
    tx: Tx, since: datetime, *, about: str | None = None, action: str = "", limit: int = 1_000
) -> list[Row[Any]]:
    """Entries since an instant, newest first: at, actor, action, subject, detail, address, outcome.

    Args:
        tx: A transaction.
        since: An aware instant.
        about: An id: only what it did, what was done to it, and what names it among its facts.
        action: How the action begins, such as ``key.``.
        limit: Entries at most.
    """
    given = {"since": since, "about": about, "action": action, "limit": limit}
    return list(tx.execute(text(named("list_audit")), given))


def page(tx: Tx, wanted: Filter, *, behind: tuple[datetime, str] | None, limit: int) -> list[Row[Any]]:
    """A page of entries, newest first.

    Args:
        tx: A transaction.
        wanted: Which; a vendor may be named by its name where an id is asked for.
        behind: The instant and id of an entry that they come behind; from the newest on without it.
        limit: Entries at most.
    """
    vendor = vendors.find_by_id_or_name(tx, wanted.about) if wanted.about else None
    named_by_id = wanted if vendor is None else replace(wanted, about=vendor.id)
    return rows.page(tx, named_by_id, behind=behind, limit=limit)

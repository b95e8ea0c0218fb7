"""The audit log: who did what to what. It can only grow."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Row, text

from mp_kit.server.services.ids import new_id
from mp_kit.server.store.engine import Tx
from mp_kit.server.store.queries import named
from mp_kit.server.store.tables import audit_log


def record(tx: Tx, actor: str, action: str, subject: str, **detail: Any) -> None:
    """Writes one entry in the caller's transaction: it stands if, and only if, the deed does.

    Args:
        tx: The deed's transaction.
        actor: Who, such as ``vendor:ven_…`` or ``operator:service``.
        action: Noun and verb, such as ``vendor.create``.
        subject: Id of the thing.
        **detail: Facts that help later; never a secret.
    """
    tx.execute(audit_log.insert().values(id=new_id("aud"), actor=actor, action=action, subject=subject, detail=detail))


def newest(
    tx: Tx, since: datetime, *, about: str | None = None, action: str = "", limit: int = 1_000
) -> list[Row[Any]]:
    """Entries since an instant, newest first: ``at``, ``actor``, ``action``, ``subject``, ``detail``.

    Args:
        tx: A transaction.
        since: An aware instant.
        about: An id: only what it did, what was done to it, and what names it among its facts.
        action: How the action begins, such as ``key.``.
        limit: Entries at most.
    """
    given = {"since": since, "about": about, "action": action, "limit": limit}
    return list(tx.execute(text(named("list_audit")), given))

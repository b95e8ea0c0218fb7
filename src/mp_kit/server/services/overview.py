"""The marketplace at a glance: rows for operators' notebooks to plot, and nothing secret among them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import text

from mp_kit.server.store.engine import Tx
from mp_kit.server.store.queries import named

Rows = list[dict[str, Any]]


def since(tx: Tx, instant: datetime) -> Mapping[str, Rows]:
    """The marketplace since an instant.

    Returns:
        ``signals`` by deployment, ``runs``, ``consensus`` by bar, and ``deployments`` as they are now.
    """
    return {name: _rows(tx, f"overview_{name}", instant) for name in ("signals", "runs", "consensus", "deployments")}


def _rows(tx: Tx, name: str, instant: datetime) -> Rows:
    statement = named(name)
    given = {"since": instant} if ":since" in statement else {}
    return [dict(row._mapping) for row in tx.execute(text(statement), given)]  # noqa: SLF001 - SQLAlchemy's public name

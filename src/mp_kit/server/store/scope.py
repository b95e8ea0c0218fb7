"""Whose rows a transaction of the edge sees: row-level security reads it from two settings that end with it.

1. The edge and the console act as :data:`EDGE_ROLE`, which owns nothing. Its policies (migration 0016) let through what
   the scope names, and nothing where there is none. For the public they act as :data:`PUBLIC_ROLE`, which reads less.
2. The scope of a request lies in a context variable: set where the caller is known (``edge/auth.py``,
   ``console/visits.py``), carried into the handler's thread, read by :meth:`Database.begin`, nowhere else.
3. The operator's processes connect as the tables' owner: no policy is about them, and no scope is set.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, text

__all__ = [
    "EDGE_ROLE",
    "HOUSE",
    "NOBODY",
    "PUBLIC",
    "SIGN_IN",
    "Scope",
    "apply",
    "enter",
    "of_vendor",
    "present",
    "within",
]

EDGE_ROLE = "mp_edge"
"""The database role of the edge and the console."""
PUBLIC_ROLE = "mp_public"
"""What that role becomes in the public's scope."""


@dataclass(frozen=True)
class Scope:
    """Whose rows.

    Args:
        kind: ``vendor``: its own. ``public``: what everybody may read. ``sign_in``: what finds out who somebody is.
            ``house``: the operator's requests, reading what is no credential, writing what belongs to no vendor.
            ``nobody``: nothing.
        vendor_id: The vendor; empty where there is none.
    """

    kind: Literal["nobody", "public", "sign_in", "vendor", "house"]
    vendor_id: str = ""


NOBODY = Scope("nobody")
PUBLIC = Scope("public")
SIGN_IN = Scope("sign_in")
HOUSE = Scope("house")

_present: ContextVar[Scope] = ContextVar("mp_scope", default=NOBODY)
_APPLY = text(
    "SELECT set_config('mp.scope', :kind, true), set_config('mp.vendor_id', :vendor_id, true),"
    " set_config('role', :role, true)"
)


def of_vendor(vendor_id: str | None) -> Scope:
    """A vendor's own rows; nobody's where there is no vendor."""
    return Scope("vendor", vendor_id) if vendor_id else NOBODY


def present() -> Scope:
    """The scope of this request."""
    return _present.get()


def enter(scope: Scope) -> None:
    """Sets the scope of what follows in this request."""
    _present.set(scope)


@contextmanager
def within(scope: Scope) -> Iterator[None]:
    """Sets the scope for the length of a block."""
    before = _present.set(scope)
    try:
        yield
    finally:
        _present.reset(before)


def apply(tx: Connection, role: str = EDGE_ROLE) -> None:
    """Tells the database the present scope until the transaction ends; the public has a role of its own."""
    scope = present()
    role = PUBLIC_ROLE if scope.kind == "public" else role
    tx.execute(_APPLY, {"kind": scope.kind, "vendor_id": scope.vendor_id, "role": role})

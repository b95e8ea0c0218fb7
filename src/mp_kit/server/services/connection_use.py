"""Whether a vendor's RunPod account may change: with another account's key, what lives there looks gone.

1. A key is not removed while an open run or a wanted server is at RunPod.
2. A new key is taken at once while nothing lives there; when it shows one of the machines, for then it is of the same
   account; and when the former key shows none of them either, for then it is of no use any more.
3. Nobody is asked inside a transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import SecretStr
from sqlalchemy import Row

from mp_kit.errors import ConflictError
from mp_kit.server.providers.probes import Probes
from mp_kit.server.store import connections as rows
from mp_kit.server.store.engine import Tx

__all__ = ["living", "require_same_account", "require_unused"]

_NAMED = 3
_HINT = "End them first: `mp train cancel RUN`, `mp deployments stop NAME`"


def require_unused(tx: Tx, vendor_id: str) -> None:
    """Refuses to take RunPod's key from what needs it.

    Raises:
        ConflictError: Some run is open, or some server is wanted.
    """
    if found := rows.in_use_at_runpod(tx, vendor_id):
        raise ConflictError(
            f"Without the key nobody could end what is on your RunPod account: {_told(found)}.",
            hint=f"{_HINT}; then remove the key.",
        )


def living(tx: Tx, vendor_id: str) -> list[Row[Any]]:
    """What is there, or is being launched."""
    return [row for row in rows.in_use_at_runpod(tx, vendor_id) if row.ref is not None or row.state != "queued"]


def require_same_account(probes: Probes, there: Sequence[Row[Any]], former: SecretStr | None, new: SecretStr) -> None:
    """Refuses a key of another account.

    Args:
        probes: Ask RunPod.
        there: What lives on the account.
        former: The key so far; None where there is none that opens.
        new: The key in its place.

    Raises:
        ConflictError: It shows nothing of what the former key shows, or a launch under way shows to neither.
        UnavailableError: RunPod does not answer.
        RateLimitedError: Others are asking already.
    """
    things = [f"{row.kind}/{row.ref}" for row in there if row.ref is not None]
    if things and probes.shows(new, things):
        return
    shown = probes.shows(former, things or ["pods"]) if former is not None else None
    if shown is None or (not shown and len(things) == len(there)):
        return
    raise ConflictError(
        f"The new key shows nothing of what is on your RunPod account, and could not end it: {_told(there)}.",
        hint=f"{_HINT}; then set the key. A new key of the same account is taken once it shows one of them.",
    )


def _told(found: Sequence[Row[Any]]) -> str:
    named, more = ", ".join(row.id for row in found[:_NAMED]), len(found) - _NAMED
    return f"{named} and {more} more" if more > 0 else named

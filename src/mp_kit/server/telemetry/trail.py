"""Whose work this is: the ids of a request, or of a look at a run, which every log line of that work bears.

The trail is an object in a context variable: what a handler's thread notes is seen by whoever opened it, because
threads get a copy of the variables and the same object in them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields

__all__ = ["IDS", "Trail", "current", "following", "note", "note_parameters"]

_OUR_ID = re.compile(r"[a-z]{2,8}_[0-9a-hjkmnp-tv-z]{16}")
"""As ``services/ids.py`` makes them."""


@dataclass(slots=True)
class Trail:
    """Ids, each empty where there is none.

    Attributes:
        request_id: The exchange's, as the answer bears it.
        vendor_id: Whoever acts, or for whom.
        run_id: A training run.
        deployment_id: A deployment.
        trace_id: The OpenTelemetry trace, as 32 hexadecimal digits.
    """

    request_id: str = ""
    vendor_id: str = ""
    run_id: str = ""
    deployment_id: str = ""
    trace_id: str = ""


IDS = tuple(each.name for each in fields(Trail))
"""The names under which log lines bear the ids."""

_CURRENT: ContextVar[Trail | None] = ContextVar("mp_trail", default=None)


def current() -> Trail | None:
    """The trail of the work at hand; None outside of any."""
    return _CURRENT.get()


@contextmanager
def following(**ids: str) -> Iterator[Trail]:
    """Log lines of the block bear these ids.

    Args:
        **ids: Values of :class:`Trail`.
    """
    made = Trail(**ids)
    token = _CURRENT.set(made)
    try:
        yield made
    finally:
        _CURRENT.reset(token)


def note(**ids: str | None) -> None:
    """Adds ids to the trail of the work at hand, once they are known; nothing happens outside of any."""
    trail = _CURRENT.get()
    if trail is None:
        return
    for name, value in ids.items():
        if value:
            setattr(trail, name, value)


def note_parameters(parameters: Mapping[str, object]) -> None:
    """Adds the ids that a request's path names; what has not the form of our ids is somebody's text and stays out."""
    found = {name: str(parameters[name]) for name in ("run_id", "deployment_id") if name in parameters}
    note(**{name: value for name, value in found.items() if _OUR_ID.fullmatch(value)})

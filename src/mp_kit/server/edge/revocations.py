"""How an edge hears of revocations: the database tells of them (LISTEN), and silence is not taken for peace.

Every :data:`_EAR_SECONDS` the listener goes to the database and back. What was revoked before that is known then, so
that memory may be gone by for a moment longer (``tokens.DEAF_SECONDS``). A connection that broke, or that nobody
answers on any more, lets the moment pass: from then on each request asks the database, until somebody listens again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar import Litestar

from mp_kit.errors import DatabaseDownError
from mp_kit.server.house import House
from mp_kit.server.services.tokens import DEAF_SECONDS, REVOCATIONS

__all__ = ["listening"]

log = logging.getLogger(__name__)
_EAR_SECONDS = 0.25
_AGAIN_SECONDS = 0.5


@asynccontextmanager
async def listening(app: Litestar) -> AsyncIterator[None]:
    """Hears of revocations for as long as the app lives."""
    stop = threading.Event()
    thread = threading.Thread(target=_listen, args=(app.state.house, stop), name="revocations", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()


def _listen(house: House, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            with house.db.listen(REVOCATIONS) as listener:
                house.tokens.forget()  # what was revoked while nobody listened
                house.metrics.heard()
                while not stop.is_set():
                    told = listener.told(_EAR_SECONDS)
                    for named in told.payloads:
                        house.tokens.forget(named)
                    house.tokens.trust(told.asked_at + DEAF_SECONDS)
                    house.metrics.heard()
        except DatabaseDownError:
            house.metrics.deaf()
            log.warning("revocations are not heard: every token is looked up until they are")
            stop.wait(_AGAIN_SECONDS)

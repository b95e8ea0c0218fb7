"""The supervisor as a Prefect flow: launches runs and watches them to their end, and keeps deployments' servers.

It holds no state. Its deployment starts it again when it ends or dies; two at once share the work.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from pydantic import BaseModel, Field


class Supervision(BaseModel):
    """How long, and how eagerly, to supervise."""

    max_hours: float = Field(6.0, gt=0, le=24, description="The flow run ends itself after this many hours.")
    poll_seconds: float = Field(2.0, ge=0.1, le=60, description="Longest wait between two looks.")


class _Tally:
    """Counts looks, and says so in the log about once a minute."""

    def __init__(self, logger: Any) -> None:
        self.looks = 0
        self._logger = logger
        self._said = time.monotonic()

    def __call__(self, looked_at: int) -> None:
        self.looks += looked_at
        if looked_at and time.monotonic() - self._said > 60:  # noqa: PLR2004 - seconds in a minute
            self._logger.info("looked at %d runs, %d looks so far", looked_at, self.looks)
            self._said = time.monotonic()


def _show(mirror: Any, over: threading.Event) -> None:
    """Keeps Prefect's pages of training runs up to date beside the supervision, and never in its way."""
    while not over.wait(2.0):
        mirror.sync_safely()


@flow(name="train", flow_run_name="supervise-training", log_prints=False, persist_result=False)
def train(order: Supervision = Supervision()) -> None:  # noqa: B008 - read only, and the form's default
    """Supervises training runs until its time is over.

    Args:
        order: How long, and how eagerly.
    """
    from mp_kit.server.mirror import Mirror
    from mp_kit.server.prefect_api import PrefectApi, known_url
    from mp_kit.server.services.hosting_keeper import Keeper, keep
    from mp_kit.server.services.supervisor import Desk, watch
    from mp_kit.server.wiring import open_house

    logger = get_run_logger()
    tally = _Tally(logger)
    with open_house() as house:
        url = house.settings.base_url
        desk = Desk(house.db, house.store, house.providers, house.tokens.run_token, url, house.vault)
        logger.info("supervising providers: %s", ", ".join(sorted(desk.providers)) or "none")
        over = threading.Event()
        keeper = Keeper(house.db, house.hosts, house.tokens, url)
        (keeping := threading.Thread(target=keep, args=(keeper, over), name="keeper")).start()
        if prefect_url := known_url(house.settings.home):
            mirror = Mirror(house.db, PrefectApi(prefect_url), url)
            threading.Thread(target=_show, args=(mirror, over), name="mirror", daemon=True).start()
        try:
            watch(desk, seconds=order.max_hours * 3_600, on_cycle=tally, poll=order.poll_seconds)
        finally:
            over.set()
            keeping.join()
    said = f"Looked at runs {tally.looks} times in {order.max_hours:g} hours."
    create_markdown_artifact(said, key="training-supervision", description="One supervisor's work")


if __name__ == "__main__":
    train()

"""What flows say to Prefect besides their tables: progress, plots, reports, events, assets, and which errors to retry.

1. Nothing secret: artifacts and events are shown to whoever opens Prefect's pages.
2. What is said here never fails a flow that did its work: it is about the work, it is not the work.
"""

from __future__ import annotations

import base64
import logging
import threading
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)
from prefect.assets import Asset, AssetProperties, materialize
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from mp_kit.errors import MarketplaceError
from mp_kit.server.markdown import literal
from mp_kit.server.report_making import Produced
from mp_kit.server.services.publication import Publication, RoundOrder

__all__ = ["ROUND_PUBLISHED", "Progress", "is_worth_another_try", "report_made", "round_published"]

log = logging.getLogger(__name__)

ROUND_PUBLISHED = "mp.round.published"
_MOST_PLOT_BYTES = 256 * 1024


def is_worth_another_try(_task: Any, _run: Any, state: Any) -> bool:
    """For ``retry_condition_fn``: an outage is, bad input is not; what nobody foresaw is tried again."""
    error = state.result(raise_on_failure=False)
    return error.retryable if isinstance(error, MarketplaceError) else True


class Progress:
    """A progress bar on a flow run's page; a step is one call.

    Args:
        key: Of the artifact.
        total: How many steps make 100 %.
        about: What is counted.
    """

    def __init__(self, key: str, total: int, about: str) -> None:
        self._total, self._done = max(1, total), 0
        self._lock = threading.Lock()
        self._artifact: Any = create_progress_artifact(0.0, key=key, description=about)

    def __call__(self) -> None:
        """One step more."""
        with self._lock:
            self._done += 1
            update_progress_artifact(self._artifact, 100.0 * min(self._done, self._total) / self._total)

    def each(self, futures: Iterable[Any]) -> list[Any]:
        """The results of tasks in their order, a step for each; the first failure is raised."""
        results = []
        for future in futures:
            results.append(future.result())
            self()
        return results


def round_published(order: RoundOrder, done: Publication) -> None:
    """A round is there: an asset that came from its source, and an event that automations hear; no news is none."""
    if not done.created:
        return
    asset = Asset(
        key=f"mp://rounds/{done.round_id}",
        properties=AssetProperties(name=f"Round {done.round_id}", description=order.description or order.source),
    )
    came_from: list[str | Asset] = ["mp://sources/ecb" if order.source == "ecb" else "mp://sources/bars"]
    record: Callable[[], str] = materialize(asset, name="record-asset", asset_deps=came_from, cache_policy=NO_CACHE)(
        lambda: done.round_id
    )
    _safely(record)
    what = {"prefect.resource.id": f"mp.round.{done.round_id}", "prefect.resource.name": done.round_id}
    what |= {"mp.round.id": done.round_id, "mp.round.source": order.source}
    facts = {"input_bars": done.input_bars, "rows": done.rows, "is_current": done.made_current}
    _safely(lambda: emit_event(ROUND_PUBLISHED, resource=what, payload=facts))


def report_made(made: Produced) -> None:
    """A report's link, its first plot, and what went wrong with its delivery."""
    lines = [f"**{literal(made.title)}** ({made.report_id}), {datetime.now().astimezone():%Y-%m-%d %H:%M %Z}.", ""]
    lines += [f"It lies at {made.where}." if made.where else "It left no HTML.", ""]
    lines += [f"On the operator's machine: `mp admin report open {made.report_id}`"]
    lines += ["", f"**It failed.** {literal(made.failure)}"] if made.failure else []
    create_markdown_artifact("\n".join(lines), key="report", description=made.title)
    if made.where and "://" in made.where:
        create_link_artifact(made.where, link_text=made.title, key="report-link", description="Its page")
    if made.plot is not None and len(made.plot) <= _MOST_PLOT_BYTES:
        picture = f"data:image/png;base64,{base64.b64encode(made.plot).decode()}"
        create_image_artifact(picture, key="report-plot", description=f"First plot of {made.title}")
    if made.warnings:
        text = "\n".join(f"- {literal(warning)}" for warning in made.warnings)
        create_markdown_artifact(text, key="delivery-warning", description="What went wrong with its delivery")


def _safely(say: Callable[[], Any]) -> None:
    try:
        say()
    except Exception as error:  # noqa: BLE001 - whatever Prefect raises: the work is done and stays done
        log.warning("Prefect was not told: %s", error)

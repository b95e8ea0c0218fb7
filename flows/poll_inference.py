"""Flow ``poll-inference``: asks deployments that want it about each bar that has closed, and stores their answers.

It holds no state: kill it anywhere. Where nobody wants to be asked it pauses its own schedule; ``maintain`` resumes it.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Literal

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, Field

from mp_kit.server import redaction
from mp_kit.server.prefect_api import set_schedule
from mp_kit.server.services import poll_windows, poller
from mp_kit.server.wiring import make_poller, open_house

redaction.install()
_DEPLOYMENT = "poll-inference/poll-inference"


class Polling(BaseModel):
    """Where the bars are, and how long to ask."""

    source: str | None = Field(
        None, min_length=1, description="A file, folder, glob or URL of live OHLCV bars; the current round if left out."
    )
    timeframe: Literal["1m", "5m", "15m", "1h", "4h", "1d"] | None = Field(
        None, description="Shorter bars of the source are resampled to this; a round's bars stay as they are."
    )
    settle_seconds: float = Field(
        5, ge=0, le=300, description="A bar counts as closed so long after its end: feeds lag behind the clock."
    )
    seconds: float = Field(
        50, ge=1, le=600, description="When this flow run ends; no call begins that could outlast it."
    )
    call_seconds: float = Field(10, gt=0, le=60, description="How long a server may take for an answer.")
    show: int = Field(500, ge=1, le=5_000, description="Lines of the table of what was asked.")


@task(name="ask", cache_policy=NO_CACHE)
def ask(order: Polling) -> tuple[list[poller.Asked], dict[str, str]] | None:
    """Asks about the newest closed bars; what became of each, and bars that cannot be read; None if nobody wants it."""
    with open_house() as house:
        with house.db.begin() as tx:
            if not poller.anybody(tx):
                return None
        now = datetime.now(UTC) - timedelta(seconds=order.settle_seconds)
        live = poll_windows.live(house.db.begin, house.store, now, source=order.source, timeframe=order.timeframe)
        made = make_poller(house, call_seconds=order.call_seconds)
        return poller.ask_all(made, live, seconds=order.seconds), dict(live.problems)


@flow(name="poll-inference", flow_run_name="poll-inference", persist_result=False)
def poll_inference(order: Polling = Polling()) -> int:  # noqa: B008 - read only, and the form's default
    """Asks, and says what became of it; returns how many answers were accepted.

    Args:
        order: Where the bars are, and how long to ask.
    """
    did = ask(order)
    if did is None:
        get_run_logger().info("nobody wants to be asked: %s", set_schedule(_DEPLOYMENT, active=False))
        return 0
    asked, problems = did
    counts = poller.outcomes(asked)
    get_run_logger().info("%s; bars that cannot be read: %s", counts, problems or "none")
    if asked:
        table = [asdict(one) | {"bar": one.bar.isoformat()} for one in asked[: order.show]]
        create_table_artifact(key="polls", table=table, description=f"{len(asked)} bars asked about")
    create_table_artifact(key="result", table=[counts | {"unreadable": len(problems)}])
    return counts["accepted"]


if __name__ == "__main__":
    poll_inference()

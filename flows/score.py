"""Flow ``score``: what deployments said, met with the bars of later rounds."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, Field

from mp_kit.server import redaction
from mp_kit.server.services import scores
from mp_kit.server.wiring import open_house

redaction.install()


class Scoring(BaseModel):
    """How to score."""

    cost: float = Field(0.0, ge=0, le=0.1, description="Cost of trading one unit of capital, as a share.")
    show: int = Field(200, ge=1, le=5_000, description="Lines of the leaderboard that the artifact shows.")


@task(name="count-signals", cache_policy=NO_CACHE, retries=2, retry_delay_seconds=2)
def count_signals() -> int:
    """Adds what was pushed to the catalogue's counts; each transaction stands by itself."""
    with open_house() as house:
        return scores.count_all(house.db)


@task(name="score-rounds", cache_policy=NO_CACHE, retries=1, retry_delay_seconds=5)
def score_rounds(order: Scoring) -> list[dict[str, Any]]:
    """Scores every deployment against the newest round of each timeframe; returns the leaderboard."""
    with open_house() as house:
        scores.run(house.db, house.store, cost=order.cost)
        with house.db.begin() as tx:
            return [entry.flat() for entry in scores.leaderboard(tx, limit=order.show)]


@flow(name="score", flow_run_name="score", persist_result=False)
def score(order: Scoring = Scoring()) -> int:  # noqa: B008 - read only, and the form's default
    """Scores signals against realised bars, and counts them for the catalogue.

    Args:
        order: How to score.
    """
    batches = count_signals()
    board = score_rounds(order)
    get_run_logger().info("%d batches counted, %d lines on the leaderboard", batches, len(board))
    if board:
        create_table_artifact(key="leaderboard", table=board, description="Deployments by deflated Sharpe ratio")
    create_table_artifact(key="result", table=[{"batches": batches, "leaderboard": len(board)}])
    return len(board)


if __name__ == "__main__":
    score()

"""Flow ``publish-round``: bars in, a checked, labelled, split and signed round out."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from mp_kit.server import redaction, task_runners, telling
from mp_kit.server.services import accounts, publication
from mp_kit.server.services.publication import Publication, RoundOrder
from mp_kit.server.services.workspace import workspace
from mp_kit.server.wiring import open_house

redaction.install()
_ACTOR = "flow:publish-round"
_RUNNER: Any = task_runners.make(os.environ.get("MP_TASK_RUNNER"))
# A source or a store may be away for a moment; bars that are wrong stay wrong.
_AGAIN: dict[str, Any] = {"retry_delay_seconds": 2, "retry_condition_fn": telling.is_worth_another_try}


@task(task_run_name="check-{symbol}", tags=["data"], cache_policy=NO_CACHE, retries=1, **_AGAIN)
def check_symbol(order: RoundOrder, symbol: str, folder: Path) -> publication.Inspected:
    """Reads and checks one symbol's bars."""
    return publication.inspect(order, symbol, folder)


@task(task_run_name="build-{inspected.symbol}", tags=["data"], cache_policy=NO_CACHE)
def build_symbol(order: RoundOrder, inspected: publication.Inspected, cuts: Any, folder: Path) -> Any:
    """Computes indicators and labels, splits, and writes one symbol's files."""
    return publication.build(order, inspected, cuts, folder)


@task(task_run_name="store-{files.symbol}", cache_policy=NO_CACHE, retries=2, **_AGAIN)
def store_symbol(files: Any) -> int:
    """Puts one symbol's files into the object store, where they are missing."""
    with open_house() as house:
        return publication.store_files(house.store, files)


@task(name="publish", cache_policy=NO_CACHE, retries=2, **_AGAIN)
def publish(order: RoundOrder, inspected: list[Any], built: list[Any], cuts: Any, stored: int) -> Publication:
    """Signs the manifest and stores the round, in one transaction."""
    with open_house() as house, house.db.begin() as tx:
        return publication.publish(tx, house.signer, order, inspected, built, cuts, stored=stored, actor=_ACTOR)


@flow(name="publish-round", flow_run_name="publish-{order.source}", task_runner=_RUNNER, persist_result=False)
def publish_round(order: RoundOrder = RoundOrder()) -> dict[str, Any]:  # noqa: B008 - frozen, and the form's default
    """Publishes a round of market data; the same input again changes nothing and says so.

    Args:
        order: Source, symbols, timeframe, labels and splits.
    """
    with workspace() as folder:
        checks = [check_symbol.submit(order, symbol, folder) for symbol in publication.survey(order, folder)]
        step = telling.Progress("round-progress", 3 * len(checks), "Symbols checked, built and stored")
        inspected = step.each(checks)
        create_table_artifact(key="quality", table=accounts.quality(inspected), description="What the check found")
        cuts = publication.plan(order, inspected)
        builds = [build_symbol.submit(order, one, cuts, folder) for one in inspected]
        built = step.each(builds)
        create_table_artifact(key="leakage", table=accounts.leakage(built), description="What the canaries said")
        stored = sum(step.each([store_symbol.submit(files) for files in built]))
        done = publish(order, inspected, built, cuts, stored)
    telling.round_published(order, done)
    text = accounts.publication(done)
    get_run_logger().info(text.splitlines()[0])
    create_markdown_artifact(key="published-round", markdown=text, description=done.round_id)
    create_table_artifact(key="result", table=[asdict(done)], description="What the flow run did")
    return asdict(done)


if __name__ == "__main__":
    publish_round()

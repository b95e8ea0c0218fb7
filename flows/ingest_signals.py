"""Flow ``ingest-signals``: stores what vendors dropped, and blends what they said, by each method."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, Field

from mp_kit.contracts import Consensus
from mp_kit.server import redaction
from mp_kit.server.services import accounts, consensus, drops, skills
from mp_kit.server.store.vendors import now as clock
from mp_kit.server.wiring import open_house

redaction.install()


class Ingestion(BaseModel):
    """How much to do, and to show."""

    batches: int = Field(500, ge=1, le=10_000, description="Pushed batches that one transaction blends at most.")
    drops: int = Field(100, ge=0, le=10_000, description="Parquet drops that are looked at, at most.")
    show: int = Field(200, ge=1, le=5_000, description="Newest bars that the table of what changed is made of.")


@task(name="take-drops", cache_policy=NO_CACHE, retries=2, retry_delay_seconds=2)
def take_drops(order: Ingestion) -> list[drops.Taken]:
    """Stores the drops that have come; each chunk stands by itself, so that a crash loses and doubles none."""
    with open_house() as house:
        grace = timedelta(seconds=house.settings.late_grace_seconds)
        now = datetime.now(UTC)
        return drops.take_in(house.db, house.store, signer=house.signer, now=now, grace=grace, limit=order.drops)


@task(name="blend", cache_policy=NO_CACHE, retries=2, retry_delay_seconds=2)
def blend(order: Ingestion) -> tuple[int, list[Consensus]]:
    """Blends until nothing is left to do; each transaction stands by itself, so that a crash loses none."""
    with open_house() as house:
        with house.db.begin() as tx:
            began = clock(tx)
        bars = 0
        while True:
            with house.db.begin() as tx:
                blended = consensus.refresh(tx, batches=order.batches, skills=skills.measured)
            if not blended:
                break
            bars += blended
        with house.db.begin() as tx:
            newest = consensus.history(tx, limit=order.show) if bars else []
    return bars, [bar for bar in newest if bar.computed_at >= began]


@flow(name="ingest-signals", flow_run_name="ingest-up-to-{order.batches}-batches", persist_result=False)
def ingest_signals(order: Ingestion = Ingestion()) -> int:  # noqa: B008 - read only, and the form's default
    """Blends every bar that signals came about since it was last blended.

    Args:
        order: How much to do, and to show.
    """
    if taken := take_drops(order):
        create_table_artifact(key="drops", table=[asdict(one) for one in taken], description="Parquet drops taken up")
    bars, changed = blend(order)
    get_run_logger().info("%d bars blended", bars)
    if changed:
        create_table_artifact(
            key="consensus",
            table=accounts.consensus(changed),
            description=f"{bars} bars blended; those of the newest {order.show}, voice by voice, by the primary method",
        )
    create_table_artifact(key="result", table=[{"bars": bars}])
    return bars


if __name__ == "__main__":
    ingest_signals()

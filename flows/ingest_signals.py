"""Flow ``ingest-signals``: blends what vendors pushed into the consensus, by each method."""

from __future__ import annotations

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, Field

from mp_kit.contracts import Consensus
from mp_kit.server import redaction
from mp_kit.server.services import accounts, consensus, skills
from mp_kit.server.store.vendors import now as clock
from mp_kit.server.wiring import open_house

redaction.install()


class Ingestion(BaseModel):
    """How much to do, and to show."""

    batches: int = Field(500, ge=1, le=10_000, description="Pushed batches that one transaction blends at most.")
    show: int = Field(200, ge=1, le=5_000, description="Newest bars that the table of what changed is made of.")


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

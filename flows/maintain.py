"""Flow ``maintain``: ends stray machines, fetches bills, clears uploads, opens months, watches heartbeats and polls."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, Field

from mp_kit.errors import ProviderError
from mp_kit.server import redaction
from mp_kit.server.prefect_api import set_schedule
from mp_kit.server.services import strays, sweeping, upkeep
from mp_kit.server.wiring import open_house

redaction.install()


class Maintenance(BaseModel):
    """What to do."""

    dry_run: bool = Field(default=False, description="Show what would be ended or cleared, and leave it.")


@task(name="sweep-machines", cache_policy=NO_CACHE, retries=1, retry_delay_seconds=5)
def sweep_machines(order: Maintenance) -> tuple[strays.SweepReport, int]:
    """Ends machines on vendors' accounts that no open run stands for, and fetches the bills of those that ended."""
    now = datetime.now(UTC)
    with open_house() as house:
        with house.db.begin() as tx:
            whose = strays.accounts_of(tx, house.providers)
        report = strays.sweep(house.db, house.providers, whose, now=now, dry_run=order.dry_run, actor="flow:maintain")
        return report, 0 if order.dry_run else strays.reconcile(house.db, house.providers, now=now)


@task(name="clear-uploads", cache_policy=NO_CACHE, retries=1, retry_delay_seconds=5)
def clear_uploads(order: Maintenance) -> int:
    """Clears uploads that nobody finished; returns how many."""
    with open_house() as house:
        return len(sweeping.sweep_staged(house.store, datetime.now(UTC), dry_run=order.dry_run).found)


@task(name="open-months", cache_policy=NO_CACHE, retries=1, retry_delay_seconds=5)
def open_months() -> int:
    """Gives months of signals their partitions, ahead of time or once they are crowded; returns how many."""
    with open_house() as house:
        return len(upkeep.keep_months(house.db, datetime.now(UTC)))


@task(name="watch-deployments", cache_policy=NO_CACHE, retries=1, retry_delay_seconds=5)
def watch_deployments() -> int:
    """Tells of deployments that fell silent, and wakes `poll-inference` if it is wanted; returns how many fell."""
    with open_house() as house, house.db.begin() as tx:
        fallen, wanted = upkeep.watch_deployments(tx, datetime.now(UTC))
    if wanted:
        set_schedule("poll-inference/poll-inference", active=True)
    return fallen


@flow(name="maintain", flow_run_name="maintain", persist_result=False)
def maintain(order: Maintenance = Maintenance()) -> None:  # noqa: B008 - read only, and the form's default
    """Keeps the house in order."""
    report, bills = sweep_machines(order)
    did = {"machines": report.seen, "strays": len(report.strays), "bills": bills, "uploads": clear_uploads(order)}
    if not order.dry_run:
        did |= {"months_opened": open_months(), "deployments_offline": watch_deployments()}
    get_run_logger().info("%s", did)
    create_table_artifact(key="result", table=[did], description="What maintenance saw and did")
    if report.strays:
        strangers = [asdict(stray) for stray in report.strays]
        create_table_artifact(key="stray-machines", table=strangers, description="Machines that no open run stands for")
    if report.unreachable:
        raise ProviderError(f"Not looked at: {'; '.join(report.unreachable)}")


if __name__ == "__main__":
    maintain()

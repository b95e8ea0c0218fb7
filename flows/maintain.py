"""Flow ``maintain``: ends stray machines, fetches bills, clears uploads, opens months, watches heartbeats."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, Field

from mp_kit.errors import ProviderError
from mp_kit.server import redaction
from mp_kit.server.services import liveness, strays, sweeping, upkeep
from mp_kit.server.wiring import open_house

redaction.install()
_ACTOR = "flow:maintain"


class Maintenance(BaseModel):
    """What to do."""

    dry_run: bool = Field(default=False, description="Show what would be ended or cleared, and leave it.")


@task(name="sweep-machines", cache_policy=NO_CACHE, retries=1, retry_delay_seconds=5)
def sweep_machines(order: Maintenance) -> tuple[strays.SweepReport, int]:
    """Ends machines on vendors' accounts that no open run stands for, and fetches the bills of those that ended."""
    now = datetime.now(UTC)
    with open_house() as house:
        with house.db.begin() as tx:
            accounts = strays.accounts_of(tx, house.providers)
        report = strays.sweep(house.db, house.providers, accounts, now=now, dry_run=order.dry_run, actor=_ACTOR)
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


@task(name="watch-heartbeats", cache_policy=NO_CACHE, retries=1, retry_delay_seconds=5)
def watch_heartbeats() -> int:
    """Marks deployments offline that fell silent, and forgets old heartbeats; returns how many fell silent."""
    with open_house() as house, house.db.begin() as tx:
        liveness.forget(tx, datetime.now(UTC))
        return len(liveness.flip(tx))


@flow(name="maintain", flow_run_name="maintain", persist_result=False)
def maintain(order: Maintenance = Maintenance()) -> None:  # noqa: B008 - read only, and the form's default
    """Keeps the house in order.

    Args:
        order: What to do.
    """
    report, bills = sweep_machines(order)
    cleared = clear_uploads(order)
    did = {"machines": report.seen, "strays": len(report.strays), "bills": bills, "uploads_cleared": cleared}
    if not order.dry_run:
        did |= {"months_opened": open_months(), "deployments_offline": watch_heartbeats()}
    get_run_logger().info("%s", did)
    create_table_artifact(key="result", table=[did], description="What maintenance saw and did")
    if report.strays:
        found = [asdict(stray) for stray in report.strays]
        create_table_artifact(key="stray-machines", table=found, description="Machines that no open run stands for")
    if report.unreachable:
        raise ProviderError(f"Not looked at: {'; '.join(report.unreachable)}")

"""Flow ``maintain``: ends stray machines and servers, fetches bills, clears uploads, watches heartbeats, and more."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, Field

from mp_kit.errors import ProviderError
from mp_kit.server import redaction
from mp_kit.server.prefect_api import set_schedule
from mp_kit.server.services import stray_servers, strays, sweeping, upkeep
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
            whose = strays.accounts_of(tx, house.providers)
        report = strays.sweep(house.db, house.providers, whose, now=now, dry_run=order.dry_run, actor=_ACTOR)
        return report, 0 if order.dry_run else strays.reconcile(house.db, house.providers, now=now)


@task(name="sweep-servers", cache_policy=NO_CACHE, retries=1, retry_delay_seconds=5)
def sweep_servers(order: Maintenance) -> stray_servers.ServerReport:
    """Ends servers on vendors' accounts that no deployment wants."""
    with open_house() as house:
        with house.db.begin() as tx:
            accounts = stray_servers.accounts_of(tx, house.hosts)
        now = datetime.now(UTC)
        return stray_servers.sweep(house.db, house.hosts, accounts, now=now, dry_run=order.dry_run, actor=_ACTOR)


@task(name="clear-uploads", cache_policy=NO_CACHE, retries=1, retry_delay_seconds=5)
def clear_uploads(order: Maintenance) -> int:
    """Clears uploads that nobody finished; returns how many."""
    with open_house() as house:
        return len(sweeping.sweep_staged(house.store, datetime.now(UTC), dry_run=order.dry_run).found)


@task(name="look-after", cache_policy=NO_CACHE, retries=1, retry_delay_seconds=5)
def look_after() -> dict[str, object]:
    """Tells of deployments that fell silent, forgets what is old, wakes `poll-inference`, opens months; counts."""
    with open_house() as house:
        counts, wanted = upkeep.look_after(house.db, datetime.now(UTC), audit_days=house.settings.audit_days)
    return counts | ({"polls": set_schedule("poll-inference/poll-inference", active=True)} if wanted else {})


@flow(name="maintain", flow_run_name="maintain", persist_result=False)
def maintain(order: Maintenance = Maintenance()) -> None:  # noqa: B008 - read only, and the form's default
    """Keeps the house in order.

    Args:
        order: What to do.
    """
    (report, bills), servers = sweep_machines(order), sweep_servers(order)
    did: dict[str, object] = {"machines": report.seen, "strays": len(report.strays), "bills": bills}
    did |= {"servers": servers.seen, "stray_servers": len(servers.strays), "uploads_cleared": clear_uploads(order)}
    get_run_logger().info("%s", did := did | ({} if order.dry_run else look_after()))
    create_table_artifact(key="result", table=[did], description="What maintenance saw and did")
    for key, found in {"stray-machines": report.strays, "stray-servers": servers.strays}.items():
        if found:
            create_table_artifact(key=key, table=[vars(one) for one in found], description="Of no run or server")
    if unreachable := [*report.unreachable, *servers.unreachable]:
        raise ProviderError(f"Not looked at: {'; '.join(unreachable)}")

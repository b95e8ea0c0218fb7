"""Flow ``scorecards``: a scorecard for each vendor that has a deployment, side by side."""

from __future__ import annotations

import os
from typing import Any

from prefect import flow, get_run_logger, runtime, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import BaseModel, Field

from mp_kit.errors import InternalError
from mp_kit.server import redaction, telling
from mp_kit.server.report_making import Order, Produced, produce
from mp_kit.server.services import vendors
from mp_kit.server.wiring import open_house

redaction.install()
_NOTEBOOK = "vendor_scorecard"
# A kernel each, so not as many as there are vendors.
_RUNNER: Any = ThreadPoolTaskRunner(max_workers=min(4, max(1, (os.cpu_count() or 2) // 2)))


class Scorecards(BaseModel):
    """For whom, and how long each may take."""

    vendors: list[str] = Field(
        [], description="Only these, by id or name; every vendor with a deployment where left out."
    )
    days: int = Field(30, ge=1, le=366, description="How far back to look.")
    minutes: float = Field(10, gt=0, le=240, description="Wall-clock limit of each.")


@task(name="whom", cache_policy=NO_CACHE, retries=2, retry_delay_seconds=2)
def whom(order: Scorecards) -> dict[str, str]:
    """Id and name of each vendor; retried, because it only reads."""
    with open_house() as house, house.db.begin() as tx:
        found = [vendors.named(tx, one) for one in order.vendors] or vendors.deployed(tx)
    return {row.id: row.name for row in found}


@task(task_run_name="scorecard-{name}", tags=["report"], cache_policy=NO_CACHE)
def make(order: Scorecards, vendor_id: str, name: str, flow_run_id: str | None) -> Produced:  # noqa: ARG001 - the task's name
    """One vendor's; another vendor's failure is not its own, and a second one is not sent."""
    wanted = Order(_NOTEBOOK, {"vendor": vendor_id, "days": order.days}, order.minutes * 60, flow_run_id)
    with open_house() as house:
        return produce(house, wanted)


@flow(name="scorecards", task_runner=_RUNNER, persist_result=False)
def scorecards(order: Scorecards = Scorecards()) -> int:  # noqa: B008 - read only, and the form's default
    """Makes scorecards; each is shown to its own vendor alone.

    Args:
        order: For whom, and how long each may take.
    """
    wanted = whom(order)
    step = telling.Progress("scorecards", len(wanted), "Scorecards made")
    begun = {name: make.submit(order, vendor, name, runtime.flow_run.id) for vendor, name in wanted.items()}
    rows = []
    for name, future in begun.items():
        made = future.result(raise_on_failure=False)
        failure = made.failure if isinstance(made, Produced) else f"{type(made).__name__}: {made}"
        where = made.where if isinstance(made, Produced) else None
        rows.append({"vendor": name, "report": where, "failure": failure})
        step()
    create_table_artifact(key="scorecards-made", table=rows, description="Scorecards, vendor by vendor")
    get_run_logger().info("%d scorecards", len(rows))
    if failed := [str(row["vendor"]) for row in rows if row["failure"]]:
        raise InternalError(f"No scorecard for {', '.join(failed)}.", hint="The table says why.")
    create_table_artifact(key="result", table=[{"scorecards": len(rows)}])
    return len(rows)


if __name__ == "__main__":
    scorecards()

"""Flow ``report``: runs a report notebook and keeps it as HTML."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger, runtime, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, ConfigDict, Field

from mp_kit.errors import InternalError
from mp_kit.server import bundle, redaction, reporting, telling
from mp_kit.server.forms import in_order
from mp_kit.server.report_making import FOLDER, Order, Produced, produce
from mp_kit.server.wiring import open_house

redaction.install()
_NAMES: dict[str, Any] = {"enum": list(reporting.names(bundle.root() / FOLDER))}


class ReportOrder(BaseModel):
    """Which report to make."""

    model_config = ConfigDict(json_schema_extra=in_order())

    name: str = Field("daily", description="A notebook of notebooks/reports.", json_schema_extra=_NAMES)
    parameters: dict[str, Any] = Field(
        {}, description="Values for its `parameters` cell, which has defaults; no secret."
    )
    minutes: float = Field(10, gt=0, le=240, description="Wall-clock limit; the notebook is stopped there.")


@task(task_run_name="run-{order.name}", cache_policy=NO_CACHE)
def run_notebook(order: ReportOrder, flow_run_id: str | None) -> Produced:
    """Executes, renders, stores and delivers; not retried, because a second report would be sent."""
    with open_house() as house:
        return produce(house, Order(order.name, order.parameters, order.minutes * 60, flow_run_id))


@flow(name="report", flow_run_name="report-{order.name}", persist_result=False)
def report(order: ReportOrder = ReportOrder()) -> str:  # noqa: B008 - read only, and the form's default
    """Makes a report: HTML in the object store, a row in the database, a link here, a mail where one is configured.

    Args:
        order: Notebook, parameters, and a limit of time.

    Returns:
        The URL of its page, else the path or key of its HTML.
    """
    made = run_notebook(order, runtime.flow_run.id)
    telling.report_made(made)
    if made.failure is not None:
        raise InternalError(f"Report {made.report_id} failed: {made.failure}", hint=f"What it came to: {made.where}")
    get_run_logger().info("report %s: %s", made.report_id, made.where)
    create_table_artifact(key="result", table=[{"report_id": made.report_id, "path": made.where}], description="Where")
    return str(made.where)


if __name__ == "__main__":
    report()

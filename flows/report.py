"""Flow ``report``: runs a report notebook and keeps it as HTML."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from prefect import flow, get_run_logger, runtime, task
from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, Field

from mp_kit.errors import InternalError
from mp_kit.server import bundle, redaction, reporting
from mp_kit.server.services import reports
from mp_kit.server.wiring import open_house

redaction.install()


class ReportOrder(BaseModel):
    """Which report to make."""

    name: str = Field("daily", pattern=r"^[A-Za-z0-9][A-Za-z0-9_\-]*$", description="A notebook of notebooks/reports.")
    parameters: dict[str, Any] = Field(default_factory=dict, description="Values for its `parameters` cell; no secret.")
    minutes: float = Field(10, gt=0, le=240, description="Wall-clock limit.")


@task(task_run_name="run-{notebook.stem}", cache_policy=NO_CACHE)
def run_notebook(notebook: Path, order: ReportOrder, folder: Path) -> reporting.Made:
    """Executes the notebook and renders it."""
    return reporting.make(notebook, order.parameters, folder, seconds=order.minutes * 60)


@flow(name="report", flow_run_name="report-{order.name}", persist_result=False)
def report(order: ReportOrder = ReportOrder()) -> str:  # noqa: B008 - read only, and the form's default
    """Makes a report: HTML in the object store, a row in the database, a link here.

    Args:
        order: Notebook, parameters, and a limit of time.

    Returns:
        The path of the HTML, or its key where the store is no folder.
    """
    notebook = reporting.find(bundle.root() / "notebooks" / "reports", order.name)
    reporting.validate(notebook, order.parameters)
    with open_house() as house, TemporaryDirectory(prefix="mp-report-") as temp:
        with house.db.begin() as tx:
            report_id = reports.begin(tx, order.name, order.parameters, runtime.flow_run.id)
        made = run_notebook(notebook, order, Path(temp))
        files = {path.suffix[1:]: path for path in (made.notebook, made.html) if path is not None}
        key = reports.keep(house.store, order.name, report_id, files) if files else None
        with house.db.begin() as tx:
            reports.end(tx, report_id, object_key=key, failure=made.failure)
        where = reports.place(house.store, key) if key else None
    if isinstance(where, Path):
        create_link_artifact(
            key="report",
            link=where.as_uri(),
            link_text=f"{order.name}.html",
            description=f"Report {report_id}: {where}",
        )
    if made.failure is not None:
        raise InternalError(f"Report {report_id} failed: {made.failure}", hint=f"What it came to: {where}")
    get_run_logger().info("report %s: %s", report_id, where)
    create_table_artifact(key="result", table=[{"report_id": report_id, "path": str(where)}])
    return str(where)

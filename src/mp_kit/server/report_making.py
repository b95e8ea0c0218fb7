"""From a notebook's name to a report that is stored and told of: what the flows ``report`` and ``scorecards`` do.

1. A report is refused before it begins, or it ends: with HTML, or with a failure and what was computed until then.
2. No transaction is open while the notebook runs or a mail is sent.
3. A delivery that fails is a warning and never fails the report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mp_kit.errors import MarketplaceError
from mp_kit.server import bundle, reporting
from mp_kit.server.house import House
from mp_kit.server.reporting import VENDOR, Made
from mp_kit.server.services import reports, vendors
from mp_kit.server.services.reports import Audience

__all__ = ["FOLDER", "Order", "Produced", "produce"]

FOLDER = Path("notebooks") / "reports"
"""Where the notebooks lie, below the bundle's root."""

_MOST_ATTACHED = 8 * 1024 * 1024


@dataclass(frozen=True)
class Order:
    """A report to make.

    Args:
        name: Of a notebook.
        parameters: Values for its ``parameters`` cell.
        seconds: Wall-clock limit.
        flow_run_id: Prefect's id of the flow run that makes it.
    """

    name: str
    parameters: Mapping[str, Any]
    seconds: float
    flow_run_id: str | None = None


@dataclass(frozen=True)
class Produced:
    """What became of an order.

    Args:
        report_id: The report's id.
        title: For people.
        where: Its page's URL, else the path or key of its HTML; None where it left none.
        failure: Why it failed.
        warnings: What went wrong with its delivery.
        plot: Its first plot, as PNG.
    """

    report_id: str
    title: str
    where: str | None
    failure: str | None
    warnings: tuple[str, ...] = ()
    plot: bytes | None = None


def produce(house: House, order: Order) -> Produced:
    """Makes a report, keeps it, and tells of it.

    Raises:
        NotFoundError: There is no such notebook, or no such vendor.
        InvalidInputError: The parameters do not fit.
    """
    notebook = reporting.find(bundle.root() / FOLDER, order.name)
    reporting.validate(notebook, order.parameters)
    kind = reporting.kind_of(notebook)
    with house.db.begin() as tx:
        of = vendors.named(tx, str(order.parameters[VENDOR])) if kind.audience is Audience.VENDOR else None
        title = f"{kind.title}: {of.name}" if of else kind.title
        whose: dict[str, Any] = {"title": title, "audience": kind.audience, "vendor_id": of.id if of else None}
        report_id = reports.begin(tx, order.name, order.parameters, order.flow_run_id, **whose)
    with TemporaryDirectory(prefix="mp-report-") as temp:
        made, key = _make(house, notebook, order, report_id, title, Path(temp))
        page = reports.page_of(kind.audience, report_id) if made.failure is None else None
        where = house.settings.base_url + page if page else str(reports.place(house.store, key)) if key else None
        produced = Produced(report_id, title, where, made.failure, plot=made.plot)
        return Produced(**vars(produced) | {"warnings": _mail(house, produced, made.html)})


def _make(
    house: House, notebook: Path, order: Order, report_id: str, title: str, folder: Path
) -> tuple[Made, str | None]:
    """Runs the notebook, stores what it left and notes how it ended, whatever happens."""
    try:
        made = reporting.make(notebook, order.parameters, folder, seconds=order.seconds, title=title)
        files = {path.suffix[1:]: path for path in (made.notebook, made.html) if path is not None}
        key = reports.keep(house.store, order.name, report_id, files) if files else None
    except BaseException as error:
        with house.db.begin() as tx:
            reports.end(tx, report_id, object_key=None, failure=f"{type(error).__name__}: {error}")
        raise
    with house.db.begin() as tx:
        reports.end(tx, report_id, object_key=key, failure=made.failure)
    return made, key


def _mail(house: House, produced: Produced, html: Path | None) -> tuple[str, ...]:
    if house.mailer is None:
        return ()
    small = html is not None and html.stat().st_size <= _MOST_ATTACHED
    attached = [(f"{produced.report_id}.html", html.read_bytes())] if html is not None and small else []
    what = f"failed: {produced.failure}" if produced.failure else "is attached." if attached else "is made."
    text = f"{produced.title} {what}\n\n{produced.where or ''}\nmp admin report open {produced.report_id}\n"
    try:
        house.mailer.send(f"{'Failed: ' if produced.failure else ''}{produced.title}", text, attached)
    except MarketplaceError as error:
        return (f"It was not mailed. {error.message}",)
    return ()

"""Reports: the public ones for everybody, a vendor's own on its desk, all for the operator; no page may do a thing."""

from __future__ import annotations

from litestar import Response, get
from litestar.params import FromPath

from mp_kit.server.console.pages import document, page, redirect
from mp_kit.server.console.visits import OPERATOR, TheHouse, TheVisit, operator_only, signed_in, vendor_of
from mp_kit.server.services import reports

PUBLIC = "/marketplace/reports"
OWN = "/marketplace/vendor/reports"
_LIMIT = 100


@get(PUBLIC, sync_to_thread=True, include_in_schema=False)
def listed(house: TheHouse, visit: TheVisit) -> Response[bytes]:
    """The reports for everybody, newest first."""
    with house.db.begin() as tx:
        found = reports.shown(tx, limit=_LIMIT)
    return page(visit, "reports.html", title="Reports", reports=found, root=PUBLIC)


@get(f"{PUBLIC}/{{report_id:str}}", sync_to_thread=True, include_in_schema=False)
def one(house: TheHouse, visit: TheVisit, report_id: FromPath[str]) -> Response[bytes]:
    """A report for everybody."""
    with house.db.begin() as tx:
        found = reports.show(tx, report_id)
    return document(visit, reports.html(house.store, found))


@get(OWN, guards=[signed_in], sync_to_thread=True, include_in_schema=False)
def own(house: TheHouse, visit: TheVisit) -> Response[bytes]:
    """The vendor's own reports, newest first."""
    with house.db.begin() as tx:
        found = reports.shown(tx, vendor_of(visit), limit=_LIMIT)
    return page(visit, "vendor/reports.html", title="Reports", reports=found, root=OWN)


@get(f"{OWN}/{{report_id:str}}", guards=[signed_in], sync_to_thread=True, include_in_schema=False)
def own_one(house: TheHouse, visit: TheVisit, report_id: FromPath[str]) -> Response[bytes]:
    """One of the vendor's own reports."""
    with house.db.begin() as tx:
        found = reports.show(tx, report_id, vendor_of(visit))
    return document(visit, reports.html(house.store, found))


@get(OPERATOR, guards=[operator_only], sync_to_thread=True, include_in_schema=False)
def every(house: TheHouse, visit: TheVisit) -> Response[bytes]:
    """All reports, newest first, those that failed and those that are being made among them."""
    with house.db.begin() as tx:
        found = reports.every(tx, limit=_LIMIT)
    return page(visit, "operator_reports.html", title="Reports", reports=found, root=OPERATOR)


@get(OPERATOR.rpartition("/")[0], guards=[operator_only], sync_to_thread=False, include_in_schema=False)
def front(visit: TheVisit) -> Response[bytes]:
    """The operator's front door."""
    return redirect(visit, OPERATOR)


@get(f"{OPERATOR}/{{report_id:str}}", guards=[operator_only], sync_to_thread=True, include_in_schema=False)
def any_one(house: TheHouse, visit: TheVisit, report_id: FromPath[str]) -> Response[bytes]:
    """Any report; of one that failed, how far it came."""
    with house.db.begin() as tx:
        found = reports.find(tx, report_id)
    return document(visit, reports.html(house.store, found))


HANDLERS = [listed, one, own, own_one, front, every, any_one]

"""Reports: the public ones for everybody, a vendor's own on its desk; each is a page that may do nothing."""

from __future__ import annotations

from litestar import Response, get
from litestar.params import FromPath

from mp_kit.server.console.pages import document, page
from mp_kit.server.console.visits import TheHouse, TheVisit, signed_in, vendor_of
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


HANDLERS = [listed, one, own, own_one]

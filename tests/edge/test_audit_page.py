"""The operator's audit page: filters, pages by a cursor, a file that no spreadsheet runs, and nobody else's eyes."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from desks import Visitor
from sqlalchemy import text

from mp_kit.server.console.audit import cell
from mp_kit.server.house import House
from mp_kit.server.services import audit
from tests.edge.test_reports import operator_of

PAGE, FILE = "/marketplace/operator/audit", "/marketplace/operator/audit.csv"
HARM = '=HYPERLINK("http://evil.example","x")<script>alert(1)</script>'


@pytest.fixture(scope="module")
def operator(edge: httpx.Client, edge_house: House) -> Iterator[httpx.Client]:
    """The operator, signed in, and a log with 120 entries of its own."""
    with edge_house.db.begin() as tx:
        for number in range(120):
            audit.record(tx, "operator:bulk", "bulk.do", f"thing_{number:03}", number=number)
        audit.record(tx, "vendor:ven_harm", "key.create", HARM, name=HARM, vendor_id="ven_harm", note=None)
    with httpx.Client(base_url=edge.base_url, timeout=30) as browser:
        assert 303 == operator_of(browser, edge_house.settings.service_key).status_code
        yield browser


def entries(page: httpx.Response) -> list[str]:
    """What the entries of a page were done to."""
    assert 200 == page.status_code, page.text
    return re.findall(r'<td class="clip"><a href="[^"]+">([^<]+)</a>', page.text)


def test_nobody_else_sees_it(edge: httpx.Client, visitor: Visitor):
    """The public is sent to the login, a vendor is refused; of the file likewise."""
    for path in (PAGE, FILE):
        assert (303, 403) == (edge.get(path).status_code, visitor.get(path).status_code)


def test_pages_hang_together(operator: httpx.Client, edge_house: House):
    """Every entry once, newest first, also while others come; of one instant all have their place."""
    seen, path = [], f"{PAGE}?action=bulk."
    for _ in range(3):
        page = operator.get(path)
        seen += entries(page)
        with edge_house.db.begin() as tx:
            audit.record(tx, "operator:bulk", "bulk.do", "later")
        after = re.search(r'href="([^"]+)" rel="next"', page.text)
        path = after[1].replace("&amp;", "&") if after else ""
    assert ("", 120, {f"thing_{number:03}" for number in range(120)}) == (path, len(seen), set(seen))


FILTERS: dict[str, tuple[dict[str, str], int]] = {
    "by actor": ({"actor": "vendor:ven_harm"}, 1),
    "by the actor's beginning": ({"actor": "vendor:ven_h"}, 1),
    "by action": ({"action": "key.create", "actor": "vendor:ven_harm"}, 1),
    "by what it was done to": ({"about": "thing_007"}, 1),
    "by a fact": ({"about": "ven_harm"}, 1),
    "by half an id": ({"about": "thing_00"}, 0),
    "by what nobody did": ({"action": "%"}, 0),
}


@pytest.mark.parametrize("case", FILTERS.values(), ids=FILTERS)
def test_filters(operator: httpx.Client, case: tuple[dict[str, str], int]):
    """Together or alone; what fits nothing says so with a way back."""
    wanted, count = case
    page = operator.get(PAGE, params=wanted)
    assert count == len(entries(page))
    assert (count == 0) == ("Nothing fits" in page.text)


def test_days_have_both_ends(operator: httpx.Client, edge_house: House):
    """The last day is whole; a day that is none is told beside its field, and nothing is shown for it."""
    with edge_house.db.begin() as tx:
        tx.execute(
            text("INSERT INTO audit_log (id, at, actor, action, subject) VALUES ('aud_old', :at, 'x', 'y', 'of_old')"),
            {"at": datetime(2020, 1, 31, 23, 59, tzinfo=UTC)},
        )
    assert ["of_old"] == entries(operator.get(PAGE, params={"since": "2020-01-31", "until": "2020-01-31"}))
    assert [] == entries(operator.get(PAGE, params={"until": "2020-01-30"}))
    bad = operator.get(PAGE, params={"since": "31.1.2020"})
    assert ([], True) == (entries(bad), "Like 2026-01-31" in bad.text)


@pytest.mark.parametrize(
    "before", ["x", "2020-01-31~a", "~", "\0", "2020-01-31T00:00:00+00:00~'; DROP TABLE audit_log"]
)
def test_garbled_cursor_is_no_fault(operator: httpx.Client, before: str):
    """It begins somewhere, and nothing breaks."""
    assert 200 == operator.get(PAGE, params={"before": before}).status_code


def test_vendors_are_found_by_name(operator: httpx.Client, vendor: SimpleNamespace):
    """As everywhere, and its id is what the entries have."""
    assert vendor.id in entries(operator.get(PAGE, params={"about": vendor.name}))


def test_vendors_have_their_names(operator: httpx.Client, vendor: SimpleNamespace, edge_house: House):
    """Beside the id, as who did it and as what it was done to; what is no vendor has none."""
    with edge_house.db.begin() as tx:
        audit.record(tx, f"vendor:{vendor.id}", "named.do", vendor.id)
        audit.record(tx, "vendor:ven_gone", "named.do", "thing_1")
    page = operator.get(PAGE, params={"action": "named."}).text
    assert 2 == page.count(f'</a><span class="under">{vendor.name}</span>')
    assert "vendor:ven_gone</a></td>" in page


def test_what_is_shown_is_text(operator: httpx.Client):
    """A fact with markup in it is no markup."""
    page = operator.get(PAGE, params={"actor": "vendor:ven_harm"})
    assert ("<script>alert" in page.text, "&lt;script&gt;alert" in page.text) == (False, True)


def test_file_has_all_that_fit_and_no_formula(operator: httpx.Client):
    """Beyond one page, to be saved, and each dangerous cell begins with an apostrophe."""
    answer = operator.get(FILE, params={"action": "bulk."})
    assert ("text/csv", 'attachment; filename="audit.csv"', "no-store") == (
        answer.headers["content-type"].split(";")[0],
        answer.headers["content-disposition"],
        answer.headers["cache-control"],
    )
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert 120 <= len(rows)
    assert {"at", "actor", "action", "subject", "detail"} <= set(rows[0])
    harmful = list(csv.DictReader(io.StringIO(operator.get(FILE, params={"actor": "vendor:ven_harm"}).text)))
    assert [f"'{HARM}"] == [row["subject"] for row in harmful]


CELLS: dict[str, Any] = {
    "=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@SUM(A1)": "'@SUM(A1)", "\t=1": "'\t=1", "\r=1": "'\r=1",
    "  =1": "'  =1", "\ufeff=1": "'\ufeff=1", "\n=1": "'\n=1", "plain": "plain", "a=1": "a=1", "": "",
}  # fmt: skip


@pytest.mark.parametrize("value", CELLS)
def test_cells_are_no_formulas(value: str):
    """Wherever a spreadsheet begins to look."""
    assert CELLS[value] == cell(value)


def test_log_of_a_far_future_is_empty(operator: httpx.Client):
    """A range without entries says so."""
    day = f"{datetime.now(UTC) + timedelta(days=400):%Y-%m-%d}"
    assert "Nothing fits" in operator.get(PAGE, params={"since": day}).text

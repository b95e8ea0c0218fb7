"""Reports on the console: whose eyes see which, and a page that can do nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from desks import Visitor

from mp_kit.server import clock
from mp_kit.server.house import House
from mp_kit.server.services import reports
from mp_kit.server.services.reports import Audience
from mp_kit.server.services.tokens import TokenBook

PUBLIC, OWN, ALL = "/marketplace/reports", "/marketplace/vendor/reports", "/marketplace/operator/reports"
HARM = "<script>alert(1)</script>"


@pytest.fixture
def other(edge: httpx.Client, new_vendor: Callable[[], SimpleNamespace]) -> Iterator[Visitor]:
    """Another vendor, signed in."""
    with Visitor(str(edge.base_url), new_vendor().key) as made:
        yield made


@pytest.fixture
def visitor(edge: httpx.Client, vendor: SimpleNamespace) -> Iterator[Visitor]:
    """The vendor, signed in."""
    with Visitor(str(edge.base_url), vendor.key) as made:
        yield made


def made(
    house: House, folder: Path, audience: Audience, vendor_id: str | None = None, *, failure: str | None = None
) -> str:
    """A report with HTML in the store; its id."""
    html = folder / "x.html"
    html.write_text(f"<p>figures</p>{HARM}")
    with house.db.begin() as tx:
        report_id = reports.begin(tx, "x", {}, None, title=f"About {HARM}", audience=audience, vendor_id=vendor_id)
    key = reports.keep(house.store, "x", report_id, {"html": html})
    with house.db.begin() as tx:
        reports.end(tx, report_id, object_key=key, failure=failure)
    return report_id


def test_lists_say_where_reports_come_from(edge: httpx.Client, visitor: Visitor):
    """Empty, with a next step; a vendor's needs a session."""
    assert "No report yet" in edge.get(PUBLIC).text
    assert "No report yet" in visitor.get(OWN).text
    assert 303 == edge.get(OWN).status_code
    assert 303 == edge.get(f"{OWN}/rep_x").status_code


def test_public_report_is_everybodys(edge: httpx.Client, edge_house: House, tmp_path: Path):
    """Listed with its title as text, and served in a sandbox: no script, no frame, nothing from elsewhere."""
    report_id = made(edge_house, tmp_path, Audience.PUBLIC)
    listed = edge.get(PUBLIC).text
    assert f"{PUBLIC}/{report_id}" in listed
    assert HARM not in listed
    page = edge.get(f"{PUBLIC}/{report_id}")
    policy = page.headers["content-security-policy"]
    assert (200, f"<p>figures</p>{HARM}") == (page.status_code, page.text)
    assert policy.startswith("sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:;")
    assert "script-src" not in policy
    assert ("nosniff", "DENY") == (page.headers["x-content-type-options"], page.headers["x-frame-options"])


def test_scorecard_is_its_vendors_alone(
    edge: httpx.Client, edge_house: House, vendor: SimpleNamespace, visitor: Visitor, other: Visitor, tmp_path: Path
):
    """Another vendor and the public get the page of what there is not, and no list names it."""
    report_id = made(edge_house, tmp_path, Audience.VENDOR, vendor.id)
    assert report_id in visitor.get(OWN).text
    assert (200, "no-store") == (
        visitor.get(f"{OWN}/{report_id}").status_code,
        visitor.get(f"{OWN}/{report_id}").headers["cache-control"],
    )
    for who, path in ((other, OWN), (other, PUBLIC), (edge, PUBLIC), (visitor, PUBLIC)):
        assert 404 == who.get(f"{path}/{report_id}").status_code
        assert report_id not in who.get(path).text


@pytest.mark.parametrize("failure", [None, "it broke"])
def test_operators_and_failed_reports_have_no_page(
    edge: httpx.Client, edge_house: House, visitor: Visitor, tmp_path: Path, failure: str | None
):
    """Neither is found by its id, by anybody."""
    audience = Audience.OPERATOR if failure is None else Audience.PUBLIC
    report_id = made(edge_house, tmp_path, audience, failure=failure)
    for path in (f"{PUBLIC}/{report_id}", f"{OWN}/{report_id}"):
        assert 404 == visitor.get(path).status_code
    assert report_id not in edge.get(PUBLIC).text


def test_report_gone_from_the_store(edge: httpx.Client, edge_house: House, tmp_path: Path):
    """A page says so, not a fault."""
    report_id = made(edge_house, tmp_path, Audience.PUBLIC)
    edge_house.store.delete(f"reports/x/{report_id}.html")
    assert 404 == edge.get(f"{PUBLIC}/{report_id}").status_code


def operator_of(edge: httpx.Client, key: str) -> httpx.Response:
    """Signs in with a key on the login page, by hand: what comes of it."""
    form = edge.get("/marketplace/login")
    found = re.search(r'name="csrf" value="([^"]+)"', form.text)
    assert found is not None
    data = {"csrf": found[1], "api_key": key, "next": "/marketplace"}
    return edge.post("/marketplace/login", data=data, headers={"Referer": f"{edge.base_url}/marketplace/login"})


def test_operator_reads_every_report(edge: httpx.Client, edge_house: House, vendor: SimpleNamespace, tmp_path: Path):
    """Signed in with the service key: everybody's, vendors' and those that failed; the API takes no such session."""
    kinds = [(Audience.OPERATOR, None, None), (Audience.VENDOR, vendor.id, None), (Audience.PUBLIC, None, "it broke")]
    ids = [made(edge_house, tmp_path, audience, owner, failure=why) for audience, owner, why in kinds]
    with httpx.Client(base_url=edge.base_url) as browser:
        assert 303 == browser.get(ALL).status_code
        answer = operator_of(browser, edge_house.settings.service_key)
        assert (303, ALL) == (answer.status_code, answer.headers["location"])
        door = browser.get(ALL.rpartition("/")[0])
        assert (303, ALL) == (door.status_code, door.headers["location"])
        listed = browser.get(ALL).text
        assert [True, True, True, True, False] == [
            *(one in listed for one in ids),
            "it broke" in listed,
            HARM in listed,
        ]
        assert [200, 200, 200] == [browser.get(f"{ALL}/{one}").status_code for one in ids]
        session = browser.cookies["mp_session"]
        assert 303 == browser.get(OWN).status_code
    for path in ("/api/vendors/me", "/api/signals"):
        assert 401 == edge.get(path, headers={"Authorization": f"Bearer {session}"}).status_code


def test_operators_pages_are_nobody_elses(edge: httpx.Client, edge_house: House, visitor: Visitor, tmp_path: Path):
    """A vendor is refused and not sent round in circles; a wrong key and a former key's session open nothing."""
    report_id = made(edge_house, tmp_path, Audience.OPERATOR)
    assert [403, 403] == [visitor.get(path).status_code for path in (ALL, f"{ALL}/{report_id}")]
    with httpx.Client(base_url=edge.base_url) as browser:
        assert 401 == operator_of(browser, "x" * 44).status_code
        former = TokenBook(pepper="p", jwt_secret=edge_house.settings.jwt_secret, service_key="a former key")
        for session in (former.operator_session(clock.now() + timedelta(hours=1)), _ended(edge_house)):
            browser.cookies.set("mp_session", session)
            assert 303 == browser.get(ALL).status_code


def _ended(house: House) -> str:
    return house.tokens.operator_session(clock.now() - timedelta(seconds=1))

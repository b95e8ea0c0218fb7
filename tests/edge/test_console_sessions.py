"""The console over real HTTP, without a browser: headers, sessions, forms, errors."""

from __future__ import annotations

import re
from types import SimpleNamespace
from urllib.parse import quote

import httpx
import pytest

from mp_kit.server.console.pages import POLICY
from mp_kit.server.house import House
from mp_kit.server.services import vendors

LOGIN = "/marketplace/login"
FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture
def visitor(edge: httpx.Client) -> httpx.Client:
    """Somebody with a browser of their own."""
    with httpx.Client(base_url=edge.base_url, timeout=30) as client:
        yield client


def token_of(page: httpx.Response) -> str:
    """The CSRF token of a page's form."""
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', page.text)
    assert found is not None, page.text
    return found[1]


def sign_in(visitor: httpx.Client, key: str, **more: str) -> httpx.Response:
    """Sends the login form as a browser does."""
    form = {"csrf": token_of(visitor.get(LOGIN)), "api_key": key} | more
    return visitor.post(LOGIN, data=form)


@pytest.mark.parametrize("path", ["/", "/marketplace", LOGIN, "/marketplace/no/such", "/consensus/no/such"])
def test_headers_are_on_every_page(visitor: httpx.Client, path: str):
    """Redirects and errors bear them too; nothing on a page is inline."""
    page = visitor.get(path)
    assert POLICY == page.headers["content-security-policy"]
    assert "nosniff" == page.headers["x-content-type-options"]
    assert "DENY" == page.headers["x-frame-options"]
    assert page.headers["cache-control"] in {"no-store", "private, no-cache"}
    assert "strict-transport-security" not in page.headers
    assert "style=" not in page.text
    assert "<style" not in page.text
    assert not re.search(r"<script(?! src=)|\son\w+=", page.text)


def test_policy_allows_nothing_inline():
    """No unsafe word, no other host."""
    assert "unsafe" not in POLICY
    assert "http" not in POLICY
    assert POLICY.startswith("default-src 'none'")


@pytest.mark.parametrize(
    "path",
    [
        "/marketplace/no/such",
        "/marketplace/models",
        "/marketplace/models/a/b",
        "/marketplace/operator/no",
        "/marketplace/docs/wire/no",
        "/marketplace/vendor/no",
        "/marketplace/vendor/training/run_x/no",
        "/marketplace/vendor/deployments/dep_x/server",
        "/marketplace/<b>",
    ],
)
def test_absent_page_is_a_page(visitor: httpx.Client, path: str):
    """404 in the console's layout with its headers and a way on, however near another page is."""
    page = visitor.get(path)
    assert (404, "text/html; charset=utf-8") == (page.status_code, page.headers["content-type"])
    assert POLICY == page.headers["content-security-policy"]
    assert "To the catalogue" in page.text
    assert "<b>" not in page.text.partition("<main")[2].partition("</h1>")[2]


@pytest.mark.parametrize("path", ["/no", "/marketplacex", "/api/no", "/api/models/x/no"])
def test_absent_route_of_the_api_is_no_page(visitor: httpx.Client, path: str):
    """Programs get the envelope."""
    assert (404, "application/json") == ((answer := visitor.get(path)).status_code, answer.headers["content-type"])


def test_absent_page_does_not_claim_that_nobody_is_signed_in(visitor: httpx.Client, vendor: SimpleNamespace):
    """It was not asked who visits, so it says nothing about it."""
    sign_in(visitor, vendor.key)
    assert "Sign in" not in visitor.get("/marketplace/models").text


def test_icon_is_there_for_whoever_guesses_its_address(visitor: httpx.Client):
    """A picture of a few hundred bytes, that can do nothing."""
    icon = visitor.get("/favicon.ico")
    assert (200, "image/svg+xml") == (icon.status_code, icon.headers["content-type"].partition(";")[0])
    assert icon.content.startswith(b"<svg")
    assert len(icon.content) < 1_000
    assert icon.headers["content-security-policy"].startswith("default-src 'none'")


def test_static_files_are_kept_for_good(visitor: httpx.Client):
    """Every address that a page names answers, immutable, under the hash of its bytes."""
    found = re.findall(r'"(/marketplace/static/[^"]+)"', visitor.get(LOGIN).text)
    assert 3 == len(found)
    for address in found:
        file = visitor.get(address)
        assert (200, True) == (file.status_code, "immutable" in file.headers["cache-control"])
    assert 404 == visitor.get("/marketplace/static/..%2Fpages.py").status_code
    assert 404 == visitor.get("/marketplace/static/nothing.css").status_code


def test_signing_in_sets_a_cookie_that_scripts_cannot_read(visitor: httpx.Client, vendor: SimpleNamespace):
    """HttpOnly, SameSite=Lax, the whole site, a day; the key is nowhere in it."""
    answer = sign_in(visitor, vendor.key)
    assert (303, "/marketplace/vendor") == (answer.status_code, answer.headers["location"])
    cookie = next(c for c in answer.headers.get_list("set-cookie") if c.startswith("mp_session="))
    flags = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"httponly", "samesite=lax", "path=/", "max-age=86400"} <= flags
    assert "secure" not in flags
    assert vendor.key not in cookie
    page = visitor.get(LOGIN, follow_redirects=True)
    assert vendor.name in page.text
    assert "no-store" == page.headers["cache-control"]


@pytest.mark.parametrize("key", ["", "vk_wrong", "sit_x", "vk_" + "a" * 16 + "_" + "b" * 43, "x" * 5_000, "vk_<b>"])
def test_wrong_keys_are_refused_kindly(visitor: httpx.Client, key: str):
    """The form again, the sentence as an alert, and never the key."""
    answer = sign_in(visitor, key)
    assert (401, True) == (answer.status_code, 'role="alert"' in answer.text)
    assert not key or key not in answer.text
    assert "mp_session" not in answer.headers.get("set-cookie", "")


def test_suspended_vendors_do_not_sign_in(visitor: httpx.Client, vendor: SimpleNamespace, edge_house: House):
    """403 with the reason; a session from before has ended."""
    sign_in(visitor, vendor.key)
    with edge_house.db.begin() as tx:
        vendors.set_status(tx, vendor.id, vendors.VendorStatus("suspended"), actor="test")
    edge_house.tokens.forget()
    assert "Sign in" in visitor.get("/marketplace/no/such").text
    visitor.cookies.clear()
    answer = sign_in(visitor, vendor.key)
    assert (403, True) == (answer.status_code, "suspended" in answer.text)


@pytest.mark.parametrize("form", [{}, {"csrf": ""}, {"csrf": "0" * 64}, {"csrf": "ü"}])
def test_forms_without_their_token_are_refused(visitor: httpx.Client, vendor: SimpleNamespace, form: dict[str, str]):
    """403, and nobody is signed in or out."""
    visitor.get(LOGIN)
    answer = visitor.post(LOGIN, data=form | {"api_key": vendor.key})
    assert (403, True) == (answer.status_code, "no longer good" in answer.text)
    assert "mp_session" not in answer.headers.get("set-cookie", "")


def test_forms_of_another_session_are_refused(edge: httpx.Client, visitor: httpx.Client, vendor: SimpleNamespace):
    """A token is good in its own session only, signed in or not."""
    before = token_of(visitor.get(LOGIN))
    with httpx.Client(base_url=edge.base_url) as other:
        other.get(LOGIN)
        assert 403 == other.post(LOGIN, data={"csrf": before, "api_key": vendor.key}).status_code
    sign_in(visitor, vendor.key)
    assert 403 == visitor.post("/marketplace/logout", data={"csrf": before}).status_code


def test_forms_of_other_sites_are_refused(visitor: httpx.Client, vendor: SimpleNamespace):
    """What the browser says of a form's origin counts, even beside a good token."""
    form = {"csrf": token_of(visitor.get(LOGIN)), "api_key": vendor.key}
    assert 403 == visitor.post(LOGIN, data=form, headers={"sec-fetch-site": "cross-site"}).status_code


@pytest.mark.parametrize("body", [b"\xff\xfe", b"&".join(b"a=1" for _ in range(500))])
def test_forms_that_are_none(visitor: httpx.Client, body: bytes):
    """422, as a page."""
    assert 422 == visitor.post(LOGIN, content=body, headers=FORM).status_code
    assert 422 == visitor.post(LOGIN, json={"api_key": "x"}).status_code
    assert 413 == visitor.post(LOGIN, content=b"a" * 300_000, headers=FORM).status_code


def test_signing_out(visitor: httpx.Client, vendor: SimpleNamespace):
    """The cookie goes, a sentence is shown once."""
    sign_in(visitor, vendor.key)
    page = visitor.get("/marketplace")
    gone = visitor.post("/marketplace/logout", data={"csrf": token_of(page)}, follow_redirects=True)
    assert "You are signed out." in gone.text
    assert vendor.name not in gone.text
    assert "You are signed out." not in visitor.get("/marketplace").text


def test_signing_out_everywhere_ends_other_sessions(edge: httpx.Client, visitor: httpx.Client, vendor: SimpleNamespace):
    """By the vendor's epoch; the API key lives on."""
    session = edge.post("/api/vendors/login", json={"api_key": vendor.key}).json()["data"]["token"]
    sign_in(visitor, vendor.key)
    page = visitor.get("/marketplace")
    assert 303 == visitor.post("/marketplace/logout/everywhere", data={"csrf": token_of(page)}).status_code
    assert 401 == edge.get("/api/vendors/me", headers={"Authorization": f"Bearer {session}"}).status_code
    assert 200 == edge.get("/api/vendors/me", headers=vendor.headers).status_code


@pytest.mark.parametrize("cookie", ["a.b.c", "..", "x", "vk"])
def test_cookies_that_are_no_session(visitor: httpx.Client, vendor: SimpleNamespace, cookie: str):
    """A key in the cookie is no session either."""
    visitor.cookies.set("mp_session", vendor.key if cookie == "vk" else cookie)
    page = visitor.get("/marketplace")
    assert (200, False) == (page.status_code, vendor.name in page.text)


def test_ended_session_leads_back_to_where_one_was(visitor: httpx.Client, vendor: SimpleNamespace, edge_house: House):
    """A form of an ended session goes to the login, which returns to the page that the form stood on."""
    sign_in(visitor, vendor.key)
    token = token_of(visitor.get("/marketplace"))
    with edge_house.db.begin() as tx:
        vendors.end_sessions(tx, vendor.id, actor="test")
    was = f"{visitor.base_url}/marketplace?task=signal"
    answer = visitor.post("/marketplace/logout/everywhere", data={"csrf": token}, headers={"referer": was})
    back = quote("/marketplace?task=signal", safe="")
    assert (303, f"{LOGIN}?next={back}") == (answer.status_code, answer.headers["location"])
    page = visitor.get(answer.headers["location"])
    assert "Your session has ended" in page.text
    again = sign_in(visitor, vendor.key, next="/marketplace?task=signal")
    assert "/marketplace?task=signal" == again.headers["location"]


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/marketplace",
        "//evil.example/marketplace",
        "/\\evil.example",
        "/marketplace/../api/vendors/me",
        "/api/vendors/me",
        "/marketplacex",
        "javascript:alert(1)",
        "/marketplace\r\nx: y",
        "/consensus" + "x" * 1_000,
    ],
)
def test_login_leads_to_no_other_place(visitor: httpx.Client, vendor: SimpleNamespace, target: str):
    """Only to pages of the console."""
    assert "/marketplace/vendor" == sign_in(visitor, vendor.key, next=target).headers["location"]
    assert "/marketplace/vendor" == visitor.get(LOGIN, params={"next": target}).headers["location"]


def test_signing_in_from_the_front_door_leads_to_the_desk(visitor: httpx.Client, vendor: SimpleNamespace):
    """From the catalogue as from the login page; from elsewhere it leads back."""
    link = re.search(r'href="(/marketplace/login[^"]*)"', visitor.get("/marketplace").text)
    assert link is not None
    target = re.search(r'name="next" value="([^"]*)"', visitor.get(link[1]).text)
    assert target is not None
    assert "/marketplace/vendor" == sign_in(visitor, vendor.key, next=target[1]).headers["location"]
    visitor.cookies.clear()
    assert "?next=%2Fmarketplace%2Fleaderboard" in visitor.get("/marketplace/leaderboard").text


@pytest.mark.parametrize("path", [LOGIN, "/marketplace/docs"])
def test_pages_teach_a_login_that_works(visitor: httpx.Client, edge_house: House, path: str):
    """With the marketplace's address, and never a key where the shell's history keeps it."""
    page = visitor.get(path).text
    assert f"mp login --api-url {edge_house.settings.base_url}" in page
    assert "--api-key vk_" not in page
    for told in re.findall(r"mp login[^<\n]*", page):
        assert told == "mp login" or "--api-url" in told, told


def test_login_page_says_how_the_operator_signs_in(visitor: httpx.Client):
    """With the service key."""
    assert "service key" in visitor.get(LOGIN).text

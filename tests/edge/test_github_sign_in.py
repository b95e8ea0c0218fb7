"""Signing in with GitHub over real HTTP, against a GitHub of ours: what goes wrong first."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from desks import csrf_of, words_of
from edges import serving
from github_visits import CALLBACK, DESK, KEYS, LINK, LOGIN, START, Person, Persons
from oauth_server import TOKEN, USER, OAuthServer
from receivers import cut, status
from sqlalchemy import text

from mp_kit.contracts import VendorStatus
from mp_kit.server.console.pages import POLICY
from mp_kit.server.house import House
from mp_kit.server.processes import free_port
from mp_kit.server.services import identities, vendors
from mp_kit.server.wiring import build


@pytest.fixture(scope="module")
def edge_house(house: House, hub: OAuthServer) -> Iterator[House]:
    """A house with an OAuth app there."""
    built = build(replace(house.settings, base_url=f"http://127.0.0.1:{free_port()}", **hub.settings()))
    yield built
    built.close()


@pytest.fixture
def linked(edge_house: House, hub: OAuthServer, vendor: SimpleNamespace, login: str) -> str:
    """The account, linked to the vendor by the operator."""
    link(edge_house, hub, vendor.id, login)
    return login


def link(house: House, hub: OAuthServer, vendor_id: str, login: str) -> None:
    """The operator's link."""
    with house.db.begin() as tx:
        provider = urlsplit(hub.url).netloc
        identities.link_by_operator(tx, vendor_id, provider, hub.accounts[login], actor="test")


def audited(house: House, action: str, vendor_or_account: str) -> list[tuple[str, str]]:
    """Actor and reason of the entries about somebody."""
    with house.db.begin() as tx:
        rows = tx.execute(
            text("SELECT actor, detail FROM audit_log WHERE action = :a ORDER BY at"), {"a": action}
        ).all()
    return [(row.actor, row.detail.get("why", "")) for row in rows if vendor_or_account in f"{row.actor} {row.detail}"]


def set_status(house: House, vendor_id: str, status: str) -> None:
    """The operator's decision."""
    with house.db.begin() as tx:
        vendors.set_status(tx, vendor_id, VendorStatus(status), actor="test")


def test_without_an_app_there_is_nothing(house: House, vendor: SimpleNamespace, hub: OAuthServer):
    """No button, no section, and every route is 404."""
    plain = build(replace(house.settings, base_url=f"http://127.0.0.1:{free_port()}"))
    with serving(plain), Person(plain.settings.base_url, hub) as person:
        assert "GitHub" not in person.get(LOGIN).text
        assert [404, 404] == [person.get(path).status_code for path in (START, f"{CALLBACK}?state=x&code=y")]
        person.sign_in_with_key(vendor.key)
        assert "GitHub" not in person.get(KEYS).text
        paths = (LINK, "/marketplace/vendor/github/idn_1/unlink")
        assert [404, 404] == [person.send(path).status_code for path in paths]
    plain.close()


def test_linked_account_signs_in(person: Person, linked: str, vendor: SimpleNamespace, edge_house: House):
    """Back to the page that was asked for, with the cookie of any session; the audit log has it."""
    assert f'href="{START}?next={quote(KEYS, safe="")}"' in person.get(LOGIN, params={"next": KEYS}).text
    answer = person.sign_in(f"{KEYS}?a=1", login=linked)
    assert (303, f"{KEYS}?a=1") == (answer.status_code, answer.headers["location"])
    cookie = next(c for c in answer.headers.get_list("set-cookie") if c.startswith("mp_session="))
    flags = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"httponly", "samesite=lax", "path=/", "max-age=86400"} <= flags
    page = person.get(KEYS)
    assert (vendor.name in page.text, linked in page.text) == (True, True)
    assert [(f"vendor:{vendor.id}", "")] == audited(edge_house, "sign_in", linked)


def test_policy_of_the_way_there_and_back(person: Person, linked: str):
    """Every answer bears the console's policy and is kept by no cache."""
    there = person.get(START)
    back = person.get(person.github.consent(there.headers["location"], login=linked))
    failed = person.get(CALLBACK)
    for answer in (there, back, failed):
        assert (POLICY, "no-store") == (answer.headers["content-security-policy"], answer.headers["cache-control"])
        assert "same-origin" == answer.headers["referrer-policy"]


def test_nothing_of_githubs_is_stored(person: Person, linked: str, edge_house: House, hub: OAuthServer):
    """No token, code, state or verifier is in any table."""
    began = len(hub.asked)
    back = person.back(login=linked)
    kept = [everything(edge_house)]
    person.get(back)
    kept.append(everything(edge_house))
    exchange, user = hub.asked[began:]
    secrets = [exchange[2]["code"], exchange[2]["code_verifier"], parse_qs(urlsplit(back).query)["state"][0]]
    secrets += [user[1]["authorization"].removeprefix("Bearer "), hub.client_secret]
    assert 5 == len([secret for secret in secrets if len(secret) > 15])
    assert not [secret for secret in secrets if secret in str(kept)]


def everything(house: House) -> str:
    """What sign-in could have written."""
    tables = ("sign_in_trips", "vendor_identities", "audit_log", "marketplace_vendors")
    with house.db.begin() as tx:
        return "".join(str(tx.execute(text(f"SELECT * FROM {table}")).all()) for table in tables)  # noqa: S608 - above


@pytest.mark.parametrize("query", ["", "?code=x", "?state=", "?state=x", "?state=x&code=y", "?state=%00&code=%ff"])
def test_states_that_are_none(person: Person, query: str):
    """A page that says what may have happened, and the way to begin again."""
    page = person.get(f"{CALLBACK}{query}")
    assert (403, True, True) == (page.status_code, "begun in another browser" in page.text, START in page.text)
    assert "mp_session" not in page.headers.get("set-cookie", "")


def test_odd_queries_are_no_fault_of_ours(person: Person):
    """Sent twice, very long, or beside what nobody knows."""
    state = "x" * 5_000
    for query in ("state=a&state=b&code=c", f"state={state}&code={state}", "state[]=1&iss=x&code", "error=a&state=b"):
        assert 403 == person.get(f"{CALLBACK}?{query}").status_code


def test_answer_counts_once(person: Person, persons: Persons, linked: str):
    """Replayed, it opens nothing, in no browser."""
    back = person.back(login=linked)
    assert 303 == person.get(back).status_code
    assert [403, 403] == [one.get(back).status_code for one in (person, persons())]


def test_answer_counts_in_the_browser_that_began(person: Person, persons: Persons, linked: str):
    """Somebody else's link signs nobody in, and is not spoilt by the attempt."""
    back, victim = person.back(login=linked), persons()
    victim.go()
    assert (403, False) == (victim.get(back).status_code, victim.is_signed_in)
    assert (303, True) == (person.get(back).status_code, person.is_signed_in)


def test_answer_of_another_trip(person: Person, linked: str):
    """A code that was made for another state is GitHub's to refuse: the verifier is not its own."""
    first, second = (parse_qs(urlsplit(person.back(login=linked)).query) for _ in "ab")
    page = person.get(f"{CALLBACK}?state={first['state'][0]}&code={second['code'][0]}")
    assert (403, True) == (page.status_code, "used, or took too long" in page.text)
    assert not person.is_signed_in


def test_answer_comes_within_ten_minutes(person: Person, linked: str, edge_house: House):
    """Afterwards it is unknown, and the next one clears it away."""
    back = person.back(login=linked)
    with edge_house.db.begin() as tx:
        ends = tx.execute(text("SELECT max(expires_at) - now() FROM sign_in_trips")).scalar_one()
        tx.execute(text("UPDATE sign_in_trips SET expires_at = now()"))
    assert 590 < ends.total_seconds() < 601
    assert 403 == person.get(back).status_code
    person.go()
    with edge_house.db.begin() as tx:
        assert 1 == tx.execute(text("SELECT count(*) FROM sign_in_trips")).scalar_one()


def test_two_tabs_both_come_back(person: Person, linked: str):
    """Each to its own page."""
    tabs = [person.back(page, login=linked) for page in (DESK, KEYS)]
    assert [KEYS, DESK] == [person.get(back).headers["location"] for back in reversed(tabs)]


def test_denied_consent(person: Person):
    """Said as what it is; GitHub's own words are not repeated; the other way in is offered."""
    page = person.sign_in(decision="deny")
    assert (403, True, True) == (page.status_code, "told no" in page.text, f"{LOGIN}?next=" in page.text)
    assert "denied your application" not in page.text


@pytest.mark.parametrize("error", ["application_suspended", "redirect_uri_mismatch", "<script>alert(1)</script>"])
def test_github_refuses_the_app(person: Person, error: str):
    """The operator is to hear of it; nothing of the address is repeated."""
    state = parse_qs(urlsplit(person.go()).query)["state"][0]
    page = person.get(CALLBACK, params={"state": state, "error": error, "error_description": "<b>canary</b>"})
    assert (503, True, "30") == (page.status_code, "Tell the operator" in page.text, page.headers["retry-after"])
    assert not re.search("alert|canary", page.text)


def test_unknown_account_is_told_what_to_do(person: Person, login: str, hub: OAuthServer, edge_house: House):
    """With its number for the operator, and another account to choose; nobody is signed up, the log has it."""
    page = person.sign_in(KEYS, login=login)
    words = " ".join(words_of(page).split())
    assert (403, True) == (page.status_code, f"mp admin vendor link VENDOR --github {hub.accounts[login]}" in words)
    assert "No vendor here has linked this account" in words
    assert f"{START}?next={quote(KEYS, safe='')}&amp;choose=1" in page.text
    assert "select_account" in person.get(f"{START}?choose=1").headers["location"]
    assert not person.is_signed_in
    assert [(f"account:{hub.accounts[login]}", "unknown")] == audited(edge_house, "sign_in.refuse", login)


def test_login_that_means_harm_is_words(person: Person, hub: OAuthServer):
    """Escaped, as all that comes from elsewhere."""
    hub.accounts["<script>alert(1)</script>"] = 77
    page = person.sign_in(login="<script>alert(1)</script>")
    assert (403, False, True) == (page.status_code, "<script>alert" in page.text, "&lt;script&gt;" in page.text)


@pytest.mark.parametrize("state", ["suspended", "pending"])
def test_vendors_that_may_not_act(person: Person, linked: str, vendor: SimpleNamespace, edge_house: House, state: str):
    """A page with the reason, no session, an entry in the log."""
    set_status(edge_house, vendor.id, state)
    page = person.sign_in(login=linked)
    assert (403, True) == (page.status_code, f"is linked to is {state}" in page.text)
    assert not person.is_signed_in
    assert [state] == [why for _, why in audited(edge_house, "sign_in.refuse", vendor.id)]
    set_status(edge_house, vendor.id, "active")
    assert 303 == person.sign_in(login=linked).status_code


BAD = {
    "500": status(500),
    "cut": cut,
    "garbage": status(200, b"<html>"),
    "redirect": status(302, Location="http://127.0.0.1:1/"),
}


@pytest.mark.parametrize("path", [TOKEN, USER])
@pytest.mark.parametrize("bad", BAD)
def test_github_on_a_bad_day(person: Person, linked: str, hub: OAuthServer, bad: str, path: str):
    """503 as a page, with the other way in; afterwards all is well."""
    hub.misdeeds[path] = BAD[bad]
    page = person.sign_in(KEYS, login=linked)
    assert (503, True) == (page.status_code, "GitHub is out of reach" in page.text)
    assert f"{START}?next={quote(KEYS, safe='')}" in page.text
    hub.misdeeds.clear()
    assert 303 == person.sign_in(login=linked).status_code


def test_github_refuses_our_secret(person: Person, linked: str, hub: OAuthServer, monkeypatch: pytest.MonkeyPatch):
    """The person is told whose fault it is, the secret nobody."""
    monkeypatch.setattr(hub, "client_secret", "changed")
    page = person.sign_in(login=linked)
    assert (503, True) == (page.status_code, "client id, secret or address" in page.text)


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/api/vendors/me", "/marketplace/../x"])
def test_sign_in_leads_to_no_other_place(person: Person, linked: str, target: str):
    """Only to pages of the console."""
    assert "/marketplace/vendor" == person.sign_in(target, login=linked).headers["location"]


def test_links_of_other_sites_lead_to_the_login_page(person: Person):
    """Nobody is signed in by a link alone."""
    answer = person.get(f"{START}?next={quote(KEYS, safe='')}", headers={"sec-fetch-site": "cross-site"})
    assert f"{LOGIN}?next={quote(KEYS, safe='')}" == answer.headers["location"]


def test_session_ends_as_any_other(person: Person, persons: Persons, linked: str):
    """By signing out everywhere; until then it makes keys, as a session of a living key does."""
    other = persons()
    for one in (person, other):
        one.sign_in(login=linked)
    made = person.client.post(KEYS, data={"csrf": csrf_of(person.get(KEYS)), "name": "made", "days": "9"})
    assert (200, True) == (made.status_code, "copy it now" in made.text)
    assert 303 == person.send("/marketplace/logout/everywhere").status_code
    assert [False, False] == [one.is_signed_in for one in (person, other)]
    assert 303 == other.sign_in(login=linked).status_code


def test_session_of_before_is_not_kept(person: Person, linked: str):
    """A session that somebody planted is replaced, never adopted."""
    person.client.cookies.set("mp_session", "a.b.c", domain="127.0.0.1")
    person.sign_in(login=linked)
    token = next(c.value for c in person.client.cookies.jar if c.name == "mp_session" and c.value != "a.b.c")
    assert 2 == token.count(".")


def test_account_that_was_renamed(person: Person, linked: str, hub: OAuthServer):
    """The number counts: the new name signs in and is shown; the old name, with another number, does not."""
    number = hub.accounts.pop(linked)
    hub.accounts |= {f"{linked}-new": number, linked: number + 100_000}
    assert 403 == person.sign_in(login=linked).status_code
    assert 303 == person.sign_in(login=f"{linked}-new").status_code
    assert f"{linked}-new" in person.get(KEYS).text

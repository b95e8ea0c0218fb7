"""Linking a GitHub account to a vendor, and unlinking it, over real HTTP: what goes wrong first."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from urllib.parse import parse_qs, quote, urlsplit

import jwt
import pytest
from desks import words_of
from github_visits import CALLBACK, KEYS, LINK, LOGIN, Person, Persons
from oauth_server import OAuthServer
from sqlalchemy import text

from mp_kit.cli.app import main
from mp_kit.contracts import VendorStatus
from mp_kit.server.house import House
from mp_kit.server.processes import free_port
from mp_kit.server.services import identities, keys, vendors
from mp_kit.server.wiring import build


@pytest.fixture(scope="module")
def edge_house(house: House, hub: OAuthServer) -> Iterator[House]:
    """A house with an OAuth app."""
    built = build(replace(house.settings, base_url=f"http://127.0.0.1:{free_port()}", **hub.settings()))
    yield built
    built.close()


@pytest.fixture
def insider(person: Person, vendor: SimpleNamespace) -> Person:
    """The vendor, who has just signed in with a key."""
    return person.sign_in_with_key(vendor.key)


def linked_to(house: House, vendor_id: str) -> list[identities.LinkedAccount]:
    """A vendor's accounts."""
    with house.db.begin() as tx:
        return identities.list_of(tx, vendor_id)


def test_link_sign_in_unlink(insider: Person, persons: Persons, vendor: SimpleNamespace, login: str, edge_house: House):
    """Shown with number and time; signs in; after unlinking every session has ended, and it signs in no more."""
    answer = insider.link(login)
    assert (303, KEYS) == (answer.status_code, answer.headers["location"])
    words = " ".join(words_of(insider.get(KEYS)).split())
    assert f"You can sign in with the GitHub account {login} now." in words
    [account] = linked_to(edge_house, vendor.id)
    assert (f"number {account.subject} at localhost:" in words, f"vendor:{vendor.id}") == (True, account.linked_by)
    other = persons()
    assert 303 == other.sign_in(login=login).status_code
    gone = insider.send(f"/marketplace/vendor/github/{account.id}/unlink")
    assert (303, f"{LOGIN}?next={quote(KEYS, safe='')}") == (gone.status_code, gone.headers["location"])
    assert [False, False] == [one.is_signed_in for one in (insider, other)]
    assert (403, []) == (other.sign_in(login=login).status_code, linked_to(edge_house, vendor.id))
    with edge_house.db.begin() as tx:
        done = tx.execute(text("SELECT action FROM audit_log WHERE subject = :s ORDER BY at"), {"s": account.id})
        assert ["identity.link", "sign_in", "identity.unlink"] == list(done.scalars())


def test_link_takes_a_form_with_its_token(insider: Person, persons: Persons, login: str):
    """No GET, no form of another site; without a session it leads to the login."""
    assert 403 == insider.client.post(LINK, data={"csrf": "0" * 64}).status_code
    assert 405 == insider.get(LINK).status_code
    stranger = persons()
    assert LOGIN in stranger.send(LINK, page=LOGIN).headers["location"]
    assert 403 == stranger.sign_in(login=login).status_code


def test_way_to_github_is_a_page(insider: Person):
    """A form's redirect to another site is against the policy; the page leads on without JavaScript, and asks who."""
    url = insider.go_link()
    query = parse_qs(urlsplit(url).query)
    assert ("select_account", False) == (query["prompt"][0], "scope" in query)


def test_old_session_is_asked_to_sign_in_again(insider: Person, vendor: SimpleNamespace, login: str, edge_house: House):
    """A cookie that somebody found does not open a lasting way in; the login page shows, and leads back."""
    now = datetime.now(UTC)
    claims = {"aud": "session", "sub": vendor.id, "epo": 0, "exp": now + timedelta(hours=1)}
    old = jwt.encode(claims | {"iat": now - timedelta(minutes=16)}, edge_house.settings.jwt_secret, algorithm="HS256")
    insider.client.cookies.clear()
    insider.client.cookies.set("mp_session", old)
    assert insider.is_signed_in
    answer = insider.send(LINK)
    assert f"{LOGIN}?again=1&next={quote(KEYS, safe='')}" == answer.headers["location"]
    page = insider.get(answer.headers["location"])
    assert (200, True) == (page.status_code, "sign in once more" in page.text)
    insider.client.cookies.clear()
    assert 303 == insider.sign_in_with_key(vendor.key).link(login).status_code


def test_session_of_a_rotated_key_links_nothing(
    insider: Person, vendor: SimpleNamespace, login: str, edge_house: House
):
    """Neither from the start nor where the key was rotated on the way; whoever found an old key stays outside."""
    back = insider.github.consent(insider.go_link(), login=login)
    with edge_house.db.begin() as tx:
        vendors.rotate(tx, edge_house.tokens, vendor.id, actor="test")
    page = insider.get(back)
    assert (409, True) == (page.status_code, "rotated already" in page.text)
    assert (409, True) == ((again := insider.send(LINK)).status_code, "rotated already" in again.text)
    assert [] == linked_to(edge_house, vendor.id)


def test_answer_counts_in_the_session_that_began(
    insider: Person, persons: Persons, new_vendor: Callable[[], SimpleNamespace], login: str, edge_house: House
):
    """Not in another vendor's, not in none, not in a later one of the same browser."""
    back = insider.github.consent(insider.go_link(), login=login)
    victim = new_vendor()
    assert [403, 403] == [one.get(back).status_code for one in (persons(), persons().sign_in_with_key(victim.key))]
    insider.send("/marketplace/logout")
    insider.sign_in_with_key(victim.key)
    assert (403, []) == (insider.get(back).status_code, linked_to(edge_house, victim.id))


def ended(house: House, vendor_id: str) -> None:
    """All sessions ended."""
    with house.db.begin() as tx:
        vendors.end_sessions(tx, vendor_id, actor="test")


def revoked(house: House, vendor_id: str) -> None:
    """All ways in ended."""
    with house.db.begin() as tx:
        keys.revoke_all(tx, vendor_id, actor="test", force=True)


def suspended(house: House, vendor_id: str) -> None:
    """The vendor may not act."""
    with house.db.begin() as tx:
        vendors.set_status(tx, vendor_id, VendorStatus.SUSPENDED, actor="test")


@pytest.mark.parametrize("deed", [ended, revoked, suspended])
def test_session_that_ends_on_the_way_links_nothing(
    insider: Person, vendor: SimpleNamespace, login: str, edge_house: House, deed: Callable[[House, str], None]
):
    """Whatever ended it; a page says so."""
    back = insider.github.consent(insider.go_link(), login=login)
    deed(edge_house, vendor.id)
    page = insider.get(back)
    assert (403, True, []) == (page.status_code, "Not linked" in page.text, linked_to(edge_house, vendor.id))


def test_revoking_everything_unlinks(insider: Person, vendor: SimpleNamespace, login: str, edge_house: House):
    """Whoever found a key may have linked an account of their own: the operator alone lets in again."""
    insider.link(login)
    revoked(edge_house, vendor.id)
    assert (403, []) == (insider.sign_in(login=login).status_code, linked_to(edge_house, vendor.id))


def test_account_belongs_to_one_vendor(
    insider: Person, persons: Persons, new_vendor: Callable[[], SimpleNamespace], login: str, edge_house: House
):
    """The second one hears so, and of whom it is nothing; again for the first is harmless."""
    second = new_vendor()
    insider.link(login)
    page = persons().sign_in_with_key(second.key).link(login)
    assert (409, True) == (page.status_code, "linked to another vendor" in page.text)
    assert [] == linked_to(edge_house, second.id)
    assert (303, KEYS) == ((again := insider.link(login)).status_code, again.headers["location"])
    assert "was linked already" in insider.get(KEYS).text


def test_several_accounts_of_a_vendor(insider: Person, login: str, vendor: SimpleNamespace, edge_house: House):
    """Each signs in."""
    insider.github.accounts[f"{login}-b"] = insider.github.accounts[login] + 1_000_000
    for one in (login, f"{login}-b"):
        insider.link(one)
    assert [login, f"{login}-b"] == [one.login for one in linked_to(edge_house, vendor.id)]
    assert [303, 303] == [insider.sign_in(login=one).status_code for one in (login, f"{login}-b")]


def test_denied_link_leads_back_to_the_keys(insider: Person):
    """Not to a sign-in, for somebody is signed in."""
    page = insider.get(insider.github.consent(insider.go_link(), decision="deny"))
    assert (403, True) == (page.status_code, "Back to your keys" in page.text)
    assert insider.is_signed_in


def test_accounts_of_another_vendor_are_not_there(
    insider: Person, persons: Persons, new_vendor: Callable[[], SimpleNamespace], login: str, vendor: SimpleNamespace,
    edge_house: House,
):  # fmt: skip
    """404, also by number; the link stays."""
    insider.link(login)
    [account] = linked_to(edge_house, vendor.id)
    other = persons().sign_in_with_key(new_vendor().key)
    assert login not in other.get(KEYS).text
    for named in (account.id, account.subject, "idn_none"):
        assert 404 == other.send(f"/marketplace/vendor/github/{named}/unlink").status_code
    assert (1, True) == (len(linked_to(edge_house, vendor.id)), insider.is_signed_in)


def test_last_way_in_stays(insider: Person, login: str, vendor: SimpleNamespace, edge_house: House):
    """Where no key lives any more, the last account is not unlinked; the page says what to do first."""
    insider.link(login)
    [account] = linked_to(edge_house, vendor.id)
    with edge_house.db.begin() as tx:
        tx.execute(text("UPDATE vendor_keys SET expires_at = now() WHERE vendor_id = :v"), {"v": vendor.id})
    page = insider.send(path := f"/marketplace/vendor/github/{account.id}/unlink")
    assert (409, True) == (page.status_code, "It is your last way in" in page.text)
    insider.client.post(KEYS, data={"csrf": page.text.split('name="csrf" value="')[1][:64], "name": "", "days": "9"})
    assert (303, []) == (insider.send(path).status_code, linked_to(edge_house, vendor.id))


def test_answer_without_a_code(insider: Person, vendor: SimpleNamespace, edge_house: House):
    """A state alone proves nothing, and is used up."""
    state = parse_qs(urlsplit(insider.go_link()).query)["state"][0]
    assert [403, 403] == [insider.get(f"{CALLBACK}?state={state}").status_code for _ in "ab"]
    assert [] == linked_to(edge_house, vendor.id)


def test_operator_links_by_number(
    person: Person, edge_house: House, vendor: SimpleNamespace, login: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    """A login is no number; linked ahead it signs in; listed; unlinked, also as the last way in."""
    monkeypatch.setenv("MP_DATABASE_URL", edge_house.settings.database_url)
    monkeypatch.setenv("MP_GITHUB_URL", edge_house.settings.github_url)
    number, home = str(person.github.accounts[login]), ["--home", str(edge_house.settings.home)]
    assert [2, 2] == [main(["admin", "vendor", "link", vendor.name, "--github", one, *home]) for one in (login, "0")]
    link, unlink = (["admin", "vendor", verb, vendor.name, "--github", number, *home] for verb in ("link", "unlink"))
    assert [0, 0] == [main(link), main(link)]
    assert 303 == person.sign_in(login=login).status_code
    capsys.readouterr()
    assert 0 == main(["admin", "vendor", "accounts", vendor.name, "--json", *home])
    [row] = json.loads(capsys.readouterr().out)
    assert (number, login, "operator:cli") == (row["subject"], row["login"], row["linked_by"])
    assert "linked by the operator" in person.get(KEYS).text
    assert [0, 4] == [main(unlink), main(unlink)]
    assert (False, 403) == (person.is_signed_in, person.sign_in(login=login).status_code)

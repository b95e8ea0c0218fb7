"""Signing in over real HTTP: codes, the device page, keys, and what reaches another process."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from sqlalchemy import text

from mp_kit.cli.app import main
from mp_kit.client.marketplace import Marketplace
from mp_kit.errors import AuthError
from mp_kit.server.house import House
from mp_kit.server.services import keys, sign_in
from mp_kit.server.wiring import build

EXCHANGE = "/api/marketplace/vendor/auth/exchange"
KEYS = "/api/vendors/keys"
PAGE = "/marketplace/device"
LOGIN = "/marketplace/login"


@pytest.fixture
def browser(edge: httpx.Client) -> Iterator[httpx.Client]:
    """Somebody's browser."""
    with httpx.Client(base_url=edge.base_url, timeout=30) as client:
        yield client


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A profile of the test's own."""
    for name in ("XDG_CONFIG_HOME", "MP_API_URL", "INFRA_API_URL", "MP_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def token_of(page: httpx.Response) -> str:
    """The CSRF token of a page's form."""
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', page.text)
    assert found is not None, page.text
    return found[1]


def enter(browser: httpx.Client, vendor: SimpleNamespace) -> None:
    """Signs in to the console."""
    answer = browser.post(LOGIN, data={"csrf": token_of(browser.get(LOGIN)), "api_key": vendor.key})
    assert 303 == answer.status_code


def send(browser: httpx.Client, **form: str) -> httpx.Response:
    """Sends the device page's form."""
    return browser.post(PAGE, data={"csrf": token_of(browser.get(PAGE))} | form)


def begin(edge: httpx.Client, client: str = "notebook on a laptop") -> dict[str, str]:
    """A program that waits."""
    found: dict[str, str] = edge.post("/api/vendors/device", json={"client": client}).json()["data"]
    return found


def poll(edge: httpx.Client, device: dict[str, str]) -> dict[str, str]:
    """What it hears."""
    answer = edge.post("/api/vendors/device/token", json={"device_code": device["device_code"]})
    assert 200 == answer.status_code
    found: dict[str, str] = answer.json()["data"]
    return found


def code_of(house: House, vendor_id: str) -> str:
    """A one-time code from the operator."""
    with house.db.begin() as tx:
        return sign_in.issue_code(tx, house.tokens, vendor_id, actor="test").code


@pytest.mark.parametrize("body", [{}, {"auth_code": 5}, {"auth_code": None}])
def test_exchange_without_a_code(edge: httpx.Client, body: dict[str, object]):
    """422, as every schema violation."""
    assert 422 == edge.post(EXCHANGE, json=body).status_code


@pytest.mark.parametrize("code", ["", "ac_x", "ac_0123456789abcdef_" + "A" * 43, "ac_\u00e9", "x" * 9_000])
def test_exchange_of_what_is_no_code(edge: httpx.Client, code: str):
    """401, and the code is not told back."""
    answer = edge.post(EXCHANGE, json={"auth_code": code})
    assert (401, "unauthorized") == (answer.status_code, answer.json()["code"])
    assert not code or code not in answer.text


def test_exchange(edge: httpx.Client, edge_house: House, vendor: SimpleNamespace):
    """The contract's five fields and a key that works; a second time it is 401."""
    code = code_of(edge_house, vendor.id)
    data = edge.post(EXCHANGE, json={"auth_code": code}).json()["data"]
    assert {"api_key", "vendor_id", "vendor_name", "expires_at", "permissions"} <= set(data)
    assert (vendor.id, vendor.name) == (data["vendor_id"], data["vendor_name"])
    assert 200 == edge.get("/api/vendors/me", headers={"Authorization": f"Bearer {data['api_key']}"}).status_code
    assert 401 == edge.post(EXCHANGE, json={"auth_code": code}).status_code
    assert 401 == edge.get("/api/vendors/me", headers={"Authorization": f"Bearer {code}"}).status_code


def test_operators_verbs(
    edge: httpx.Client,
    edge_house: House,
    vendor: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """`mp admin vendor code` prints a code that is good once; `revoke-keys` ends what came of it."""
    monkeypatch.setenv("MP_DATABASE_URL", edge_house.settings.database_url)
    home = ("--home", str(edge_house.settings.home), "--json")
    assert 0 == main(["admin", "vendor", "code", vendor.name, *home])
    made = json.loads(capsys.readouterr().out)
    issued = edge.post(EXCHANGE, json={"auth_code": made["auth_code"]}).json()["data"]
    assert vendor.id == issued["vendor_id"]
    assert 7 == main(["admin", "vendor", "revoke-keys", vendor.name, *home])
    assert 0 == main(["admin", "vendor", "revoke-keys", vendor.name, "--force", *home])
    ended = json.loads(capsys.readouterr().out)["revoked"]
    assert {vendor.key.split("_")[1], issued["key_id"]} == set(ended)
    assert 0 == main(["admin", "vendor", "create", f"pending {vendor.name}", "--pending", *home])
    key = json.loads(capsys.readouterr().out)["api_key"]
    assert 403 == edge.get("/api/vendors/me", headers={"Authorization": f"Bearer {key}"}).status_code
    assert 7 == main(["admin", "vendor", "code", f"pending {vendor.name}", *home])


def test_device_page_needs_a_session(browser: httpx.Client):
    """The way leads to the login and back."""
    answer = browser.get(PAGE)
    assert (303, f"{LOGIN}?next=%2Fmarketplace%2Fdevice") == (answer.status_code, answer.headers["location"])


def test_approving_in_the_browser(edge: httpx.Client, browser: httpx.Client, vendor: SimpleNamespace):
    """The page shows who asks and from where; the program gets a key by its code."""
    device = begin(edge)
    assert f"{str(edge.base_url).rstrip('/')}{PAGE}" == device["verification_uri"]
    assert re.fullmatch(r"[B-Z]{4}-[B-Z]{4}", device["user_code"])
    enter(browser, vendor)
    shown = send(browser, code=device["user_code"].lower())
    assert 200 == shown.status_code
    assert [] == [word for word in ("notebook on a laptop", "127.0.0.1", vendor.name) if word not in shown.text]
    done = browser.post(
        PAGE, data={"csrf": token_of(shown), "code": device["user_code"], "decision": "approve"}, follow_redirects=True
    )
    assert "notebook on a laptop is signed in as" in done.text
    answer = poll(edge, device)
    issued = edge.post(EXCHANGE, json={"auth_code": answer["auth_code"]}).json()["data"]
    assert ("approved", vendor.id) == (answer["status"], issued["vendor_id"])
    assert 404 == send(browser, code=device["user_code"], decision="approve").status_code


def test_denying_in_the_browser(edge: httpx.Client, browser: httpx.Client, vendor: SimpleNamespace):
    """The program hears so."""
    device = begin(edge)
    enter(browser, vendor)
    assert 303 == send(browser, code=device["user_code"], decision="deny").status_code
    assert "access_denied" == poll(edge, device)["status"]


def test_link_approves_nothing(edge: httpx.Client, browser: httpx.Client, vendor: SimpleNamespace):
    """A code in the address is not read; without the form's token nothing happens."""
    device = begin(edge)
    enter(browser, vendor)
    assert device["user_code"] not in browser.get(f"{PAGE}?code={device['user_code']}&decision=approve").text
    assert 403 == browser.post(PAGE, data={"code": device["user_code"], "decision": "approve"}).status_code
    assert "authorization_pending" == poll(edge, device)["status"]


@pytest.mark.parametrize("typed", ["", "WDJB-MJHT", "<b>x</b>", "é" * 900])
def test_wrong_codes_are_refused_kindly(browser: httpx.Client, vendor: SimpleNamespace, typed: str):
    """The form again, with the sentence as an alert."""
    enter(browser, vendor)
    answer = send(browser, code=typed)
    assert (404, True) == (answer.status_code, 'role="alert"' in answer.text)
    assert "<b>x</b>" not in answer.text


def test_name_of_a_program_is_text(edge: httpx.Client, browser: httpx.Client, vendor: SimpleNamespace):
    """It is the program's own word: shown escaped, and without control characters."""
    device = begin(edge, "<script>alert(1)</script>")
    enter(browser, vendor)
    assert "<script>alert" not in send(browser, code=device["user_code"]).text
    assert 422 == edge.post("/api/vendors/device", json={"client": "a\x1b[2Jb"}).status_code
    assert 422 == edge.post("/api/vendors/device", json={"client": "x" * 61}).status_code


def test_asking_too_soon_over_http(edge: httpx.Client):
    """A status, not an error."""
    device = begin(edge)
    assert ["authorization_pending", "slow_down"] == [poll(edge, device)["status"] for _ in range(2)]


def test_client_signs_in_by_device(
    edge: httpx.Client,
    browser: httpx.Client,
    vendor: SimpleNamespace,
    edge_house: House,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
):
    """The real client against the real edge; a person approves during its first wait. No log has a secret."""
    caplog.set_level(logging.DEBUG)
    enter(browser, vendor)

    def person(_: float) -> None:
        with edge_house.db.begin() as tx:  # the waits here are no waits
            tx.execute(text("UPDATE device_logins SET last_polled_at = NULL"))
        found = re.search(r"enter the code ([A-Z]{4}-[A-Z]{4})", capsys.readouterr().err)
        if found is not None:
            assert 303 == send(browser, code=found[1], decision="approve").status_code

    with Marketplace(str(edge.base_url), sleep=person) as market:
        assert vendor.id == market.sign_in().id
        own = next(key for key in market.keys.list() if key.is_this)
    assert own.name.startswith("mp ")
    assert "vk_" not in caplog.text + capsys.readouterr().err
    assert "ac_" not in caplog.text


def test_keys_over_http(edge: httpx.Client, vendor: SimpleNamespace):
    """Made with a name and an end; listed without a secret; rotated; the last one is 409 without force."""
    made = edge.post(KEYS, json={"name": "server", "days": 30}, headers=vendor.headers).json()["data"]
    listed = edge.get(KEYS, headers=vendor.headers)
    assert [("", True), ("server", False)] == [(key["name"], key["is_this"]) for key in listed.json()["data"]]
    assert "argon2" not in listed.text
    assert made["api_key"].split("_", 2)[2] not in listed.text
    rotated = edge.post(f"{KEYS}/{made['key_id']}/rotate?overlap_hours=0", headers=vendor.headers).json()["data"]
    assert "server" == rotated["name"]
    assert [rotated["key_id"]] == edge.delete(f"{KEYS}/{rotated['key_id']}", headers=vendor.headers).json()["data"][
        "revoked"
    ]
    own = vendor.key.split("_")[1]
    assert 409 == edge.delete(f"{KEYS}/{own}", headers=vendor.headers).status_code
    assert 409 == edge.delete(KEYS, headers=vendor.headers).status_code
    assert 200 == edge.delete(f"{KEYS}/{own}?force=true", headers=vendor.headers).status_code


@pytest.mark.parametrize("body", [{"days": 0}, {"days": 366}, {"name": "x" * 61}, {"name": "a\nb"}])
def test_keys_that_do_not_do(edge: httpx.Client, vendor: SimpleNamespace, body: dict[str, object]):
    """422, and none is made."""
    assert 422 == edge.post(KEYS, json=body, headers=vendor.headers).status_code
    assert 1 == len(edge.get(KEYS, headers=vendor.headers).json()["data"])


def test_last_use_is_shown(edge: httpx.Client, vendor: SimpleNamespace):
    """So that one sees which key nobody needs."""
    edge.get("/api/vendors/me", headers=vendor.headers)
    (key,) = edge.get(KEYS, headers=vendor.headers).json()["data"]
    assert key["last_used_at"] <= datetime.now(UTC).isoformat()


def test_revoking_all_reaches_every_process(
    edge: httpx.Client, vendor: SimpleNamespace, edge_house: House, new_vendor: Callable[[], SimpleNamespace]
):
    """Keys and sessions that the edge remembers die when another process ends them."""
    session = edge.post("/api/vendors/login", json={"api_key": vendor.key}).json()["data"]["token"]
    bearers = [vendor.headers, {"Authorization": f"Bearer {session}"}]
    assert [200, 200] == [edge.get("/api/vendors/me", headers=one).status_code for one in bearers]
    other = build(edge_house.settings)  # its own tokens, its own pool
    try:
        with other.db.begin() as tx:
            keys.revoke_all(tx, vendor.id, actor="test", force=True)
    finally:
        other.close()
    deadline = datetime.now(UTC) + timedelta(seconds=5)
    while [401, 401] != [edge.get("/api/vendors/me", headers=one).status_code for one in bearers]:
        assert datetime.now(UTC) < deadline, "the revoked key or session is still accepted"
    assert 200 == edge.get("/api/vendors/me", headers=new_vendor().headers).status_code
    with Marketplace(str(edge.base_url), vendor.key) as market, pytest.raises(AuthError):
        market.me()

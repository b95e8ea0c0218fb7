"""``mp login`` by a code, and ``mp keys``."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable
from typing import Any

import pytest

from mp_kit.cli import session
from mp_kit.client import config
from mp_kit.contracts import DeviceStatus
from mp_kit.testing import FakeMarketplace

Mp = Callable[..., Any]


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Nobody waits for real."""
    found: list[float] = []
    monkeypatch.setattr(session, "sleep", found.append)
    return found


def key() -> str:
    """The profile's key."""
    found = config.load().api_key
    assert found is not None
    return found.get_secret_value()


def test_login_by_device(mp: Mp, fake: FakeMarketplace):
    """The result on stdout, URL and code on stderr, the key in the profile alone."""
    said = mp("login", "--api-url", fake.url, "--device", "--json")
    assert (0, "ACME") == (said.code, said.data["name"])
    assert "/marketplace/device and enter the code WDJB-MJHT" in said.err
    assert key() not in said.out + said.err
    assert 0 == mp("keys", "list").code


def test_login_by_device_that_nobody_approves(mp: Mp, fake: FakeMarketplace, slept: list[float]):
    """Exit 8, after no longer than was allowed."""
    fake.sign_in.verdicts = [DeviceStatus.PENDING]
    said = mp("login", "--api-url", fake.url, "--device", "--wait", "20", "--json")
    assert (8, "timeout", 20.0) == (said.code, said.error["code"], sum(slept))


def test_login_by_device_that_is_denied(mp: Mp, fake: FakeMarketplace):
    """Exit 3."""
    fake.sign_in.verdicts = [DeviceStatus.DENIED]
    assert 3 == mp("login", "--api-url", fake.url, "--device").code


def test_login_offers_a_code_on_a_terminal(mp: Mp, fake: FakeMarketplace, monkeypatch: pytest.MonkeyPatch):
    """Enter in place of a key."""
    asked: list[str] = []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(getpass, "getpass", lambda prompt: asked.append(prompt) or "")
    said = mp("login", "--api-url", fake.url)
    assert (0, True, True) == (said.code, "sign in with a code" in asked[0], "WDJB-MJHT" in said.err)


def test_login_without_key_or_terminal(mp: Mp, fake: FakeMarketplace, monkeypatch: pytest.MonkeyPatch):
    """Exit 3, nothing is sent, and the hint names --device."""
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    said = mp("login", "--api-url", fake.url, "--json")
    assert (3, True, []) == (said.code, "--device" in said.error["hint"], fake.requests)


def test_login_with_a_one_time_code(mp: Mp, fake: FakeMarketplace):
    """The code is traded, not stored; a second time it is exit 3."""
    code = fake.sign_in.issue()
    assert 0 == mp("login", "--api-url", fake.url, "--api-key", code).code
    assert key().startswith("vk_")
    assert 3 == mp("login", "--api-url", fake.url, "--api-key", code).code


def test_keys_are_printed_once(mp: Mp, signed_in: FakeMarketplace):  # noqa: ARG001 - the fixture signs in
    """By create and rotate; no list shows one."""
    made = mp("keys", "create", "server", "--days", "30", "--json").data
    told = mp("keys", "rotate", made["key_id"]).out.split()
    assert ["key3", True] == [told[0], told[1].startswith("vk_")]
    listed = mp("keys", "list", "--json")
    assert ["living", "ending", "living"] == [each["status"] for each in listed.data]
    assert "vk_" not in listed.out + mp("keys", "list").out


def test_rotating_the_own_key_replaces_it_in_the_profile(mp: Mp, signed_in: FakeMarketplace):
    """The next command uses the new one."""
    said = mp("keys", "rotate", "--json")
    assert (0, said.data["api_key"], True) == (said.code, key(), "is stored in" in said.err)
    assert signed_in.api_key != key()
    assert [False, True] == [each["is_this"] for each in mp("keys", "list", "--json").data]


def test_rotating_another_key_leaves_the_profile(mp: Mp, signed_in: FakeMarketplace):
    """It is for somewhere else."""
    mp("keys", "create", "server")
    mp("keys", "rotate", "key2")
    assert signed_in.api_key == key()


def test_last_key_stays_unless_forced(mp: Mp, signed_in: FakeMarketplace):  # noqa: ARG001 - the fixture signs in
    """Exit 7; --dry-run sends nothing."""
    assert (0, 7, 7) == (
        mp("keys", "revoke", "key1", "--dry-run").code,
        mp("keys", "revoke", "key1").code,
        mp("keys", "revoke-all").code,
    )
    assert 0 == mp("keys", "revoke-all", "--dry-run").code
    assert 0 == mp("keys", "revoke", "key1", "--force").code
    assert 3 == mp("keys", "list").code


def test_revoke_all(mp: Mp, signed_in: FakeMarketplace):  # noqa: ARG001 - the fixture signs in
    """Says how many, and what comes next."""
    mp("keys", "create")
    assert "Keys revoked: 2" in mp("keys", "revoke-all", "--force").out

"""Signing in without a key: bounded waits, clear sentences, nothing read from stdin, no secret shown."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from mp_kit.client import config, display
from mp_kit.client.marketplace import Marketplace, connect
from mp_kit.contracts import DeviceStatus
from mp_kit.errors import AuthError, ConflictError, InvalidInputError, NetworkError, TimeoutExceededError
from mp_kit.testing import FakeMarketplace

PENDING, APPROVED = DeviceStatus.PENDING, DeviceStatus.APPROVED


class Kernel:
    """A kernel's output, and a stdin that nobody may read.

    Args:
        shown: Each HTML that stood there.
    """

    def __init__(self) -> None:
        self.shown: list[str] = []

    def update(self, html: str) -> None:
        """Shows this instead."""
        self.shown.append(html)


class Deaf(io.StringIO):
    """A stdin that fails the test when it is read."""

    def readline(self, *_: object) -> str:  # type: ignore[override] # whatever the size
        """Nobody may ask."""
        raise AssertionError("stdin was read")

    read = readline  # type: ignore[assignment] # the same


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A profile of the test's own."""
    for name in ("XDG_CONFIG_HOME", "MP_API_URL", "INFRA_API_URL", "MP_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """We run in a notebook."""
    found = Kernel()
    monkeypatch.setattr(display, "in_kernel", lambda: True)
    monkeypatch.setattr(display, "live_html", lambda: found)
    monkeypatch.setattr(sys, "stdin", Deaf())
    return found


@pytest.fixture
def fake() -> FakeMarketplace:
    """A marketplace that approves the second question."""
    return FakeMarketplace()


@pytest.fixture
def slept() -> list[float]:
    """Every wait."""
    return []


@pytest.fixture
def market(fake: FakeMarketplace, slept: list[float]) -> Marketplace:
    """A connection without a key."""
    return Marketplace(fake.url, transport=fake.transport, sleep=slept.append)


def test_nobody_approves(market: Marketplace, fake: FakeMarketplace, slept: list[float]):
    """The wait is what was allowed and not more; the sentence names the code and the next step."""
    fake.sign_in.verdicts = [PENDING]
    with pytest.raises(TimeoutExceededError, match=r"WDJB-MJHT within 32 s") as caught:
        market.sign_in(wait=32)
    assert [5.0] * 6 == slept
    assert "m.sign_in()" in caught.value.hint
    assert not market.has_key
    assert config.load().api_key is None


@pytest.mark.parametrize("status", [DeviceStatus.DENIED, DeviceStatus.EXPIRED])
def test_somebody_says_no(market: Marketplace, fake: FakeMarketplace, status: DeviceStatus):
    """An error at once, and no key."""
    fake.sign_in.verdicts = [status]
    with pytest.raises(AuthError):
        market.sign_in()
    assert not market.has_key


def test_slow_down_is_obeyed(market: Marketplace, fake: FakeMarketplace, slept: list[float]):
    """The next question comes later."""
    fake.sign_in.verdicts = [DeviceStatus.SLOW_DOWN, PENDING, APPROVED]
    market.sign_in()
    assert [5.0, 10.0, 5.0] == slept


def test_approved(market: Marketplace, fake: FakeMarketplace, home: Path, capsys: pytest.CaptureFixture[str]):
    """URL and code on stderr; the key goes into the profile, readable by its owner only, and is never shown."""
    assert "ven_fake" == market.sign_in().id
    said = capsys.readouterr()
    key = config.load().api_key
    assert key is not None
    assert ("", True, True) == (
        said.out,
        "http://fake.marketplace/marketplace/device" in said.err,
        "WDJB-MJHT" in said.err,
    )
    assert "Signed in as ACME" in said.err
    assert key.get_secret_value() not in said.err + repr(market)
    assert 0o600 == (home / ".config/mp/config.json").stat().st_mode & 0o777
    assert fake.sign_in.asked[0].startswith("mp ")


def test_key_that_is_not_to_be_kept(market: Marketplace):
    """This session has it, the profile does not."""
    market.sign_in(keep=False)
    assert (True, None) == (market.has_key, config.load().api_key)


def test_profile_that_cannot_be_written(market: Marketplace, home: Path, capsys: pytest.CaptureFixture[str]):
    """The key is good all the same; the sentence says why it is not stored."""
    (home / ".config").write_text("a file, no folder")
    market.sign_in()
    assert market.has_key
    assert "could not be stored" in capsys.readouterr().err


def test_one_time_code(market: Marketplace, fake: FakeMarketplace, slept: list[float]):
    """Nothing to wait for; good once."""
    code = fake.sign_in.issue()
    assert "ven_fake" == market.sign_in(code).id
    with pytest.raises(AuthError, match="used"):
        market.sign_in(code)
    assert [] == slept


def test_connect_in_a_kernel(kernel: Kernel, fake: FakeMarketplace, slept: list[float]):
    """URL and code as plain HTML, then who we are; no script, no widget, no secret."""
    m = connect(fake.url, transport=fake.transport, sleep=slept.append, sign_in=True)
    assert ("ACME", 2) == (m.me().name, len(kernel.shown))
    asked, done = kernel.shown
    assert 'href="http://fake.marketplace/marketplace/device"' in asked
    assert "WDJB-MJHT" in asked
    assert "Signed in as ACME" in done
    assert not [html for html in kernel.shown if "<script" in html or "vk_" in html]
    assert fake.sign_in.asked[0].startswith("notebook ")


def test_connect_in_a_kernel_where_nobody_approves(kernel: Kernel, fake: FakeMarketplace, slept: list[float]):
    """Two minutes at most; then what is public works, and the card says how it stands."""
    fake.sign_in.verdicts = [PENDING]
    m = connect(fake.url, transport=fake.transport, sleep=slept.append, sign_in=True)
    assert (120.0, False) == (sum(slept), m.has_key)
    assert "Not signed in. Nobody approved" in kernel.shown[-1]
    assert m.rounds.current().is_current


def test_connect_in_a_kernel_without_a_marketplace(kernel: Kernel, fake: FakeMarketplace):
    """It does not hang and does not raise; the card says why."""
    fake.fail(NetworkError("No answer."), times=9)
    m = connect(fake.url, transport=fake.transport, sleep=lambda _: None, sign_in=True)
    assert not m.has_key
    assert "Not signed in." in kernel.shown[-1]


@pytest.mark.parametrize("how", [{}, {"sign_in": False}])
def test_connect_elsewhere_asks_nothing(fake: FakeMarketplace, how: dict[str, bool]):
    """Outside a kernel, or where it is not wanted, connecting sends nothing."""
    assert not connect(fake.url, transport=fake.transport, **how).has_key
    assert [] == fake.requests


def test_connect_in_a_kernel_with_a_key(kernel: Kernel, fake: FakeMarketplace):
    """Nothing is offered to who has one."""
    assert connect(fake.url, fake.api_key, transport=fake.transport, sign_in=True).has_key
    assert ([], []) == (fake.requests, kernel.shown)


def test_in_a_real_looking_kernel(monkeypatch: pytest.MonkeyPatch, fake: FakeMarketplace):
    """The card goes through IPython's display, as an updatable piece of HTML."""
    shown: list[str] = []
    handle = SimpleNamespace(update=shown.append)
    ipython = SimpleNamespace(
        get_ipython=lambda: SimpleNamespace(kernel=object()),
        display=SimpleNamespace(HTML=str, display=lambda *_, **__: handle),
    )
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython.display)
    connect(fake.url, transport=fake.transport, sleep=lambda _: None, sign_in=True)
    assert "WDJB-MJHT" in shown[0]


def test_keys(fake: FakeMarketplace):
    """Made, listed without secrets, rotated, revoked; the last one stays unless it is meant."""
    m = Marketplace(fake.url, fake.api_key, transport=fake.transport)
    made = m.keys.create("server", days=30)
    assert made.api_key not in repr(made) + made._repr_html_() + str(m.keys.list()) + m.keys.list()._repr_html_()
    assert [("key1", True), ("key2", False)] == [(key.id, key.is_this) for key in m.keys.list()]
    fresh = m.keys.rotate("key2", overlap_hours=1)
    assert ["living", "ending", "living"] == [key.status for key in m.keys.list()]
    assert (["key2"], ["key3"]) == (m.keys.revoke("key2").revoked, m.keys.revoke(fresh.key_id or "").revoked)
    with pytest.raises(ConflictError, match="last"):
        m.keys.revoke("key1")
    with pytest.raises(ConflictError):
        m.keys.revoke_all()
    assert ["key1"] == m.keys.revoke_all(force=True).revoked
    with pytest.raises(AuthError):
        m.keys.list()


@pytest.mark.parametrize(("name", "days"), [("x" * 61, 90), ("a\x07b", 90), ("", 0), ("", 366)])
def test_keys_that_do_not_do(fake: FakeMarketplace, name: str, days: int):
    """Refused here, before anything is sent."""
    m = Marketplace(fake.url, fake.api_key, transport=fake.transport)
    with pytest.raises(InvalidInputError):
        m.keys.create(name, days=days)
    assert [] == fake.requests

"""The marketplace's clock: the machine's, until a sandbox moves it; and nobody decides by another."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest

from mp_kit.errors import AuthError, TokenExpiredError
from mp_kit.server import clock
from mp_kit.server.services import tokens
from mp_kit.server.services.tokens import TokenBook

SERVER = Path(clock.__file__).parent
MAY = {"services/webhook_delivery.py"}
"""Whose signature's time is compared by somebody else's machine."""
SECRET = "a-secret-that-is-long-enough-for-hs256"


@pytest.fixture(autouse=True)
def back() -> Iterator[None]:
    """The machine's time again afterwards."""
    yield
    clock.shift_to(timedelta(0))


def test_nobody_asks_the_machine():
    """Services, edge and console have no other clock: a sandbox would not move it."""
    asks = re.compile(r"datetime\.(now|utcnow|today)\(|date\.today\(")
    pages = [page for folder in ("services", "edge", "console") for page in (SERVER / folder).rglob("*.py")]
    found = {str(page.relative_to(SERVER)) for page in pages if asks.search(page.read_text())}
    assert MAY == found


def test_clock_is_the_machines_until_it_is_moved():
    """Then it is as far from it as was said."""
    assert timedelta(0) == clock.shift()
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)
    clock.shift_to(timedelta(days=-2_000))
    assert abs(clock.now() - datetime.now(UTC) + timedelta(days=2_000)) < timedelta(seconds=5)


@pytest.fixture
def book(monkeypatch: pytest.MonkeyPatch) -> TokenBook:
    """A book of tokens that finds every vendor active."""
    row = type("Row", (), {"session_epoch": 0, "status": "active"})
    monkeypatch.setattr(tokens.rows, "find_vendor", lambda _tx, _vendor_id: row)
    return TokenBook(pepper="p", jwt_secret=SECRET, service_key="service")


def test_sessions_end_by_the_marketplaces_clock(book: TokenBook):
    """One of 2019 is good in 2019, and over a day later; now it is over."""
    begin: Any = contextlib.nullcontext
    clock.shift_to(datetime(2019, 1, 1, tzinfo=UTC) - datetime.now(UTC))
    session = book.session("ven_a", 0, clock.now() + timedelta(hours=24))
    assert "ven_a" == book.authenticate(session, begin).vendor_id
    for shift in (clock.shift() + timedelta(hours=25), timedelta(0)):
        clock.shift_to(shift)
        with pytest.raises(TokenExpiredError):
            book.authenticate(session, begin)


@pytest.mark.parametrize("claims", [{}, {"exp": "soon"}, {"exp": None}, {"exp": 1e300}, {"exp": -1}, {"exp": True}])
def test_sessions_without_a_good_end_are_none(book: TokenBook, claims: dict[str, Any]):
    """Though only somebody with our secret could have made it: never an internal error, never good."""
    forged = jwt.encode({"aud": "session", "sub": "ven_a", "epo": 0, **claims}, SECRET, algorithm="HS256")
    with pytest.raises(AuthError):
        book.authenticate(forged, contextlib.nullcontext)  # type: ignore[arg-type]

"""What the token book remembers of checked tokens, for how long, and what makes it forget."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from token_rows import HOUR, JWT_SECRET, SERVICE_KEY, Rows, make_book, row

from mp_kit.errors import AuthError, TokenExpiredError
from mp_kit.server.services import tokens
from mp_kit.server.services.tokens import CACHE_SECONDS, Minted, Principal, TokenBook


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock of the book, to be turned by hand."""
    now = [1000.0]
    monkeypatch.setattr(tokens, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_verified_token_is_remembered_for_its_time(key: Minted, clock: list[float]):
    """No transaction while it is, a fresh check after."""
    book, rows = make_book(), Rows({key.token_id: row(key)})
    first = book.authenticate(key.token, rows.begin)
    opened = rows.opened
    clock[0] += CACHE_SECONDS / 2
    assert first is book.authenticate(key.token, rows.begin)
    assert opened == rows.opened
    clock[0] += CACHE_SECONDS / 2 + 0.001
    assert book.recall(key.token) is None
    book.authenticate(key.token, rows.begin)
    assert opened * 2 == rows.opened
    assert CACHE_SECONDS <= 60


def test_tokens_that_came_together_are_forgotten_one_by_one(clock: list[float]):
    """Else each minute after a restart would begin with a burst of lookups."""
    book = make_book()
    for name in "abcdefgh":
        book._remember(tokens._digest(name), Principal("vendor", token_id=name), 0)
    ends = {end for _, end in book._cache.values()}
    assert 8 == len(ends)
    assert all(clock[0] + CACHE_SECONDS / 2 <= end <= clock[0] + CACHE_SECONDS for end in ends)


def test_remembered_token_ends_when_it_ends():
    """Even within its minute."""
    book = make_book()
    book._remember(tokens._digest("t"), Principal("vendor", expires_at=datetime.now(UTC)), 0)
    with pytest.raises(TokenExpiredError):
        book.authenticate("t", Rows().begin)


def test_rotated_key_ends_with_its_overlap(key: Minted):
    """A key that is revoked from tomorrow on lives until then, and not a minute of memory longer."""
    until = datetime.now(UTC) + timedelta(minutes=5)
    who = make_book().authenticate(key.token, Rows({key.token_id: row(key, revoked_at=until)}).begin)
    assert until == who.expires_at


def test_memory_is_keyed_by_digest(key: Minted):
    """The token itself is nowhere in it."""
    book = make_book()
    book.authenticate(key.token, Rows({key.token_id: row(key)}).begin)
    assert [32] == [len(digest) for digest in book._cache]
    assert key.token not in repr(book._cache)
    assert key.token.rpartition("_")[2] not in repr(vars(book))


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch, clock: list[float]):
    """Old ones go first; when all are young, all go."""
    monkeypatch.setattr(tokens, "CACHE_ENTRIES", 3)
    book = make_book()
    for at, name in enumerate("abcd"):
        clock[0] = 1000.0 + at * (CACHE_SECONDS + 1 if name == "d" else 1)
        book._remember(tokens._digest(name), Principal("vendor", token_id=name), 0)
        assert len(book._cache) <= 3
    assert ["d"] == [who.token_id for who, _ in book._cache.values()]
    for name in "efgh":
        book._remember(tokens._digest(name), Principal("vendor", token_id=name), 0)
        assert len(book._cache) <= 3
    assert book.recall("h") is not None


def test_a_secret_is_proved_once(key: Minted, monkeypatch: pytest.MonkeyPatch):
    """What is forgotten costs its row again, and no Argon2 run; a row with another hash proves nothing."""
    book, rows = make_book(), Rows({key.token_id: row(key)})
    assert not book.proved(key.token)
    book.authenticate(key.token, rows.begin)
    book.forget()
    monkeypatch.setattr(book, "_matches", lambda *_: False)
    assert book.proved(key.token)
    assert "ven_1" == book.authenticate(key.token, rows.begin).vendor_id
    book.forget()
    rows.rows[key.token_id] = row(key, token_hash="another")
    with pytest.raises(AuthError):
        book.authenticate(key.token, rows.begin)


def test_a_revoked_token_is_refused_though_it_was_proved(key: Minted):
    """Its row says so."""
    book, rows = make_book(), Rows({key.token_id: row(key)})
    book.authenticate(key.token, rows.begin)
    book.forget(key.token_id)
    rows.rows[key.token_id] = row(key, revoked_at=datetime.now(UTC) - HOUR)
    with pytest.raises(AuthError, match="revoked"):
        book.authenticate(key.token, rows.begin)


def test_a_deaf_book_remembers_nothing(key: Minted, clock: list[float]):
    """Memory is gone by so long as somebody vouches for it; it is there again when somebody does."""
    book, rows = make_book(), Rows({key.token_id: row(key)})
    book.trust(clock[0] + tokens.DEAF_SECONDS)
    book.authenticate(key.token, rows.begin)
    assert book.recall(key.token) is not None
    clock[0] += tokens.DEAF_SECONDS + 0.01
    assert book.recall(key.token) is None
    book.trust(clock[0] + tokens.DEAF_SECONDS)
    assert book.recall(key.token) is not None
    unheard = TokenBook(pepper="a made-up pepper", jwt_secret=JWT_SECRET, service_key=SERVICE_KEY)
    unheard.authenticate(key.token, rows.begin)
    assert unheard.recall(key.token) is None


def test_forget_drops_what_is_about_an_id(key: Minted):
    """A token's, a vendor's or a deployment's."""
    book, rows = make_book(), Rows({key.token_id: row(key)})
    for named in (key.token_id, "ven_1"):
        book.authenticate(key.token, rows.begin)
        book.forget("ven_2")
        assert book.recall(key.token) is not None
        book.forget(named)
        assert book.recall(key.token) is None


def test_forget_drops_one_or_all():
    """By the id inside the token; an unknown id drops nothing."""
    book = make_book()
    for name in "abc":
        book._remember(tokens._digest(name), Principal("vendor", token_id=name), 0)
    book.forget("nobody's")
    book.forget("b")
    assert [True, False, True] == [book.recall(name) is not None for name in "abc"]
    book.forget()
    assert [None] * 3 == [book.recall(name) for name in "abc"]


def test_token_revoked_while_it_is_checked_is_not_remembered(key: Minted):
    """The notice comes between the reading of the row and the remembering."""
    book = make_book()
    rows = Rows({key.token_id: row(key)}, meanwhile=lambda: book.forget(key.token_id))
    assert "ven_1" == book.authenticate(key.token, rows.begin).vendor_id
    assert book.recall(key.token) is None

"""The token book without a database: minting, checking, refusing."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Literal

import jwt
import pytest
from token_rows import HOUR, JWT_SECRET, SERVICE_KEY, Rows, make_book, row

from mp_kit.errors import AuthError, ForbiddenError, MarketplaceError, TokenExpiredError
from mp_kit.server.services import tokens
from mp_kit.server.services.tokens import COST, Minted, Principal, TokenBook, ends_in


@pytest.mark.parametrize("prefix", ["vk", "sit"])
def test_mint_has_the_wires_form(prefix: Literal["vk", "sit"], book: TokenBook):
    """Kind, id, 256 random bits; the hash is Argon2id's and holds nothing of the secret."""
    made = book.mint(prefix)
    match = re.fullmatch(rf"{prefix}_([0-9a-z]{{16}})_([A-Za-z0-9_-]{{43}})", made.token)
    assert match is not None
    assert made.token_id == match[1]
    assert made.token_hash.startswith("$argon2id$v=19$m=")
    assert match[2] not in made.token_hash
    assert match[2] not in repr(made)


def test_a_hash_costs_what_owasp_asks(monkeypatch: pytest.MonkeyPatch):
    """Not what other tests make of it."""
    monkeypatch.setattr(tokens, "COST", COST)
    assert make_book().mint("vk").token_hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_mint_is_never_the_same(book: TokenBook):
    """Id, secret and salt."""
    first, second = book.mint("vk"), book.mint("vk")
    assert first.token_id != second.token_id
    assert first.token[20:] != second.token[20:]
    assert first.token_hash != second.token_hash


MALFORMED = {
    "empty": "",
    "a word": "token",
    "a kind": "vk_",
    "no secret": "vk_0123456789abcdef_",
    "a short secret": "vk_0123456789abcdef_" + "a" * 42,
    "a long secret": "vk_0123456789abcdef_" + "a" * 44,
    "a short id": "vk_0123456789abcde_" + "a" * 43,
    "upper case id": "vk_0123456789ABCDEF_" + "a" * 43,
    "another kind": "ac_0123456789abcdef_" + "a" * 43,
    "a wild card": "vk_%%%%%%%%%%%%%%%%_" + "a" * 43,
    "a line's end": "vk_0123456789abcdef_" + "a" * 43 + "\n",
    "spaces before": "  vk_0123456789abcdef_" + "a" * 43,
    "three empty parts": "..",
    "three parts of nothing": "a.b.c",
    "three parts, not ASCII": "ä.ö.ü",
    "endless": "a" * 100_000,
}


@pytest.mark.parametrize("token", MALFORMED.values(), ids=MALFORMED)
def test_malformed_token_costs_no_transaction(token: str, book: TokenBook):
    """It is refused by its form, and not repeated in the sentence."""
    rows = Rows()
    with pytest.raises(AuthError) as caught:
        book.authenticate(token, rows.begin)
    assert 0 == rows.opened
    assert "none has this form" in str(caught.value) or token.count(".") == 2


def test_unknown_id_costs_one_probe(book: TokenBook, key: Minted):
    """No Argon2 run, no note of use."""
    rows = Rows()
    with pytest.raises(AuthError, match="unknown"):
        book.authenticate(key.token, rows.begin)
    assert (1, []) == (rows.opened, rows.touched)


def test_wrong_secret_is_unknown_too(book: TokenBook, key: Minted):
    """The answer does not tell whether the id exists."""
    rows = Rows({key.token_id: row(key)})
    wrong = key.token[:-1] + ("a" if key.token[-1] != "a" else "b")
    with pytest.raises(AuthError, match="The token is unknown"):
        book.authenticate(wrong, rows.begin)
    assert [] == rows.touched
    assert book.recall(wrong) is None


def test_pepper_matters(key: Minted):
    """A stolen table of hashes checks nothing without it."""
    with pytest.raises(AuthError, match="unknown"):
        make_book(pepper="another pepper").authenticate(key.token, Rows({key.token_id: row(key)}).begin)
    assert "ven_1" == make_book().authenticate(key.token, Rows({key.token_id: row(key)}).begin).vendor_id


ENDED: dict[str, tuple[dict[str, Any], type[MarketplaceError], str]] = {
    "expired": ({"expires_at": datetime(2026, 1, 2, tzinfo=UTC)}, TokenExpiredError, "2026-01-02T00:00:00Z"),
    "revoked": ({"revoked_at": datetime(2026, 1, 2, tzinfo=UTC)}, AuthError, "revoked"),
    "suspended": ({"status": "suspended"}, ForbiddenError, "suspended"),
    "pending": ({"status": "pending"}, ForbiddenError, "pending"),
}


@pytest.mark.parametrize(("change", "error", "why"), ENDED.values(), ids=ENDED)
def test_ended_token_is_refused(
    change: dict[str, Any], error: type[MarketplaceError], why: str, book: TokenBook, key: Minted
):
    """Only after its secret was right; and it is not remembered."""
    rows = Rows({key.token_id: row(key, **change)})
    with pytest.raises(error, match=why) as caught:
        book.authenticate(key.token, rows.begin)
    assert error is type(caught.value)
    assert ([], None) == (rows.touched, book.recall(key.token))


def test_good_key_is_its_vendor(key: Minted):
    """With its end, and its use noted once."""
    stored = row(key)
    rows = Rows({key.token_id: stored})
    who = make_book().authenticate(key.token, rows.begin)
    assert Principal("vendor", token_id=key.token_id, vendor_id="ven_1", expires_at=stored.expires_at) == who
    assert ([key.token_id], "vendor:ven_1") == (rows.touched, who.name)


def test_deployment_token_brings_deployment_model_and_scope(book: TokenBook):
    """Everything that attribution needs."""
    made = book.mint("sit")
    scope = {"routes": ["signals:store"]}
    stored = row(made, deployment_id="dep_1", model_id="mod_1", scope=scope)
    who = make_book().authenticate(made.token, Rows({made.token_id: stored}).begin)
    assert ("deployment", "dep_1", "mod_1", scope) == (who.kind, who.deployment_id, who.model_id, who.scope)


def test_service_key_is_the_operator(book: TokenBook):
    """Without a database; an almost equal one is not."""
    rows = Rows()
    assert Principal(kind="operator") == book.authenticate(SERVICE_KEY, rows.begin)
    with pytest.raises(AuthError):
        book.authenticate(SERVICE_KEY + " ", rows.begin)
    assert 0 == rows.opened


def claims(**changes: Any) -> dict[str, Any]:
    """What a run token says; None leaves a claim out."""
    told = {"aud": "run", "sub": "run_1", "vid": "ven_1", "exp": datetime.now(UTC) + HOUR, **changes}
    return {name: value for name, value in told.items() if value is not None}


def signed(secret: str = JWT_SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    """A run token with something wrong about it."""
    return jwt.encode(claims(**changes), secret, algorithm=algorithm)


def torn(token: str) -> str:
    """The same token with a changed payload."""
    head, payload, signature = token.split(".")
    return f"{head}.{payload[:-2]}{'AA' if payload[-2:] != 'AA' else 'BB'}.{signature}"


BAD_JWTS: dict[str, tuple[Callable[[], str], type[AuthError]]] = {
    "expired": (lambda: signed(exp=datetime.now(UTC) - timedelta(seconds=1)), TokenExpiredError),
    "wrong audience": (lambda: signed(aud="other"), AuthError),
    "no audience": (lambda: signed(aud=None), AuthError),
    "no subject": (lambda: signed(sub=None), AuthError),
    "no end": (lambda: signed(exp=None), AuthError),
    "not yet": (lambda: signed(nbf=datetime.now(UTC) + HOUR), AuthError),
    "another secret": (lambda: signed(secret=JWT_SECRET[::-1]), AuthError),
    "another algorithm": (lambda: signed(algorithm="HS512"), AuthError),
    "no algorithm": (lambda: jwt.encode(claims(), "", algorithm="none"), AuthError),
    "no signature": (lambda: signed().rpartition(".")[0] + ".", AuthError),
    "changed payload": (lambda: torn(signed()), AuthError),
}


@pytest.mark.parametrize(("make", "error"), BAD_JWTS.values(), ids=BAD_JWTS)
def test_bad_jwt_is_refused(make: Callable[[], str], error: type[AuthError], book: TokenBook):
    """Before any transaction, and only an expired one is told so."""
    rows = Rows()
    with pytest.raises(AuthError) as caught:
        book.authenticate(make(), rows.begin)
    assert error is type(caught.value)
    assert 0 == rows.opened


def test_run_token_is_its_run(book: TokenBook):
    """To the second of its end, whatever the epoch of its vendor's sessions."""
    until = (datetime.now(UTC) + HOUR).replace(microsecond=0)
    rows = Rows({"ven_1": SimpleNamespace(status="active", session_epoch=7)})
    who = book.authenticate(book.run_token("run_1", "ven_1", until), rows.begin)
    assert Principal("run", vendor_id="ven_1", run_id="run_1", expires_at=until) == who
    assert (1, "run:run_1") == (rows.opened, who.name)


def test_run_token_of_a_suspended_vendor_is_refused(book: TokenBook):
    """A suspension reaches into the vendor's running jobs."""
    rows = Rows({"ven_1": SimpleNamespace(status="suspended", session_epoch=1)})
    with pytest.raises(ForbiddenError):
        book.authenticate(book.run_token("run_1", "ven_1", ends_in(1)), rows.begin)


SESSIONS: dict[str, tuple[Any, type[MarketplaceError]]] = {
    "no vendor": (None, AuthError),
    "a later epoch": (SimpleNamespace(status="active", session_epoch=2), AuthError),
    "suspended": (SimpleNamespace(status="suspended", session_epoch=1), ForbiddenError),
}


@pytest.mark.parametrize(("vendor", "error"), SESSIONS.values(), ids=SESSIONS)
def test_ended_session_is_refused(vendor: Any, error: type[MarketplaceError], book: TokenBook):
    """Its vendor is asked each time."""
    rows = Rows({} if vendor is None else {"ven_1": vendor})
    with pytest.raises(error) as caught:
        book.authenticate(book.session("ven_1", 1, ends_in(1)), rows.begin)
    assert error is type(caught.value)
    assert 1 == rows.opened


def test_session_is_its_vendor(book: TokenBook):
    """While the epoch is the same; it is never remembered."""
    rows = Rows({"ven_1": SimpleNamespace(status="active", session_epoch=1)})
    session = book.session("ven_1", 1, ends_in(1))
    who = [book.authenticate(session, rows.begin) for _ in range(2)]
    assert [("vendor", "ven_1")] * 2 == [(one.kind, one.vendor_id) for one in who]
    assert (2, None) == (rows.opened, book.recall(session))

"""A vendor's API keys against Postgres: the last one, rotation, revocation, races."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from signing_in import ask, bearer, code_of, decide, exchange, new_vendor, raced, run, waiting

from mp_kit.contracts import KeyRequest
from mp_kit.errors import AuthError, ConflictError, NotFoundError
from mp_kit.server.house import House
from mp_kit.server.services import keys, vendors
from mp_kit.server.services.tokens import Principal


def make_key(house: House, who: Principal, name: str = "second") -> Any:
    """A further key."""
    with house.db.begin() as tx:
        return keys.create(tx, house.tokens, who, KeyRequest(name=name))


def revoke(house: House, who: Principal, key_id: str, *, force: bool = False) -> list[str]:
    """Ends a key."""
    with house.db.begin() as tx:
        return keys.revoke(tx, who, key_id, force=force).revoked


def test_last_living_key_stays(house: House):
    """Unless it is meant; one in its overlap does not count as living."""
    made = new_vendor(house)
    who = bearer(house, made)
    with pytest.raises(ConflictError, match="last living key"):
        revoke(house, who, who.token_id)
    with house.db.begin() as tx:
        fresh = keys.rotate(tx, house.tokens, who, who.token_id, overlap=timedelta(hours=1))
    with pytest.raises(ConflictError, match="last living key"):
        revoke(house, who, fresh.key_id)
    assert [who.token_id] == revoke(house, who, who.token_id)
    assert [fresh.key_id] == revoke(house, who, fresh.key_id, force=True)
    assert [] == revoke(house, who, fresh.key_id)


def test_two_that_revoke_the_last_two_keys_at_once(house: House):
    """One of them is told that its key is the last."""
    who = bearer(house, new_vendor(house))
    other = make_key(house, who).key_id
    done = raced(*[lambda key=key: revoke(house, who, key) for key in (who.token_id, other)])
    assert 1 == sum(isinstance(one, ConflictError) for one in done)


def test_rotation_of_one_key(house: House):
    """The others stay as they are; the old one lives on for the overlap; it is rotated once."""
    who = bearer(house, new_vendor(house))
    second = make_key(house, who, "server")
    with house.db.begin() as tx:
        fresh = keys.rotate(tx, house.tokens, who, second.key_id, overlap=timedelta(hours=2))
        status = {key.id: (key.status, key.name) for key in keys.list_of(tx, who)}
    assert {
        who.token_id: ("living", ""),
        second.key_id: ("ending", "server"),
        fresh.key_id: ("living", "server"),
    } == status
    house.tokens.forget()
    for key in (second.api_key, fresh.api_key):
        assert who.vendor_id == house.tokens.authenticate(key, house.db.begin).vendor_id
    with pytest.raises(ConflictError, match="rotated already"), house.db.begin() as tx:
        keys.rotate(tx, house.tokens, who, second.key_id, overlap=timedelta(hours=2))


def test_rotation_without_overlap_ends_at_once(house: House):
    """For a key that leaked."""
    who = bearer(house, new_vendor(house))
    second = make_key(house, who)
    with house.db.begin() as tx:
        keys.rotate(tx, house.tokens, who, second.key_id, overlap=timedelta(0))
    house.tokens.forget()
    with pytest.raises(AuthError, match="revoked"):
        house.tokens.authenticate(second.api_key, house.db.begin)


def test_rotated_key_makes_no_keys(house: House):
    """Nor does a session that was opened with it."""
    made = new_vendor(house)
    who = bearer(house, made)
    with house.db.begin() as tx:
        keys.rotate(tx, house.tokens, who, who.token_id, overlap=timedelta(hours=1))
        session = vendors.open_session(tx, house.tokens, made.vendor_id, who.token_id).token
    for caller in (who, house.tokens.authenticate(session, house.db.begin)):
        with pytest.raises(ConflictError, match="rotated already"):
            make_key(house, caller)


def test_so_many_keys_live(house: House):
    """The twenty-first is refused."""
    made = new_vendor(house)
    who = bearer(house, made)
    values = "(:id, :vendor, 'x', now() + interval '1 d')"
    for number in range(keys.MOST_LIVING - 1):
        statement = f"INSERT INTO vendor_keys (id, vendor_id, token_hash, expires_at) VALUES {values}"  # noqa: S608 - above
        run(house, statement, id=f"{who.token_id}{number}", vendor=made.vendor_id)
    with pytest.raises(ConflictError, match="20 living keys"):
        make_key(house, who)


def test_keys_of_another_vendor_do_not_exist(house: House):
    """404, whether rotated or revoked."""
    mine, theirs = bearer(house, new_vendor(house)), bearer(house, new_vendor(house))
    with pytest.raises(NotFoundError):
        revoke(house, mine, theirs.token_id, force=True)
    with pytest.raises(NotFoundError), house.db.begin() as tx:
        keys.rotate(tx, house.tokens, mine, theirs.token_id, overlap=timedelta(0))


def test_revoking_all(house: House):
    """Keys, sessions, codes and approvals end; another vendor's stay. It takes force."""
    made, other, device = new_vendor(house), new_vendor(house), waiting(house)
    who = bearer(house, made)
    code = code_of(house, made.vendor_id)
    decide(house, made.vendor_id, device.user_code)
    with house.db.begin() as tx:
        session = vendors.open_session(tx, house.tokens, made.vendor_id).token
    with pytest.raises(ConflictError, match="none of your keys"), house.db.begin() as tx:
        keys.revoke_all(tx, made.vendor_id, actor="test")
    with house.db.begin() as tx:
        assert [who.token_id] == keys.revoke_all(tx, made.vendor_id, actor="test", force=True).revoked
    house.tokens.forget()
    for token in (made.api_key, session):
        with pytest.raises(AuthError):
            house.tokens.authenticate(token, house.db.begin)
    with pytest.raises(AuthError):
        exchange(house, code)
    assert "access_denied" == ask(house, device).status
    assert other.vendor_id == bearer(house, other).vendor_id


def test_an_exchange_never_outlives_revoking_all(house: House):
    """Whichever comes first: no key lives afterwards."""
    for _ in range(5):
        made = new_vendor(house)
        code = code_of(house, made.vendor_id)

        def end(vendor_id: str = made.vendor_id) -> Any:
            with house.db.begin() as tx:
                return keys.revoke_all(tx, vendor_id, actor="test", force=True)

        raced(lambda code=code: exchange(house, code), end)
        left = "SELECT count(*) FROM vendor_keys WHERE vendor_id = :v AND revoked_at IS NULL"
        assert 0 == run(house, left, v=made.vendor_id).scalar_one()


def test_every_deed_is_in_the_audit_log(house: House):
    """Who did what to which key, without a secret."""
    made = new_vendor(house)
    who = bearer(house, made)
    second, third = make_key(house, who), make_key(house, who)
    with house.db.begin() as tx:
        keys.rotate(tx, house.tokens, who, second.key_id, overlap=timedelta(0))
    revoke(house, who, third.key_id)
    found = run(house, "SELECT action FROM audit_log WHERE actor = :a ORDER BY at, id", a=f"vendor:{made.vendor_id}")
    assert ["key.create", "key.create", "key.rotate", "key.revoke"] == list(found.scalars())

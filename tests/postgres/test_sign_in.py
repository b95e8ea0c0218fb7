"""One-time codes, device logins and keys against Postgres: races first."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import text

from mp_kit.contracts import DeviceCode, KeyRequest, VendorStatus
from mp_kit.errors import (
    AuthError,
    ConflictError,
    ForbiddenError,
    MarketplaceError,
    NotFoundError,
    RateLimitedError,
)
from mp_kit.server.house import House
from mp_kit.server.services import keys, sign_in, vendors
from mp_kit.server.services.tokens import Principal

_numbers = count(1)


def new_vendor(house: House, **how: Any) -> vendors.NewVendor:
    """A vendor of the test's own."""
    with house.db.begin() as tx:
        return vendors.create(tx, house.tokens, f"signs in {next(_numbers)}", actor="test", **how)


def bearer(house: House, made: vendors.NewVendor) -> Principal:
    """Who bears the vendor's first key."""
    return house.tokens.authenticate(made.api_key, house.db.begin)


def code_of(house: House, vendor_id: str) -> str:
    """A one-time code from the operator."""
    with house.db.begin() as tx:
        return sign_in.issue_code(tx, house.tokens, vendor_id, actor="test").code


def exchange(house: House, code: str) -> str:
    """The key that a code is traded for."""
    return sign_in.exchange(house.db.begin, house.tokens, code).api_key


def run(house: House, statement: str, **values: Any) -> Any:
    """SQL of the test's own."""
    with house.db.begin() as tx:
        return tx.execute(text(statement), values)


def waiting(house: House, client: str = "mp on a laptop", address: str | None = None) -> DeviceCode:
    """A program that waits, from an address of its own."""
    where = address or f"10.0.0.{next(_numbers)}"
    with house.db.begin() as tx:
        return sign_in.begin_device(tx, house.tokens, client=client, address=where, page="http://m/marketplace/device")


def ask(house: House, device: DeviceCode, *, at_once: bool = False) -> Any:
    """What a program hears; as if its interval were over, unless ``at_once``."""
    if not at_once:
        run(house, "UPDATE device_logins SET last_polled_at = NULL WHERE user_code = :c", c=letters(device))
    return sign_in.poll(house.db.begin, house.tokens, device.device_code)


def letters(device: DeviceCode) -> str:
    """The code as it is stored."""
    return device.user_code.replace("-", "")


def decide(house: House, vendor_id: str, typed: str, *, approve: bool = True) -> sign_in.Waiting:
    """A person's decision."""
    with house.db.begin() as tx:
        return sign_in.decide(tx, vendor_id, typed, approve=approve, actor=f"vendor:{vendor_id}")


def raced(*deeds: Callable[[], Any]) -> list[Any]:
    """All at once; an error of ours is a result."""
    barrier = Barrier(len(deeds))

    def one(deed: Callable[[], Any]) -> Any:
        barrier.wait(timeout=30)
        try:
            return deed()
        except MarketplaceError as error:
            return error

    with ThreadPoolExecutor(len(deeds)) as pool:
        return list(pool.map(one, deeds))


def test_racing_exchanges_have_one_winner(house: House):
    """Eight try the same code; one key is made, seven hear 401."""
    made = new_vendor(house)
    code = code_of(house, made.vendor_id)
    done = raced(*[lambda: exchange(house, code)] * 8)
    won = [one for one in done if isinstance(one, str)]
    assert (1, 7) == (len(won), sum(isinstance(one, AuthError) for one in done))
    assert made.vendor_id == house.tokens.authenticate(won[0], house.db.begin).vendor_id
    living = run(house, "SELECT count(*) FROM vendor_keys WHERE vendor_id = :v", v=made.vendor_id).scalar_one()
    assert 2 == living


@pytest.mark.parametrize("code", ["", "ac_", "ac_0123456789abcdef_" + "A" * 43, "vk_0123456789abcdef_" + "A" * 43])
def test_codes_that_are_none(house: House, code: str):
    """One sentence for all of them."""
    with pytest.raises(AuthError, match="unknown, used or has ended"):
        exchange(house, code)


def test_wrong_secret_uses_no_code_up(house: House):
    """Whoever knows the id alone can neither use the code nor spoil it."""
    code = code_of(house, new_vendor(house).vendor_id)
    with pytest.raises(AuthError):
        exchange(house, code[:-5] + "AAAAA")
    assert exchange(house, code).startswith("vk_")


def test_ended_code_is_refused(house: House):
    """After five minutes."""
    code = code_of(house, new_vendor(house).vendor_id)
    run(house, "UPDATE auth_codes SET expires_at = now() WHERE id = :id", id=code.split("_")[1])
    with pytest.raises(AuthError):
        exchange(house, code)


def test_no_code_is_stored_readable(house: House):
    """Neither the one-time code's secret nor the device code is in any row, nor in the audit log."""
    made, device = new_vendor(house), waiting(house)
    code = code_of(house, made.vendor_id)
    decide(house, made.vendor_id, device.user_code)
    answer = ask(house, device)
    key = exchange(house, answer.auth_code)
    stored = "".join(
        str(run(house, f"SELECT * FROM {table}").all())  # noqa: S608 - the names are below
        for table in ("auth_codes", "device_logins", "vendor_keys", "audit_log")
    )
    for secret in (code, answer.auth_code, key, device.device_code):
        assert secret.rsplit("_", 1)[-1] not in stored
    assert code.split("_")[1] in stored


@pytest.mark.parametrize("status", ["pending", "suspended"])
def test_vendor_that_is_not_active_gets_neither_code_nor_key(house: House, status: str):
    """Not when the code is made, not when it is exchanged, not by a device."""
    made = new_vendor(house)
    code, device, approved = code_of(house, made.vendor_id), waiting(house), waiting(house)
    decide(house, made.vendor_id, approved.user_code)
    with house.db.begin() as tx:
        vendors.set_status(tx, made.vendor_id, VendorStatus(status), actor="test")
    with pytest.raises(ConflictError, match=status):
        code_of(house, made.vendor_id)
    with pytest.raises(ForbiddenError, match=status):
        exchange(house, code)
    with pytest.raises(ForbiddenError):
        decide(house, made.vendor_id, device.user_code)
    assert "access_denied" == ask(house, approved).status


def test_pending_vendor_waits_for_the_operator(house: House):
    """Its key opens nothing until it is activated."""
    made = new_vendor(house, pending=True)
    with pytest.raises(ForbiddenError, match="pending"):
        bearer(house, made)
    with house.db.begin() as tx:
        vendors.set_status(tx, made.vendor_id, VendorStatus.ACTIVE, actor="test")
    assert made.vendor_id == bearer(house, made).vendor_id


def test_device_login(house: House):
    """Pending, approved with a code, exchanged; then it is over."""
    made, device = new_vendor(house), waiting(house)
    assert ("authorization_pending", None) == ((told := ask(house, device)).status, told.auth_code)
    with house.db.begin() as tx:
        seen = sign_in.find_waiting(tx, device.user_code.lower().replace("-", " "))
    assert ("mp on a laptop", device.user_code) == (seen.client, seen.user_code)
    decide(house, made.vendor_id, device.user_code)
    answer = ask(house, device)
    assert ("approved", made.name) == (answer.status, answer.vendor_name)
    who = house.tokens.authenticate(exchange(house, answer.auth_code), house.db.begin)
    with house.db.begin() as tx:
        named = {key.id: key.name for key in keys.list_of(tx, who)}
    assert (made.vendor_id, "mp on a laptop") == (who.vendor_id, named[who.token_id])
    assert "expired_token" == ask(house, device).status


def test_lost_answer_of_an_approved_device_is_asked_for_again(house: House):
    """Each question gets a fresh code and voids the former; one of them makes a key."""
    made, device = new_vendor(house), waiting(house)
    decide(house, made.vendor_id, device.user_code)
    first, second = ask(house, device).auth_code, ask(house, device).auth_code
    with pytest.raises(AuthError):
        exchange(house, first)
    assert exchange(house, second).startswith("vk_")


def test_denied_device(house: House):
    """It hears so; nobody can approve it afterwards."""
    made, device = new_vendor(house), waiting(house)
    decide(house, made.vendor_id, device.user_code, approve=False)
    assert "access_denied" == ask(house, device).status
    with pytest.raises(NotFoundError):
        decide(house, made.vendor_id, device.user_code)


def test_two_decide_at_once(house: House):
    """One approves; the other finds nothing that waits."""
    first, second, device = new_vendor(house), new_vendor(house), waiting(house)
    done = raced(*[lambda who=who: decide(house, who.vendor_id, device.user_code) for who in (first, second)])
    assert 1 == sum(isinstance(one, NotFoundError) for one in done)
    assert 1 == sum(isinstance(one, sign_in.Waiting) for one in done)


def test_asking_too_soon_slows_down(house: House):
    """The interval grows by five seconds each time, up to a minute."""
    device = waiting(house)
    told = [ask(house, device, at_once=True) for _ in range(14)]
    assert ["authorization_pending", "slow_down", "slow_down"] == [one.status for one in told[:3]]
    assert [5, 10, 15] == [one.interval for one in told[:3]]
    assert 60 == told[-1].interval


@pytest.mark.parametrize("typed", ["", "AAAA-AAAA", "<script>", "B" * 500])
def test_user_codes_that_are_none(house: House, typed: str):
    """404 in one sentence."""
    with pytest.raises(NotFoundError, match="No program waits"), house.db.begin() as tx:
        sign_in.find_waiting(tx, typed)


def test_expired_device(house: House):
    """It can be neither approved nor asked for."""
    made, device = new_vendor(house), waiting(house)
    run(house, "UPDATE device_logins SET expires_at = now() WHERE user_code = :c", c=letters(device))
    with pytest.raises(NotFoundError):
        decide(house, made.vendor_id, device.user_code)
    assert "expired_token" == ask(house, device).status
    assert "expired_token" == sign_in.poll(house.db.begin, house.tokens, "nonsense").status


def test_so_many_wait_from_one_address(house: House):
    """The twenty-first is 429; another address is not in its way."""
    for _ in range(20):
        waiting(house, address="192.0.2.1")
    with pytest.raises(RateLimitedError):
        waiting(house, address="192.0.2.1")
    assert waiting(house, address="192.0.2.2").user_code


def test_old_rows_are_forgotten(house: House):
    """A day after their end, codes before the devices that they hang on."""
    made, device = new_vendor(house), waiting(house)
    decide(house, made.vendor_id, device.user_code)
    ask(house, device)
    for table in ("auth_codes", "device_logins"):
        run(house, f"UPDATE {table} SET expires_at = now() - interval '25 hours'")  # noqa: S608 - the names are above
    waiting(house)
    assert 0 == run(house, "SELECT count(*) FROM auth_codes").scalar_one()
    assert 1 == run(house, "SELECT count(*) FROM device_logins").scalar_one()


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

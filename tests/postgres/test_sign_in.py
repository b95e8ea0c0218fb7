"""One-time codes and device logins against Postgres: races first."""

from __future__ import annotations

from datetime import timedelta

import pytest
from signing_in import ask, bearer, code_of, decide, exchange, letters, new_vendor, raced, run, waiting

from mp_kit.contracts import VendorStatus
from mp_kit.errors import AuthError, ConflictError, ForbiddenError, NotFoundError, RateLimitedError
from mp_kit.server.house import House
from mp_kit.server.services import keys, sign_in, vendors


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
        assert secret[-20:] not in stored
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


def test_session_of_a_rotated_key_approves_no_program(house: House):
    """Whoever found an old key gets no new one by way of a program; denying is still possible."""
    made, device = new_vendor(house), waiting(house)
    old = bearer(house, made)
    with house.db.begin() as tx:
        keys.rotate(tx, house.tokens, old, old.token_id, overlap=timedelta(hours=1))
    with pytest.raises(ConflictError, match="rotated"):
        decide(house, made.vendor_id, device.user_code, opened_by=old.token_id)
    assert "authorization_pending" == ask(house, device).status
    decide(house, made.vendor_id, device.user_code, approve=False, opened_by=old.token_id)
    assert "access_denied" == ask(house, device).status

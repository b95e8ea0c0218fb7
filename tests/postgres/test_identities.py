"""Linked accounts and trips against Postgres: what happens at once has one winner."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest
from signing_in import bearer, new_vendor, raced, run
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from mp_kit.errors import AuthError, ConflictError, NotFoundError, RateLimitedError
from mp_kit.server.house import House
from mp_kit.server.providers.identity import Identity
from mp_kit.server.services import identities, keys, trips
from mp_kit.server.services.identities import SignIn
from mp_kit.server.services.trips import Trip

HUB = "github.com"
numbers = count(500)


def link(house: House, vendor_id: str, number: int, provider: str = HUB) -> bool:
    """The operator's link."""
    with house.db.begin() as tx:
        return identities.link_by_operator(tx, vendor_id, provider, number, actor="test")


def sign_in(house: House, number: int, provider: str = HUB) -> SignIn:
    """What becomes of it."""
    with house.db.begin() as tx:
        return identities.sign_in(tx, house.tokens, Identity(provider, str(number), "ann"))


def test_racing_answers_have_one_winner(house: House):
    """Eight come back with the same state; one gets the trip."""
    with house.db.begin() as tx:
        departure = trips.begin_login(tx, house.tokens, browser="b" * 43, target="/marketplace", address="192.0.2.1")

    def back() -> Trip | None:
        with house.db.begin() as tx:
            return trips.come_back(tx, house.tokens, departure.state, browser="b" * 43, session="")

    assert 1 == sum(one is not None for one in raced(*[back] * 8))


def test_trip_of_nobody_is_nobodys(house: House):
    """Whoever has neither cookie gets none, even one that was begun without."""
    with house.db.begin() as tx:
        departure = trips.begin_login(tx, house.tokens, browser="", target="/marketplace", address="192.0.2.1")
        assert trips.come_back(tx, house.tokens, departure.state, browser="", session="") is None


def test_racing_links_have_one_winner(house: House):
    """Of four vendors that link an account at once, one has it."""
    number, made = next(numbers), [new_vendor(house) for _ in range(4)]
    done = raced(*[lambda one=one: link(house, one.vendor_id, number) for one in made])
    assert (1, 3) == (done.count(True), sum(isinstance(one, ConflictError) for one in done))


def test_sign_in_that_races_a_revocation_outlives_it_not(house: House):
    """Either it is refused, or its session has ended."""
    made, number = new_vendor(house), next(numbers)
    link(house, made.vendor_id, number)

    def revoke() -> None:
        with house.db.begin() as tx:
            keys.revoke_all(tx, made.vendor_id, actor="test", force=True)

    done = raced(*[lambda: sign_in(house, number)] * 3, revoke)
    epoch = run(house, "SELECT session_epoch FROM marketplace_vendors WHERE id = :v", v=made.vendor_id).scalar_one()
    opened = [one.session for one in done if isinstance(one, SignIn) and one.session]
    assert 1 == epoch
    for session in opened:
        with pytest.raises(Exception, match="has ended"):
            house.tokens.authenticate(session.token, house.db.begin)
    assert "unknown" == sign_in(house, number).refused


def test_same_number_elsewhere_is_somebody_else(house: House):
    """An operator who moves to a server of their own lets nobody in by chance."""
    number, made = next(numbers), new_vendor(house)
    link(house, made.vendor_id, number)
    assert "unknown" == sign_in(house, number, "git.example").refused
    assert link(house, new_vendor(house).vendor_id, number, "git.example")


def test_database_keeps_accounts_apart(house: House):
    """Whatever the code above it does."""
    number, made = next(numbers), new_vendor(house)
    link(house, made.vendor_id, number)
    with pytest.raises(IntegrityError, match="uq_vendor_identities_provider_subject"):
        run(
            house,
            "INSERT INTO vendor_identities (id, vendor_id, provider, subject, linked_by) VALUES ('x', :v, :p, :s, 't')",
            v=made.vendor_id, p=HUB, s=str(number),
        )  # fmt: skip


def test_links_are_bounded(house: House):
    """The twenty-first is refused; the operator unlinks by number, also the last way in."""
    made, first = new_vendor(house), next(numbers) * 1_000
    for number in range(first, first + 20):
        link(house, made.vendor_id, number)
    with pytest.raises(ConflictError, match="20 linked accounts"):
        link(house, made.vendor_id, first + 20)
    with house.db.begin() as tx:
        gone = identities.unlink(tx, made.vendor_id, str(first), actor="test", force=True)
    assert str(first) == gone.subject
    with pytest.raises(NotFoundError), house.db.begin() as tx:
        identities.unlink(tx, made.vendor_id, str(first), actor="test", force=True)


def test_pending_vendor_is_linked_ahead(house: House):
    """It signs in once it is active."""
    made, number = new_vendor(house, pending=True), next(numbers)
    assert [True, False] == [link(house, made.vendor_id, number) for _ in "ab"]
    assert "pending" == sign_in(house, number).refused


def test_key_is_no_fresh_session(house: House):
    """Only a session is ever fresh."""
    assert not trips.is_fresh(bearer(house, new_vendor(house)))


@pytest.mark.parametrize("change", [{"session_epoch": 1}, {"vendor_id": "ven_other"}, {"vendor_id": None}])
def test_trip_of_another_session_links_nothing(house: House, change: dict[str, object]):
    """Not even where the session ended between its check and the link."""
    made = new_vendor(house)
    trip = replace(Trip("/marketplace", "", made.vendor_id, session_epoch=0), **change)
    with pytest.raises(AuthError), house.db.begin() as tx:
        identities.link(tx, bearer(house, made), trip, Identity(HUB, str(next(numbers)), "ann"))


def test_session_of_another_vendor_links_nothing(house: House):
    """The trip's vendor and the session's are one."""
    made, other = new_vendor(house), new_vendor(house)
    trip = Trip("/marketplace", "", made.vendor_id, session_epoch=0)
    with pytest.raises(AuthError), house.db.begin() as tx:
        identities.link(tx, bearer(house, other), trip, Identity(HUB, str(next(numbers)), "ann"))


def test_trips_that_do_not_come_back_are_capped(house: House):
    """Per address: the fifty-first is refused, another address is not, and an old one makes room."""

    def begin(address: str) -> None:
        with house.db.begin() as tx:
            trips.begin_login(tx, house.tokens, browser="b" * 43, target="/marketplace", address=address)

    for _ in range(50):
        begin("198.51.100.9")
    with pytest.raises(RateLimitedError, match="not finished"):
        begin("198.51.100.9")
    begin("198.51.100.10")
    with house.db.begin() as tx:
        tx.execute(text("UPDATE sign_in_trips SET expires_at = now() WHERE address = '198.51.100.9'"))
    begin("198.51.100.9")

"""The keeper of hosted servers, through what vendors' servers and accounts do to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from mp_kit.errors import ProviderError
from mp_kit.server.house import House
from mp_kit.server.providers.hosting import Hosted, HostOrder, HostPhase, HostView
from mp_kit.server.services import hosting_keeper
from mp_kit.server.services.hosting_keeper import MOST_FAILURES, Keeper, keep
from mp_kit.server.store import hostings as rows
from mp_kit.server.store.engine import Tx
from tests.support.hosts import everywhere
from tests.support.stages import Stage, staged

NUL, HALF = "Last lines: \x00boom", "Last lines: \ud800boom"


@pytest.fixture
def stage(house: House) -> Iterator[Stage]:
    with staged(house) as stage:
        yield stage


def keeper_of(stage: Stage) -> Keeper:
    return Keeper(stage.house.db, everywhere(stage.host), stage.house.tokens, "http://edge.test")


@pytest.mark.parametrize("said", [NUL, HALF])
def test_no_line_of_a_log_ends_the_keeper(stage: Stage, said: str):
    """What Postgres does not take is replaced, and the crash loop is ended and told like any other."""
    made = stage.deploy()
    stage.turn()
    stage.host.view = HostView(HostPhase.SICK, {"total": 1}, detail=said, is_beyond_repair=True)
    stage.turn()
    assert ("ending", "Last lines: \N{REPLACEMENT CHARACTER}boom") == (stage.state(made), stage.seen(made).failure)


def test_what_cannot_be_stored_of_one_holds_up_no_other(stage: Stage):
    """Its claim is given back, nothing of it is changed, and the others are launched."""
    one = stage.deploy()
    stage.turn()
    stage.host.look = lambda hosted: _unstorable()  # type: ignore[method-assign]  # noqa: ARG005 - the protocol's
    other = stage.deploy()
    stage.turn()
    assert ("running", "running") == (stage.state(one), stage.state(other))
    with stage.house.db.begin() as tx:
        row = rows.find(tx, one, stage.vendor)
    assert row is not None
    assert row.lock_token is None


def _unstorable() -> HostView:
    view = HostView(HostPhase.READY, {"total": 1})
    object.__setattr__(view, "detail", NUL)
    return view


def test_a_turn_that_fails_is_not_the_last(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    """Whatever it was: nobody else launches servers."""
    turns: list[Any] = []
    over = threading.Event()

    def failing(keeper: Keeper) -> int:
        turns.append(keeper)
        if len(turns) > 1:
            over.set()
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(hosting_keeper, "turn", failing)
    monkeypatch.setattr(hosting_keeper, "_SOON", 0.01)
    thread = threading.Thread(target=keep, args=(keeper_of(stage), over))
    thread.start()
    thread.join(10)
    assert (False, True) == (thread.is_alive(), len(turns) > 1)


def test_a_server_that_sleeps_is_as_good_as_one_that_answers(stage: Stage):
    """An endpoint may sleep between its renewals for years: a refusal at each of them adds up to nothing."""
    made = stage.deploy(provider="runpod")
    stage.turn()
    stage.host.view = HostView(HostPhase.ASLEEP, {"total": 0}, detail="no worker")
    for _ in range(MOST_FAILURES):
        age(stage, days=26)
        stage.host.refuse = [ProviderError("sold out")]
        stage.turn(5)
        assert 1 == failures(stage)
        age(stage, minutes=11)
        stage.turn()
        assert ("running", 0) == (stage.state(made), failures(stage))


def test_no_place_at_a_renewal_is_waited_out(stage: Stage):
    """A provider that is sold out for some minutes does not end for good what was well until then."""
    made = stage.deploy()
    stage.turn()
    age(stage, days=26)
    stage.turn(2)
    stage.host.refuse = [ProviderError("sold out") for _ in range(MOST_FAILURES)]
    waits = []
    for _ in range(MOST_FAILURES - 1):
        stage.turn()
        waits.append(wait(stage))
    assert [15, 60, 300, 900] == waits
    assert "queued" == stage.state(made)
    stage.turn()
    assert ("failed", "sold out") == (stage.state(made), stage.seen(made).failure)


def test_who_has_lost_its_claim_mints_no_token(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    """The other keeper's launch has one; a second would live for thirty days, and belong to no server."""
    made = stage.deploy()
    claim = rows.claim

    def stolen(tx: Tx, **how: Any) -> list[Any]:
        found = claim(tx, **how)
        tx.execute(text("UPDATE hostings SET lock_token = 'of another keeper'"))
        return found

    monkeypatch.setattr(rows, "claim", stolen)
    stage.turn()
    assert [] == stage.host.orders
    with stage.house.db.begin() as tx:
        minted = "SELECT count(*) FROM deployment_tokens WHERE deployment_id = :id AND scope ->> 'label' = 'hosted'"
        assert 0 == tx.execute(text(minted), {"id": made}).scalar_one()


def test_each_is_claimed_when_its_turn_comes(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    """A launch may take minutes: those behind it are another keeper's to take, and no lease of theirs runs out."""
    for _ in range(3):
        stage.deploy()
    start, claimed = stage.host.start, []

    def counting(order: HostOrder) -> Hosted:
        with stage.house.db.begin() as tx:
            held = tx.execute(text("SELECT count(*) FROM hostings WHERE locked_until > now()"))
            claimed.append(held.scalar_one())
        return start(order)

    monkeypatch.setattr(stage.host, "start", counting)
    stage.turn()
    assert [1, 1, 1] == claimed


def age(stage: Stage, **span: int) -> None:
    """Has the launch been so long ago."""
    with stage.house.db.begin() as tx:
        tx.execute(text("UPDATE hostings SET launched_at = now() - :span"), {"span": timedelta(**span)})


def failures(stage: Stage) -> int:
    with stage.house.db.begin() as tx:
        return int(tx.execute(text("SELECT failures FROM hostings")).scalar_one())


def wait(stage: Stage) -> int:
    """Seconds to the next look."""
    with stage.house.db.begin() as tx:
        seconds = tx.execute(text("SELECT extract(epoch FROM next_look_at - now()) FROM hostings")).scalar_one()
    return round(seconds)

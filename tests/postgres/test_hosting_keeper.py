"""The keeper of hosted servers, through what vendors' servers and accounts do to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from mp_kit.server.house import House
from mp_kit.server.providers.hosting import HostPhase, HostView
from mp_kit.server.services import hosting_keeper
from mp_kit.server.services.hosting_keeper import Keeper, keep
from mp_kit.server.store import hostings as rows
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

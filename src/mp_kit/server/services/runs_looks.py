"""One look at one run: decide, make the transition, ask the provider, give the claim back.

1. No transaction is open while the provider is asked.
2. A launch is asked for once per attempt; if its answer is lost, or its supervisor dies, it is looked for instead.
3. One run's trouble is noted in that run's history and holds up no other run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from mp_kit.contracts.training import RunOutcome
from mp_kit.errors import ConflictError, DatabaseDownError, MarketplaceError, ProviderError, UnavailableError
from mp_kit.server import clock
from mp_kit.server.providers.base import Handle, Observed, PacedError, Provider, UnsearchedError
from mp_kit.server.services import runs_claims as claims
from mp_kit.server.services import runs_reports as reports
from mp_kit.server.services.runs_claims import Claimed
from mp_kit.server.services.runs_states import Act, Limits, State, Step, decide, settling
from mp_kit.server.storage import ObjectStore
from mp_kit.server.store.engine import Database
from mp_kit.server.vault import Vault

__all__ = ["MAX_ATTEMPTS", "Desk", "look", "paced"]

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 5
_TROUBLE_SECONDS = 30.0
_UNSURE_SECONDS = 5.0
_REFUSED_SECONDS = 60.0
_UNTAKEN_SECONDS = 60.0
_LONGEST_PAUSE_SECONDS = 300.0
_BACKOFF_SECONDS = (5.0, 15.0, 30.0, 60.0)
_PACE_SECONDS = {"runpod": 5.0}
"""A provider with a rate limit is not looked at more often than this; a job's own reports wake its run at once."""


@dataclass(frozen=True)
class Desk:
    """What the supervisor works with.

    Attributes:
        db: Transactions and notifications.
        store: Signs dataset URLs, holds artifacts.
        providers: Where runs may go, by name.
        mint: Makes a run token from run, vendor, end and attempt.
        api_url: Where jobs find the marketplace.
        vault: Opens the vendors' credentials that jobs need.
        limits: How long a run may do what.
        lease_seconds: How long a supervisor that died holds its runs up.
    """

    db: Database
    store: ObjectStore
    providers: Mapping[str, Provider]
    mint: Callable[[str, str, datetime, int], str]
    api_url: str
    vault: Vault
    limits: Limits = field(default_factory=Limits)
    lease_seconds: float = claims.LEASE_SECONDS


def paced(run: Claimed, look_in: float) -> float:
    """Seconds until the next look, as its provider's rate limit allows."""
    return max(look_in, _PACE_SECONDS.get(run.provider, 0.0)) if look_in else 0.0


def look(desk: Desk, run: Claimed, observed: Observed | None) -> None:
    """Looks at a claimed run; whatever goes wrong with it stays with it.

    Args:
        desk: What to work with.
        run: Under a claim, which this gives back.
        observed: What its provider sees of it.
    """
    try:
        _look(desk, run, observed)
    except DatabaseDownError as error:
        log.warning("run %s: %s", run.run_id, error)  # its lease ends by itself
    except Exception as error:  # a fault of ours in one run must not stop the others; it is logged and noted
        log.exception("run %s could not be looked at", run.run_id)
        with desk.db.begin() as tx:
            claims.note(tx, run, "trouble", now(), error=type(error).__name__)
            claims.release(tx, run, _TROUBLE_SECONDS, in_any_state=True)


def _look(desk: Desk, run: Claimed, observed: Observed | None) -> None:
    step = decide(run.facts, observed, now(), desk.limits)
    if step.letter == "h" and observed and observed.outcome:
        _finish(desk, run, observed.outcome)
        return
    after = _apply(desk, run, step) if step.letter else run
    if after is None:
        _release(desk, run, 0.0)
        return
    look_in = _act(desk, after, step)
    if look_in is not None:
        _release(desk, after, look_in)


def _finish(desk: Desk, run: Claimed, outcome: RunOutcome) -> None:
    """Takes the outcome that a job left behind because it could not tell it."""
    try:
        with desk.db.begin() as tx:
            reports.finish(tx, run.run_id, outcome, store=desk.store, now=now(), left_behind=True)
            claims.release(tx, run, 0.0)
    except ConflictError as error:
        _apply(desk, run, Step(letter="g", failure=str(error)))


def _act(desk: Desk, run: Claimed, step: Step) -> float | None:
    """Does what a step asks of the provider; returns the seconds to the next look, None if the claim is over."""
    provider = desk.providers[run.provider]
    if step.act is Act.LAUNCH:
        return _launch(desk, provider, run)
    if step.act is Act.FIND:
        return _find(desk, provider, run)
    if step.act is Act.TERMINATE and run.handle:
        return _terminate(desk, provider, run, run.handle, paced(run, step.look_in))
    return paced(run, step.look_in)


def _terminate(desk: Desk, provider: Provider, run: Claimed, handle: Handle, look_in: float) -> float:
    """Asks for the end; a provider that does not take the wish is asked again at the next look.

    One that refuses whoever asks (the account's key is gone) is asked more rarely, until its vendor connects it again.
    """
    try:
        provider.terminate(handle)
    except UnavailableError as error:
        _note(desk, run, "not_terminated", error)
    except MarketplaceError as error:
        _note(desk, run, "not_terminated", error)
        return _REFUSED_SECONDS
    return look_in


def _launch(desk: Desk, provider: Provider, run: Claimed) -> float | None:
    try:
        with desk.db.begin() as tx:
            order = claims.launch_order(
                tx, run, store=desk.store, mint=desk.mint, api_url=desk.api_url, vault=desk.vault
            )
        handle = provider.launch(replace(order, on_made=partial(_entered, desk, run)))
    except MarketplaceError as error:
        return _refused(desk, run, error)
    with desk.db.begin() as tx:
        claims.record_handle(tx, run, handle, now())
    return paced(run, 1.0)


def _entered(desk: Desk, run: Claimed, handle: Handle) -> None:
    """What exists is in the ledger at once: a machine that turns out too dear, and is ended, has cost money too."""
    with desk.db.begin() as tx:
        claims.enter(tx, run, handle, now())


def _refused(desk: Desk, run: Claimed, error: MarketplaceError) -> float | None:
    if isinstance(error, PacedError | UnsearchedError):
        _postpone(desk, run, error)
        return None
    if isinstance(error, ProviderError):
        _put_back(desk, run, error)
        return None
    if isinstance(error, UnavailableError):
        _note(desk, run, "launch_unknown", error)
        return _UNSURE_SECONDS
    _give_up(desk, run, error)
    return None


def _postpone(desk: Desk, run: Claimed, error: MarketplaceError) -> None:
    """Queues a run again whose order nobody took: the attempt does not count.

    A launch is asked for once per attempt, so that whoever hears this knows that nothing was ordered under its number.
    The next launch has it again: should there be a machine of that name after all, it is found.
    """
    after = _apply(desk, run, Step(letter="c", uncounted=True))
    if after:
        _note(desk, after, "refused", error)
        asked = error.retry_after or _UNTAKEN_SECONDS
        _release(desk, after, min(max(asked, _UNSURE_SECONDS), _LONGEST_PAUSE_SECONDS))
    else:
        _overtaken(desk, run, error)


def _put_back(desk: Desk, run: Claimed, error: MarketplaceError) -> None:
    """Queues a run again for a later attempt; the last attempt's refusal is final."""
    if run.attempt >= MAX_ATTEMPTS:
        _give_up(desk, run, error)
    elif after := _apply(desk, run, Step(letter="c")):
        _note(desk, after, "refused", error)
        _release(desk, after, _BACKOFF_SECONDS[min(run.attempt, len(_BACKOFF_SECONDS)) - 1])
    else:
        _overtaken(desk, run, error)


def _give_up(desk: Desk, run: Claimed, error: MarketplaceError) -> None:
    if _apply(desk, run, Step(letter="d", failure=f"It could not be launched: {error}")) is None:
        _overtaken(desk, run, error)


def _overtaken(desk: Desk, run: Claimed, error: MarketplaceError) -> None:
    """The vendor cancelled it while its launch was refused: nothing was started, and nothing has to be waited for.

    A machine that was made all the same, and ended at once because it costs too much, is looked for like any other.
    """
    with desk.db.begin() as tx:
        claims.note(tx, run, "not_started", now(), error=str(error))
        if not claims.has_machine(tx, run):
            claims.apply(tx, run.run_id, run.lock_token, Step(letter="n"), now())
        claims.release(tx, run, 0.0)


def _find(desk: Desk, provider: Provider, run: Claimed) -> float | None:
    """Looks for what a launch made whose answer was lost."""
    try:
        handle = provider.find(run.run_id, run.attempt, run.vendor_id, run.facts.launching_since or now())
    except UnavailableError:
        return _UNSURE_SECONDS
    except MarketplaceError as error:
        _note(desk, run, "launch_unknown", error)
        return _REFUSED_SECONDS
    if handle is not None:
        with desk.db.begin() as tx:
            claims.record_handle(tx, run, handle, now())
        return 0.0
    _nothing_there(desk, run)
    return None


def _nothing_there(desk: Desk, run: Claimed) -> None:
    """A launch made nothing, or what it made is gone: the run is queued again, or it ends."""
    if run.facts.state is State.LAUNCHING:
        _put_back(desk, run, ProviderError("The launch was never answered and has started nothing."))
    elif run.facts.state is State.RUNNING:
        _apply(desk, run, Step(letter="g", failure="The job is gone and told no outcome."))
    else:
        _apply(desk, run, Step(letter=settling(run.facts)))


def _apply(desk: Desk, run: Claimed, step: Step) -> Claimed | None:
    with desk.db.begin() as tx:
        return claims.apply(tx, run.run_id, run.lock_token, step, now())


def _note(desk: Desk, run: Claimed, kind: str, error: MarketplaceError) -> None:
    with desk.db.begin() as tx:
        claims.note(tx, run, kind, now(), error=str(error))


def _release(desk: Desk, run: Claimed, look_in: float) -> None:
    with desk.db.begin() as tx:
        claims.release(tx, run, look_in)


def now() -> datetime:
    """The present instant."""
    return clock.now()

"""The supervisor's loop: it claims runs that are worth a look, asks the providers, and applies what was decided.

1. It keeps no state: kill it anywhere and start another; two at once share the work by their claims.
2. No transaction is open while a provider is asked.
3. One run's trouble is noted in that run's history and holds up no other run.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from mp_kit.contracts.training import RunOutcome
from mp_kit.errors import ConflictError, DatabaseDownError, MarketplaceError, ProviderError, UnavailableError
from mp_kit.server.providers.base import Handle, Observed, Provider
from mp_kit.server.services import runs_claims as claims
from mp_kit.server.services import runs_reports as reports
from mp_kit.server.services.runs_claims import Claimed
from mp_kit.server.services.runs_states import Act, Step, decide, settling
from mp_kit.server.storage import ObjectStore
from mp_kit.server.store import runs as rows
from mp_kit.server.store.engine import Database

__all__ = ["Desk", "cycle", "watch"]

log = logging.getLogger(__name__)

POLL_SECONDS = 2.0
"""A notification that was lost costs no more than this."""

MAX_ATTEMPTS = 5
_BATCH = 50
_THREADS = 4
_SHORTEST_WAIT = 0.05
_TROUBLE_SECONDS = 30.0
_BACKOFF_SECONDS = (5.0, 15.0, 30.0, 60.0)


@dataclass(frozen=True)
class Desk:
    """What the supervisor works with.

    Attributes:
        db: Transactions and notifications.
        store: Signs dataset URLs, holds artifacts.
        providers: Where runs may go, by name.
        mint: Makes a run token from run, vendor and end.
        api_url: Where jobs find the marketplace.
    """

    db: Database
    store: ObjectStore
    providers: Mapping[str, Provider]
    mint: Callable[[str, str, datetime], str]
    api_url: str


def watch(
    desk: Desk,
    *,
    seconds: float,
    on_cycle: Callable[[int], None] | None = None,
    poll: float = POLL_SECONDS,
    stop: Callable[[], bool] | None = None,
) -> None:
    """Supervises for a while, through outages of the database.

    Args:
        desk: What to work with.
        seconds: When to end; whatever is under way goes on under the next supervisor.
        on_cycle: Hears how many runs each cycle looked at.
        poll: Longest wait between two cycles, in seconds.
        stop: Asked before each cycle; true ends the watch.
    """
    end = time.monotonic() + seconds

    def over() -> bool:
        return time.monotonic() >= end or (stop is not None and stop())

    while not over():
        try:
            _listen(desk, over, on_cycle or (lambda _: None), lambda: min(poll, max(end - time.monotonic(), 0.0)))
        except DatabaseDownError as error:
            log.warning("the database is away: %s", error)
            time.sleep(min(POLL_SECONDS, max(end - time.monotonic(), 0.0)))


def _listen(desk: Desk, over: Callable[[], bool], on_cycle: Callable[[int], None], poll: Callable[[], float]) -> None:
    with desk.db.listen(rows.CHANNEL) as bell:
        while not over():
            looked_at = cycle(desk)
            on_cycle(looked_at)
            if looked_at < _BATCH:
                bell.wait(_pause(desk, poll()))


def _pause(desk: Desk, poll: float) -> float:
    with desk.db.begin() as tx:
        seconds = rows.seconds_to_next_look(tx, sorted(desk.providers))
    return poll if seconds is None else min(max(seconds, _SHORTEST_WAIT), poll)


def cycle(desk: Desk) -> int:
    """Looks once at each run that is due; returns how many there were."""
    with desk.db.begin() as tx:
        claimed = claims.claim(tx, providers=desk.providers, limit=_BATCH)
    if not claimed:
        return 0
    observed = _observe(desk, claimed)
    with ThreadPoolExecutor(min(_THREADS, len(claimed))) as pool:
        list(pool.map(lambda run: _look_safely(desk, run, observed.get(run.run_id)), claimed))
    return len(claimed)


def _observe(desk: Desk, claimed: list[Claimed]) -> dict[str, Observed]:
    found: dict[str, Observed] = {}
    for name, provider in desk.providers.items():
        handles = {run.run_id: run.handle for run in claimed if run.provider == name and run.handle}
        if handles:
            seen = _ask(name, provider, list(handles.values()))
            found |= {run_id: seen[handle.ref] for run_id, handle in handles.items() if handle.ref in seen}
    return found


def _ask(name: str, provider: Provider, handles: list[Handle]) -> Mapping[str, Observed]:
    try:
        return provider.observe(handles)
    except MarketplaceError as error:
        log.warning("provider %s cannot be observed: %s", name, error)
        return {}


def _look_safely(desk: Desk, run: Claimed, observed: Observed | None) -> None:
    try:
        _look(desk, run, observed)
    except DatabaseDownError as error:
        log.warning("run %s: %s", run.run_id, error)  # its lease ends by itself
    except Exception as error:  # a fault of ours in one run must not stop the others; it is logged and noted
        log.exception("run %s could not be looked at", run.run_id)
        with desk.db.begin() as tx:
            claims.note(tx, run, "trouble", _now(), error=type(error).__name__)
            claims.release(tx, run, _TROUBLE_SECONDS, in_any_state=True)


def _look(desk: Desk, run: Claimed, observed: Observed | None) -> None:
    step = decide(run.facts, observed, _now())
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
            reports.finish(tx, run.run_id, outcome, store=desk.store, now=_now(), left_behind=True)
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
        provider.terminate(run.handle)
    return step.look_in


def _launch(desk: Desk, provider: Provider, run: Claimed) -> float | None:
    try:
        with desk.db.begin() as tx:
            order = claims.launch_order(tx, run, store=desk.store, mint=desk.mint, api_url=desk.api_url)
        handle = provider.launch(order)
    except MarketplaceError as error:
        return _refused(desk, run, error)
    with desk.db.begin() as tx:
        claims.record_handle(tx, run, handle, _now())
    return 1.0


def _refused(desk: Desk, run: Claimed, error: MarketplaceError) -> float | None:
    if isinstance(error, ProviderError) and run.attempt < MAX_ATTEMPTS:
        after = _apply(desk, run, Step(letter="c"))
        if after:
            _note(desk, after, "refused", error)
            _release(desk, after, _BACKOFF_SECONDS[min(run.attempt, len(_BACKOFF_SECONDS)) - 1])
        return None
    if isinstance(error, UnavailableError) and not isinstance(error, ProviderError):
        _note(desk, run, "launch_unknown", error)
        return _BACKOFF_SECONDS[0]
    _apply(desk, run, Step(letter="d", failure=f"It could not be launched: {error}"))
    return None


def _find(desk: Desk, provider: Provider, run: Claimed) -> float | None:
    handle = provider.find(run.run_id, run.attempt, run.vendor_id, run.facts.launching_since or _now())
    if handle is None:
        _apply(desk, run, Step(letter=settling(run.facts)))
        return None
    with desk.db.begin() as tx:
        claims.record_handle(tx, run, handle, _now())
    return 0.0


def _apply(desk: Desk, run: Claimed, step: Step) -> Claimed | None:
    with desk.db.begin() as tx:
        return claims.apply(tx, run.run_id, run.lock_token, step, _now())


def _note(desk: Desk, run: Claimed, kind: str, error: MarketplaceError) -> None:
    with desk.db.begin() as tx:
        claims.note(tx, run, kind, _now(), error=str(error))


def _release(desk: Desk, run: Claimed, look_in: float) -> None:
    with desk.db.begin() as tx:
        claims.release(tx, run, look_in)


def _now() -> datetime:
    return datetime.now(UTC)

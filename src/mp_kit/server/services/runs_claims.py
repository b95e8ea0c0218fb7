"""The supervisor's side of runs: claim, decide elsewhere, apply under the claim's token.

1. A claim is a row lock with a token and a lease. What is applied under a token that is no longer the run's, or to a
   run whose state has changed since, changes nothing and says so.
2. An attempt is counted, and its hours begin, before the provider is asked. Its number is given back only by the claim
   that counted it, when nothing was ordered under it.
3. A handle is stored whatever the run's state is by then: what was started must be found again.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row

from mp_kit.contracts.training import TrainingSpec
from mp_kit.server import clock
from mp_kit.server.providers.base import Handle, LaunchOrder
from mp_kit.server.services import connections, money
from mp_kit.server.services.runs_files import job_files
from mp_kit.server.services.runs_moves import facts_of, handle_of, move
from mp_kit.server.services.runs_states import FINAL, TRANSITIONS, RunFacts, State, Step
from mp_kit.server.storage import ObjectStore
from mp_kit.server.store import ledger
from mp_kit.server.store import runs as rows
from mp_kit.server.store.engine import Tx
from mp_kit.server.vault import Vault

__all__ = [
    "Claimed",
    "apply",
    "claim",
    "enter",
    "has_machine",
    "launch_order",
    "note",
    "record_handle",
    "release",
    "release_all",
]

log = logging.getLogger(__name__)

LEASE_SECONDS = 60.0
"""Longer than a look at a run may take; a supervisor that died holds its runs up for no longer."""

TOKEN_GRACE = timedelta(hours=1)


@dataclass(frozen=True)
class Claimed:
    """A run under a claim.

    Attributes:
        run_id: The run.
        vendor_id: Whose.
        provider: Where it runs.
        attempt: Launches so far.
        lock_token: Proves the claim.
        facts: For the decision.
        handle: What was launched, if it was.
    """

    run_id: str
    vendor_id: str
    provider: str
    attempt: int
    lock_token: str
    facts: RunFacts
    handle: Handle | None


def claim(
    tx: Tx, *, providers: Collection[str], limit: int = 50, lease_seconds: float = LEASE_SECONDS
) -> list[Claimed]:
    """Takes runs that are worth a look, the longest due first.

    Args:
        tx: The claim's transaction.
        providers: Only runs of these.
        limit: How many at most.
        lease_seconds: After this the claim is void.
    """
    token = secrets.token_hex(8)
    taken = rows.claim(tx, lock_token=token, limit=limit, lease_seconds=lease_seconds, providers=sorted(providers))
    return [run for run in map(_readable, taken) if run is not None]


def _readable(row: Row[Any]) -> Claimed | None:
    """A claimed row; None for one that makes no sense: it stays under its lease and holds up no other run."""
    try:
        return _claimed(row)
    except (KeyError, TypeError, ValueError):
        log.exception("run %s cannot be read", row.id)
        return None


def _claimed(row: Row[Any]) -> Claimed:
    return Claimed(
        run_id=row.id,
        vendor_id=row.vendor_id,
        provider=row.provider,
        attempt=row.attempt,
        lock_token=row.lock_token,
        facts=facts_of(row),
        handle=handle_of(row),
    )


def apply(tx: Tx, run_id: str, lock_token: str, step: Step, now: datetime) -> Claimed | None:
    """Makes a step's transition, if the claim still holds and the state still allows it.

    Args:
        tx: Transition and event are in it.
        run_id: The run.
        lock_token: The claim's.
        step: Must have a letter.
        now: When.

    Returns:
        The run as it is now; None when the step came too late and nothing was changed.
    """
    row = rows.find_claimed(tx, run_id, lock_token)
    letter = step.letter or ""
    if row is None or State(row.state) not in TRANSITIONS[letter].leaves:
        return None
    detail = {"failure": step.failure} if step.failure else {}
    move(tx, row, letter, now, values=_values(tx, row, letter, step, now), detail=detail | {"attempt": row.attempt})
    after = rows.find(tx, run_id)
    return _claimed(after) if after is not None else None


def _values(tx: Tx, row: Row[Any], letter: str, step: Step, now: datetime) -> dict[str, Any]:
    if letter == "a":
        return _new_attempt(tx, row, now)
    if letter == "c" and step.uncounted:
        return {"attempt": row.attempt - 1}
    if letter == "f":
        return {"failure": step.failure, "progress": {**row.progress, "outcome": "failed"}}
    return {"failure": step.failure} if step.failure else {}


def _new_attempt(tx: Tx, row: Row[Any], now: datetime) -> dict[str, Any]:
    bound = float(row.max_cost_usd) if row.max_cost_usd is not None else None
    left = money.left(tx, row.id, max_hours=row.max_hours, max_cost_usd=bound, now=now)
    data = {"launching_since": now.isoformat(), "spent_usd": left.spent_usd, "left_usd": left.usd}
    return {
        "attempt": row.attempt + 1,
        "deadline_at": now + timedelta(hours=left.hours),
        "provider_ref": None,
        "price_per_hour": None,
        "provider_data": data,
    }


def record_handle(tx: Tx, run: Claimed, handle: Handle, now: datetime) -> None:
    """Stores what a launch gave, in whatever state the run is by now, and whoever holds the claim.

    The ledger has it in any case. The hours of the budget shrink to what its money buys at this price.
    """
    since = enter(tx, run, handle, now)
    row = rows.find(tx, run.run_id, lock=True)
    if row is None or row.attempt != run.attempt or row.provider_ref is not None or State(row.state) in FINAL:
        return
    data = {**row.provider_data, "handle": dict(handle.data), "launched_at": since.isoformat()}
    deadline = _affordable(row.deadline_at, handle.price_per_hour, data.get("left_usd"), since)
    rows.change(
        tx,
        run.run_id,
        {
            "provider_ref": handle.ref,
            "provider_data": data,
            "price_per_hour": handle.price_per_hour,
            "deadline_at": deadline,
        },
    )
    detail = {"provider": run.provider, "ref": handle.ref, "attempt": row.attempt, "gpu": handle.data.get("gpu")}
    detail["price_per_hour_usd"] = handle.price_per_hour
    rows.add_event(tx, run.run_id, "launched", at=now, detail=detail)


def enter(tx: Tx, run: Claimed, handle: Handle, now: datetime) -> datetime:
    """Enters a machine into the ledger, as from the beginning of its launch, which is returned; repeatable.

    One that comes after its run's end is ended there at once, for nobody else would: the sweep ends the machine, and
    its bill has the last word.
    """
    row = rows.find(tx, run.run_id, lock=True)
    since = run.facts.launching_since or now
    money.started(tx, run.provider, handle, run_id=run.run_id, attempt=run.attempt, since=since)
    if row is not None and State(row.state) in FINAL:
        ledger.close_machines(tx, run.run_id, now)
        ledger.settle_costs(tx, [run.run_id], now)
    return since


def has_machine(tx: Tx, run: Claimed) -> bool:
    """Whether this attempt has a machine in the ledger."""
    return any(machine.attempt == run.attempt for machine in ledger.of_run(tx, run.run_id))


def _affordable(deadline: datetime, price: float, usd: float | None, since: datetime) -> datetime:
    return min(deadline, since + timedelta(hours=usd / price)) if usd is not None and price > 0 else deadline


def note(tx: Tx, run: Claimed, kind: str, now: datetime, **detail: Any) -> None:
    """Adds an event to the history of a run under a claim; what the latest one says already is not said again."""
    if rows.find_claimed(tx, run.run_id, run.lock_token) is None:
        return
    latest = rows.latest_event(tx, run.run_id)
    if latest is None or (latest.kind, latest.detail) != (kind, detail):
        rows.add_event(tx, run.run_id, kind, at=now, detail=detail)


def release_all(tx: Tx, runs: Sequence[Claimed], look_in: float) -> None:
    """Gives claims back that only have to be looked at again; see :func:`release`."""
    rows.release_all(tx, [(run.run_id, run.lock_token, run.facts.state.value) for run in runs], look_in=look_in)


def release(tx: Tx, run: Claimed, look_in: float, *, in_any_state: bool = False) -> None:
    """Gives a claim back.

    Args:
        tx: The caller's transaction.
        run: As it was when it was last read.
        look_in: Seconds until the next look; a run whose state has changed since is looked at at once.
        in_any_state: Wait in any case.
    """
    state = None if in_any_state else run.facts.state.value
    rows.release(tx, run.run_id, run.lock_token, state=state, look_in=look_in)


def launch_order(
    tx: Tx,
    run: Claimed,
    *,
    store: ObjectStore,
    mint: Callable[[str, str, datetime, int], str],
    api_url: str,
    vault: Vault,
) -> LaunchOrder:
    """Builds the order to the provider: signed URLs, a run token, the container's environment.

    Args:
        tx: The grant of the URLs is noted in it.
        run: In ``launching``.
        store: Signs the URLs.
        mint: Makes a run token from run, vendor, end and attempt.
        api_url: Where the job finds the marketplace.
        vault: Opens the vendor's credentials that the spec asks for.

    Raises:
        CredentialError: The vendor has not connected an account that the spec asks for.
    """
    row = rows.find(tx, run.run_id)
    if row is None or row.deadline_at is None:
        msg = f"run {run.run_id} is not being launched"
        raise RuntimeError(msg)
    spec = TrainingSpec.model_validate(row.spec)
    env = {
        "TRAINING_SPEC": spec.model_dump_json(),
        "ROUND_ID": row.round_id,
        "TASK": row.task,
        "DATASET_URLS": json.dumps(
            job_files(tx, store, run_id=run.run_id, vendor_id=run.vendor_id, round_id=row.round_id)
        ),
        "MP_API_URL": api_url,
        "MP_RUN_TOKEN": mint(run.run_id, run.vendor_id, row.deadline_at + TOKEN_GRACE, row.attempt),
        **connections.job_env(tx, vault, run.vendor_id, spec),
        **clock.job_env(),
    }
    usd = row.provider_data.get("left_usd")
    return LaunchOrder(run.run_id, row.attempt, run.vendor_id, env, row.deadline_at, dict(row.machine), usd)

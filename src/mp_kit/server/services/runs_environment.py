"""Runs on a vendor's own machine: the environment that is handed out, and what their jobs have said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row

from mp_kit.contracts.training import Provider, RunEnvironment
from mp_kit.errors import ConflictError, NotFoundError, UnavailableError
from mp_kit.server.providers.byoc import Heard
from mp_kit.server.services import audit, runs_claims
from mp_kit.server.services.runs_claims import Claimed
from mp_kit.server.services.runs_moves import facts_of, handle_of
from mp_kit.server.services.runs_states import State
from mp_kit.server.storage import ObjectStore
from mp_kit.server.store import runs as rows
from mp_kit.server.store.engine import Tx
from mp_kit.server.vault import Vault

__all__ = ["hand_out", "heard"]

_ENDING = frozenset({State.FINISHING, State.CANCELLING})
_ASK_AGAIN_SECONDS = 1.0


def hand_out(
    tx: Tx,
    vendor_id: str,
    run_id: str,
    *,
    store: ObjectStore,
    mint: Callable[[str, str, datetime, int], str],
    api_url: str,
    vault: Vault,
    now: datetime,
) -> RunEnvironment:
    """Gives a vendor the environment of a run of theirs that has the provider ``byoc``; the run token is made here.

    Until the job's first heartbeat the run's hours begin anew with each handing out: nothing runs yet.

    Args:
        tx: The handing out is noted in the audit log with it.
        vendor_id: Whose.
        run_id: The run.
        store: Signs the URLs of the data.
        mint: Makes a run token from run, vendor, end and attempt.
        api_url: Where the job finds the marketplace.
        vault: Opens the vendor's credentials that the spec asks for.
        now: An aware instant.

    Raises:
        NotFoundError: There is no such run, or it is another vendor's.
        ConflictError: It runs elsewhere, or it is over or about to end.
        UnavailableError: It was ordered a moment ago and is not ready; ask again.
        CredentialError: The vendor has not connected an account that the spec asks for.
    """
    row = _open(rows.find(tx, run_id, vendor_id, lock=True), run_id)
    if State(row.state) is State.LAUNCHING:
        data = {**row.provider_data, "launching_since": now.isoformat()}
        rows.change(tx, run_id, {"deadline_at": now + timedelta(hours=row.max_hours), "provider_data": data})
        row = _open(rows.find(tx, run_id, vendor_id), run_id)
    order = runs_claims.launch_order(tx, _claimed(row), store=store, mint=mint, api_url=api_url, vault=vault)
    deadline = order.deadline.isoformat().replace("+00:00", "Z")
    audit.record(tx, f"vendor:{vendor_id}", "run.environment", run_id)
    rows.add_event(tx, run_id, "environment", at=now, detail={"until": deadline})
    return RunEnvironment(run_id=run_id, env={**order.env, "MP_DEADLINE": deadline}, deadline=order.deadline)


def _open(row: Row[Any] | None, run_id: str) -> Row[Any]:
    if row is None:
        raise NotFoundError(f"There is no run {run_id}.")
    if row.provider != Provider.BYOC:
        raise ConflictError(
            f"Run {run_id} runs on {row.provider}: its environment is not handed out.",
            hint="Order it with the provider byoc to run it on a machine of your own.",
        )
    if State(row.state) is State.QUEUED:
        raise UnavailableError(f"Run {run_id} is being prepared; ask again.", retry_after=_ASK_AGAIN_SECONDS)
    if State(row.state) not in {State.LAUNCHING, State.RUNNING}:
        raise ConflictError(f"Run {run_id} is {row.state}: there is nothing left to run.")
    return row


def _claimed(row: Row[Any]) -> Claimed:
    """The run as an order is made from it; no claim is held, because nobody is asked to launch anything."""
    return Claimed(row.id, row.vendor_id, row.provider, row.attempt, "", facts_of(row), handle_of(row))


def heard(tx: Tx, run_ids: Sequence[str]) -> Mapping[str, Heard]:
    """What the jobs of runs have said so far, by run."""
    return {row.id: _heard(row) for row in rows.find_many(tx, run_ids)}


def _heard(row: Row[Any]) -> Heard:
    is_ending = State(row.state) in _ENDING
    since = row.cancel_requested_at or row.last_heartbeat_at or row.created_at
    return Heard(row.last_heartbeat_at, bool(row.progress.get("outcome")), since if is_ending else None)

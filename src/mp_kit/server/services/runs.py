"""Training runs as their vendors see them: order, look, cancel, read the log.

1. A run belongs to one vendor; to everybody else it does not exist.
2. The same idempotency key with the same body is the same run; with another body it is refused.
3. Each change of state and its event are in one transaction; the caller commits.

What jobs report is in :mod:`mp_kit.server.services.runs_reports`, what the supervisor does in
:mod:`mp_kit.server.services.runs_claims`; their verbs are offered here too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from mp_kit.contracts.idempotency import check_idempotency_key
from mp_kit.contracts.training import LogLine, RunEvent, RunLogs, RunStatus, TrainingRequest, TrainingRun
from mp_kit.contracts.training import Provider as Where
from mp_kit.errors import ForbiddenError, IdempotencyError, InvalidInputError, NotFoundError
from mp_kit.server.providers.base import Provider
from mp_kit.server.services import audit, money, rounds, runs_history
from mp_kit.server.services.ids import new_id
from mp_kit.server.services.runs_claims import apply, claim
from mp_kit.server.services.runs_moves import move
from mp_kit.server.services.runs_reports import append_logs, finish, heartbeat, register_artifact
from mp_kit.server.services.runs_states import FINAL, State
from mp_kit.server.services.runs_view import View, cursor_of, logs_url, read_cursor, to_wire
from mp_kit.server.store import runs as rows
from mp_kit.server.store.engine import Tx
from mp_kit.signing import canonical_bytes
from mp_kit.trainer import orders

__all__ = [
    "LogHead",
    "View",
    "append_logs",
    "apply",
    "cancel",
    "claim",
    "create",
    "events",
    "finish",
    "get",
    "heartbeat",
    "list_runs",
    "log_head",
    "logs",
    "register_artifact",
    "to_wire",
]

MAX_PAGE = 200
MAX_LOG_PAGE = 5_000


def create(
    tx: Tx,
    vendor_id: str,
    request: TrainingRequest,
    *,
    idempotency_key: str | None,
    now: datetime,
    providers: Collection[str] | Mapping[str, Provider],
    view: View | None = None,
) -> TrainingRun:
    """Orders a run.

    Args:
        tx: The caller's transaction; the supervisor hears of the run when it is committed.
        vendor_id: Who orders.
        request: What, and where. Its ``dataset_urls`` are not kept: the round's own files are signed at the launch.
        idempotency_key: Names the order, if the client sent one.
        now: An aware instant.
        providers: Those on offer, by name; each may refuse what it could never launch.
        view: How to show it.

    Returns:
        The run, or the first one of this key.

    Raises:
        InvalidInputError: The provider is not on offer, or refuses the order; or the trainer knows no such
            hyperparameter.
        NotFoundError: No such round.
        IdempotencyError: The key was used with another body.
        BudgetError: Its bound does not fit under the vendor's monthly ceiling.
    """
    check_provider(request.provider.value, providers)
    check_hyperparams(request)
    if isinstance(providers, Mapping):
        providers[request.provider.value].check(machine_of(request))
    body = hashlib.sha256(canonical_bytes(request.model_dump(mode="json"))).hexdigest()
    values = {"id": new_id("run"), "vendor_id": vendor_id, "body_sha256": body, "created_at": now}
    values["idempotency_key"] = check_idempotency_key(idempotency_key)
    row = rows.insert(tx, values | _ordered(tx, request))
    if row is None:
        return to_wire(_first(tx, vendor_id, idempotency_key or "", body), view)
    if row.reserved_usd:
        money.reserve(tx, vendor_id, now)
    rows.add_event(tx, row.id, "created", at=now, to_state=row.state, detail={"provider": row.provider})
    rows.wake(tx, row.id)
    return to_wire(row, view)


def check_provider(provider: str, providers: Collection[str]) -> None:
    """Refuses a provider that is not on offer with InvalidInputError."""
    if provider not in providers:
        offered = ", ".join(sorted(providers)) or "none at present"
        raise InvalidInputError(
            f"The provider {provider!r} is not on offer here.",
            hint=f"On offer: {offered}. Name one: `provider`, or --provider of mp train start.",
        )


def check_hyperparams(request: TrainingRequest) -> None:
    """Refuses with InvalidInputError what the job would refuse; a vendor's own image or machine may know more."""
    if request.base_image is None and request.provider is not Where.BYOC:
        orders.check_hyperparams(request.task, request.hyperparams)


def _ordered(tx: Tx, request: TrainingRequest) -> dict[str, Any]:
    found = rounds.get(tx, request.round_id)
    spec = request.spec.model_copy(update={"round_id": found.round_id, "dataset_urls": []})
    bound = money.bound(request.provider.value, request.budget.max_cost_usd)
    return {
        "round_id": found.round_id,
        "task": request.task.value,
        "provider": request.provider.value,
        "spec": spec.model_dump(mode="json"),
        "machine": machine_of(request),
        "max_hours": money.hours(request.budget.max_hours),
        "max_cost_usd": bound,
        "reserved_usd": bound if request.provider.value in money.CHARGING else 0,
    }


def machine_of(request: TrainingRequest) -> dict[str, Any]:
    """The machine that is ordered, without what was left open."""
    return request.model_dump(include={"gpu", "cpu", "memory", "disk", "base_image"}, exclude_none=True)


def _first(tx: Tx, vendor_id: str, idempotency_key: str, body: str) -> Row[Any]:
    row = rows.find_by_key(tx, vendor_id, idempotency_key)
    if row.body_sha256 != body:
        raise IdempotencyError(f"The idempotency key was used for run {row.id}, with another body.")
    return row


def get(tx: Tx, vendor_id: str, run_id: str, *, view: View | None = None) -> TrainingRun:
    """A vendor's run.

    Raises:
        NotFoundError: There is none, or it is another vendor's.
    """
    return to_wire(_require(tx, vendor_id, run_id), view)


def list_runs(
    tx: Tx,
    vendor_id: str,
    *,
    status: RunStatus | None = None,
    limit: int = 50,
    cursor: str | None = None,
    view: View | None = None,
) -> tuple[list[TrainingRun], str | None]:
    """A page of a vendor's runs, newest first.

    Args:
        tx: The caller's transaction.
        vendor_id: Whose.
        status: Only those.
        limit: 1 to 200.
        cursor: From the page before.
        view: How to show them.

    Returns:
        The runs, and the next page's cursor; None on the last page.

    Raises:
        InvalidInputError: The cursor is none of ours.
    """
    size = min(max(limit, 1), MAX_PAGE)
    found = rows.list_of(tx, vendor_id, status=status, limit=size + 1, before=read_cursor(cursor))
    page = found[:size]
    return [to_wire(row, view) for row in page], cursor_of(page[-1]) if len(found) > size else None


def cancel(
    tx: Tx, vendor_id: str, run_id: str, *, now: datetime, view: View | None = None, actor: str | None = None
) -> TrainingRun:
    """Ends a run: at once if nothing was started yet, else as soon as nothing of it is left. Repeatable.

    Args:
        tx: The caller's transaction.
        vendor_id: Whose run.
        run_id: The run.
        now: An aware instant.
        view: How to show it.
        actor: Who wants it, for the audit; the vendor by default.

    Raises:
        NotFoundError: There is none, or it is another vendor's.
    """
    row = _require(tx, vendor_id, run_id, lock=True)
    letter = {State.QUEUED: "l", State.LAUNCHING: "m", State.RUNNING: "m"}.get(State(row.state))
    if letter:
        move(tx, row, letter, now, values={"cancel_requested_at": now})
        audit.record(tx, actor or f"vendor:{vendor_id}", "run.cancel", run_id)
        rows.wake(tx, run_id)
    return get(tx, vendor_id, run_id, view=view)


def logs(
    tx: Tx, vendor_id: str, run_id: str, *, after: int = 0, limit: int = 1_000, view: View | None = None
) -> RunLogs:
    """A page of a run's log.

    Args:
        tx: The caller's transaction.
        vendor_id: Whose run.
        run_id: The run.
        after: ``next`` of the page before; 0 begins at the first line.
        limit: 1 to 5,000 lines.
        view: How to show it.

    Returns:
        The lines; ``complete`` says that the run is over and this is its log's end.

    Raises:
        NotFoundError: There is no such run, or it is another vendor's.
    """
    row = _require(tx, vendor_id, run_id)
    size = min(max(limit, 1), MAX_LOG_PAGE)
    start = max(after, 0)
    found = rows.list_logs(tx, run_id, start=start, limit=size + 1)
    lines = [LogLine(seq=line.seq, at=line.at, stream=line.stream, text=line.text) for line in found[:size]]
    return RunLogs(
        logs_url=logs_url(run_id, view),
        lines=lines,
        next=lines[-1].seq + 1 if lines else start,
        complete=State(row.state) in FINAL and len(found) <= size,
    )


@dataclass(frozen=True)
class LogHead:
    """How far a log is.

    Attributes:
        next: The number that its next line gets.
        is_over: The run has ended.
    """

    next: int
    is_over: bool


def log_head(tx: Tx, vendor_id: str, run_id: str) -> LogHead:
    """How far a run's log is, by one small statement.

    Raises:
        NotFoundError: There is no such run, or it is another vendor's.
    """
    row = rows.log_head(tx, run_id, vendor_id)
    if row is None:
        raise NotFoundError(f"There is no run {run_id}.")
    return LogHead(row.next, State(row.state) in FINAL)


def check_reading(tx: Tx, vendor_id: str, run_id: str, round_id: str) -> None:
    """A run may read the data of its own round, until it is over.

    Raises:
        NotFoundError: There is no such run.
        ForbiddenError: The run is over, or the round is not its own.
    """
    row = _require(tx, vendor_id, run_id)
    if State(row.state) in FINAL:
        raise ForbiddenError(f"Run {run_id} is {row.state}: its token reads no data any more.")
    if rounds.get(tx, round_id).round_id != row.round_id:
        raise ForbiddenError(f"Run {run_id} is for round {row.round_id}: its token reads no other.")


def events(tx: Tx, vendor_id: str, run_id: str) -> list[RunEvent]:
    """A run's history, oldest first; the one that console, command line and notebooks show.

    Raises:
        NotFoundError: There is no such run, or it is another vendor's.
    """
    _require(tx, vendor_id, run_id)
    return [runs_history.to_wire(row) for row in rows.list_events(tx, run_id)]


def _require(tx: Tx, vendor_id: str, run_id: str, *, lock: bool = False) -> Row[Any]:
    row = rows.find(tx, run_id, vendor_id, lock=lock)
    if row is None:
        raise NotFoundError(f"There is no run {run_id}.")
    return row

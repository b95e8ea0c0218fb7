"""Queries about training runs, their history, logs and artifacts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, literal, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert

from mp_kit.contracts.training import LogChunk
from mp_kit.server.store.engine import Tx
from mp_kit.server.store.queries import named
from mp_kit.server.store.tables import run_artifacts, run_events, run_logs, training_runs

CHANNEL = "mp_runs"
"""NOTIFY channel: a run wants a look at once; the payload is its id."""


def insert(tx: Tx, values: Mapping[str, Any]) -> Row[Any] | None:
    """Stores a run; None when the vendor's idempotency key names one already."""
    statement = upsert(training_runs).values(**values)
    statement = statement.on_conflict_do_nothing(index_elements=["vendor_id", "idempotency_key"])
    return tx.execute(statement.returning(training_runs)).one_or_none()


def find(tx: Tx, run_id: str, vendor_id: str | None = None, *, lock: bool = False) -> Row[Any] | None:
    """A run by id, of one vendor unless ``vendor_id`` is None; ``lock`` holds its row to the transaction's end."""
    statement = select(training_runs).where(training_runs.c.id == run_id)
    if vendor_id is not None:
        statement = statement.where(training_runs.c.vendor_id == vendor_id)
    return tx.execute(statement.with_for_update() if lock else statement).one_or_none()


def find_many(tx: Tx, run_ids: Sequence[str]) -> list[Row[Any]]:
    """Runs by id, whoever's they are; one that is not there is missing."""
    return list(tx.execute(select(training_runs).where(training_runs.c.id.in_(list(run_ids)))))


def find_by_key(tx: Tx, vendor_id: str, idempotency_key: str) -> Row[Any]:
    """The run that a vendor's idempotency key names."""
    columns = training_runs.c
    statement = select(training_runs).where(columns.vendor_id == vendor_id, columns.idempotency_key == idempotency_key)
    return tx.execute(statement).one()


def list_of(
    tx: Tx, vendor_id: str, *, status: str | None, limit: int, before: tuple[datetime, str] | None
) -> list[Row[Any]]:
    """A vendor's runs, newest first; ``before`` is (created_at, id) of the last one seen."""
    columns = training_runs.c
    statement = select(training_runs).where(columns.vendor_id == vendor_id)
    if status is not None:
        statement = statement.where(columns.status == status)
    if before is not None:
        last = tuple_(*(literal(part) for part in before))
        statement = statement.where(tuple_(columns.created_at, columns.id) < last)
    return list(tx.execute(statement.order_by(columns.created_at.desc(), columns.id.desc()).limit(limit)))


def change(tx: Tx, run_id: str, values: Mapping[str, Any]) -> None:
    """Changes a run's row; the caller has it locked."""
    tx.execute(update(training_runs).where(training_runs.c.id == run_id).values(**values))


def wake(tx: Tx, run_id: str) -> None:
    """Asks for a look at a run as soon as the transaction is committed."""
    change(tx, run_id, {"next_look_at": text("now()")})
    tx.execute(text("SELECT pg_notify(:channel, :run_id)"), {"channel": CHANNEL, "run_id": run_id})


def claim(tx: Tx, *, lock_token: str, limit: int, lease_seconds: float, providers: Sequence[str]) -> list[Row[Any]]:
    """Takes due runs for one look."""
    values = {"lock_token": lock_token, "limit": limit, "lease": lease_seconds, "providers": list(providers)}
    return list(tx.execute(text(named("claim_due_runs")), values))


def find_claimed(tx: Tx, run_id: str, lock_token: str) -> Row[Any] | None:
    """A run under its claim, row locked; None when the claim is over."""
    columns = training_runs.c
    statement = select(training_runs).where(columns.id == run_id, columns.lock_token == lock_token)
    return tx.execute(statement.with_for_update()).one_or_none()


def release(tx: Tx, run_id: str, lock_token: str, *, state: str | None, look_in: float) -> None:
    """Gives a claim back, with the seconds until the next look; a state that has changed since looks at once."""
    values = {"run_id": run_id, "lock_token": lock_token, "state": state, "look_in": look_in}
    tx.execute(text(named("release_run")), values)


def release_all(tx: Tx, claims: Sequence[tuple[str, str, str]], *, look_in: float) -> None:
    """Gives back claims, as (run, token, state)."""
    ids, tokens, states = zip(*claims, strict=True) if claims else ((), (), ())
    values = {"ids": list(ids), "tokens": list(tokens), "states": list(states), "look_in": look_in}
    tx.execute(text(named("release_runs")), values)


def seconds_to_next_look(tx: Tx, providers: Sequence[str]) -> float | None:
    """How long until some run is worth a look."""
    seconds = tx.execute(text(named("seconds_to_next_look")), {"providers": list(providers)}).scalar()
    return None if seconds is None else float(seconds)


def add_event(
    tx: Tx,
    run_id: str,
    kind: str,
    *,
    at: datetime,
    letter: str | None = None,
    from_state: str | None = None,
    to_state: str | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Adds to a run's history; the caller holds the run's row."""
    values = {"run_id": run_id, "kind": kind, "at": at, "letter": letter, "from_state": from_state}
    values |= {"to_state": to_state, "detail": json.dumps(dict(detail or {}))}
    tx.execute(text(named("add_run_event")), values)


def list_events(tx: Tx, run_id: str) -> list[Row[Any]]:
    """A run's history, oldest first."""
    return list(tx.execute(select(run_events).where(run_events.c.run_id == run_id).order_by(run_events.c.seq)))


def latest_event(tx: Tx, run_id: str) -> Row[Any] | None:
    """The newest entry of a run's history."""
    events = run_events
    statement = select(events).where(events.c.run_id == run_id).order_by(events.c.seq.desc()).limit(1)
    return tx.execute(statement).one_or_none()


def next_log_number(tx: Tx, run_id: str) -> int:
    """The number that the next log line gets."""
    return int(tx.execute(text(named("next_log_number")), {"run_id": run_id}).scalar_one())


def log_head(tx: Tx, run_id: str, vendor_id: str) -> Row[Any] | None:
    """A vendor's run's state, and the number that its next log line gets."""
    values = {"run_id": run_id, "vendor_id": vendor_id}
    return tx.execute(text(named("log_head")), values).one_or_none()


def append_logs(tx: Tx, run_id: str, chunk: LogChunk) -> None:
    """Stores a chunk's lines."""
    values = {
        "run_id": run_id,
        "first": chunk.seq,
        "ats": [line.at for line in chunk.lines],
        "streams": [line.stream for line in chunk.lines],
        "texts": [line.text.replace("\x00", "\N{REPLACEMENT CHARACTER}") for line in chunk.lines],
    }
    tx.execute(text(named("append_run_logs")), values)


def list_logs(tx: Tx, run_id: str, *, start: int, limit: int) -> list[Row[Any]]:
    """Log lines from number ``start`` on."""
    statement = select(run_logs).where(run_logs.c.run_id == run_id, run_logs.c.seq >= start)
    return list(tx.execute(statement.order_by(run_logs.c.seq).limit(limit)))


def upsert_artifact(tx: Tx, values: Mapping[str, Any]) -> None:
    """Notes an artifact that is about to be uploaded."""
    tx.execute(text(named("upsert_run_artifact")), dict(values))


def list_artifacts(tx: Tx, run_id: str) -> list[Row[Any]]:
    """A run's announced artifacts."""
    statement = select(run_artifacts).where(run_artifacts.c.run_id == run_id)
    return list(tx.execute(statement.order_by(run_artifacts.c.name)))


def confirm_artifacts(tx: Tx, run_id: str, names: Sequence[str], at: datetime) -> None:
    """Notes that artifacts have been uploaded."""
    columns = run_artifacts.c
    tx.execute(update(run_artifacts).where(columns.run_id == run_id, columns.name.in_(names)).values(uploaded_at=at))

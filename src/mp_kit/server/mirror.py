"""Shows every training run as a flow run in Prefect's pages, and honours a cancel that is given there.

1. Postgres is the truth; Prefect only shows it. No process belongs to such a flow run.
2. What is shown is noted in ``run_mirrors``; a mirror that dies anywhere is continued by the next one. Two at once show
   the same things: a flow run is made under the run's id as its idempotency key.
3. Prefect being away holds up no training.
4. Nothing secret is shown: no environment, no signed URL, and what people typed goes through the redaction filter.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row

from mp_kit.errors import MarketplaceError, NotFoundError
from mp_kit.server.automations import RUN_FAILED
from mp_kit.server.markdown import literal
from mp_kit.server.prefect_api import PrefectApi
from mp_kit.server.redaction import redact
from mp_kit.server.services import runs
from mp_kit.server.services.runs_states import State
from mp_kit.server.store import mirrors
from mp_kit.server.store.engine import Database

__all__ = ["SHOWN_TAG", "Mirror"]

log = logging.getLogger(__name__)

FLOW = "training-run"
SHOWN_TAG = "training-run"
"""Marks flow runs without a process."""

ACTOR = "operator:prefect"
_BATCH = 200
_PAGE = 200  # the most that Prefect's filters answer
_STATES: Mapping[State, tuple[str, str]] = {
    State.QUEUED: ("PENDING", "Queued"),
    State.LAUNCHING: ("PENDING", "Launching"),
    State.RUNNING: ("RUNNING", "Running"),
    State.FINISHING: ("RUNNING", "Finishing"),
    State.SUCCEEDED: ("COMPLETED", "Completed"),
    State.FAILED: ("FAILED", "Failed"),
    State.CANCELLING: ("CANCELLING", "Cancelling"),
    State.CANCELLED: ("CANCELLED", "Cancelled"),
}
"""Type and name of the state in Prefect. Pending, not Scheduled: nothing ever picks it up, and it is never late."""


class Mirror:
    """Brings Prefect's pages up to date, one pass at a time.

    Args:
        db: The truth.
        prefect: Where it is shown.
        base_url: Goes before the paths of links.
    """

    def __init__(self, db: Database, prefect: PrefectApi, base_url: str) -> None:
        self._db = db
        self._prefect = prefect
        self._base_url = base_url
        self._flow_id: str | None = None

    def sync(self) -> int:
        """Honours cancels, then shows what has changed; returns how many runs were shown.

        Raises:
            MarketplaceError: Prefect or the database does not answer; what was done is noted.
        """
        self._take_cancels()
        with self._db.begin() as tx:
            changed = mirrors.stale(tx, limit=_BATCH)
        for run in changed:
            self._show(run)
        return len(changed)

    def sync_safely(self) -> int:
        """As :meth:`sync`, but an outage is only logged: the next pass makes up for it."""
        try:
            return self.sync()
        except MarketplaceError as error:
            log.warning("training runs are not shown in Prefect at present: %s", error)
            return 0

    def _show(self, run: Row[Any]) -> None:
        flow_run_id = run.flow_run_id or self._create(run)
        try:
            self._set_state(flow_run_id, run)
        except NotFoundError:  # somebody deleted it there: it is shown anew
            flow_run_id = self._create(run, again=True)
            self._set_state(flow_run_id, run)
        if State(run.state) in {State.SUCCEEDED, State.FAILED, State.CANCELLED}:
            self._artifact(flow_run_id, run, "result", "table", json.dumps([_result(run)], default=str))
        if State(run.state) is State.FAILED:
            self._prefect.send("POST", "/events", [_failed(run, flow_run_id)])
        with self._db.begin() as tx:
            mirrors.shown(tx, run.id, flow_run_id, run.state)

    def _create(self, run: Row[Any], *, again: bool = False) -> str:
        order = {
            "flow_id": self._flow(),
            "name": run.id,
            "tags": [SHOWN_TAG, run.task, run.provider, f"vendor:{run.vendor}"],
            "parameters": {"run_id": run.id, "round_id": run.round_id},
            "idempotency_key": f"{run.id}:{datetime.now(UTC).timestamp()}" if again else run.id,
            "state": {"type": "PENDING", "name": "Queued"},
        }
        made = str(self._prefect.send("POST", "/flow_runs/", order)["id"])
        self._artifact(
            made, run, "spec", "markdown", _spec(run, f"{self._base_url}/marketplace/vendor/training/{run.id}")
        )
        return made

    def _flow(self) -> str:
        if self._flow_id is None:
            self._flow_id = str(self._prefect.send("POST", "/flows/", {"name": FLOW})["id"])
        return self._flow_id

    def _set_state(self, flow_run_id: str, run: Row[Any]) -> None:
        kind, name = _STATES[State(run.state)]
        state = {"type": kind, "name": name, "message": redact(run.failure or "")}
        self._prefect.send("POST", f"/flow_runs/{flow_run_id}/set_state", {"state": state, "force": True})

    def _artifact(self, flow_run_id: str, run: Row[Any], what: str, kind: str, data: str) -> None:
        key = f"{what}-{run.id}".replace("_", "-").lower()
        body = {"key": key, "type": kind, "description": f"Training run {run.id}", "data": redact(data)}
        self._prefect.send("POST", "/artifacts/", {**body, "flow_run_id": flow_run_id})

    def _take_cancels(self) -> None:
        """Cancels the open runs whose flow run somebody has cancelled in Prefect."""
        with self._db.begin() as tx:
            running = mirrors.open_ones(tx)
        for flow_run_id in self._cancelled(sorted(running)):
            run = running[flow_run_id]
            log.info("run %s is cancelled in Prefect", run.id)
            with self._db.begin() as tx:
                runs.cancel(tx, run.vendor_id, run.id, now=datetime.now(UTC), actor=ACTOR)

    def _cancelled(self, flow_run_ids: Sequence[str]) -> list[str]:
        found: list[str] = []
        for start in range(0, len(flow_run_ids), _PAGE):
            wanted = {
                "id": {"any_": list(flow_run_ids[start : start + _PAGE])},
                "state": {"type": {"any_": ["CANCELLING", "CANCELLED"]}},
            }
            answer = self._prefect.send("POST", "/flow_runs/filter", {"flow_runs": wanted, "limit": _PAGE})
            found += [str(each["id"]) for each in answer]
        return found


def _failed(run: Row[Any], flow_run_id: str) -> dict[str, Any]:
    """What automations hear; sent twice it is one event, by its id."""
    name = {"prefect.resource.id": f"mp.run.{run.id}", "prefect.resource.name": run.id}
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{RUN_FAILED}/{run.id}")),
        "occurred": datetime.now(UTC).isoformat(),
        "event": RUN_FAILED,
        "resource": {**name, "mp.run.task": run.task, "mp.run.provider": run.provider, "mp.vendor": run.vendor},
        "related": [{"prefect.resource.id": f"prefect.flow-run.{flow_run_id}", "prefect.resource.role": "flow-run"}],
        "payload": {"failure": redact(run.failure or "")},
    }


def _spec(run: Row[Any], page: str) -> str:
    usd = "no bound" if run.max_cost_usd is None else f"${run.max_cost_usd:.2f}"
    spec = {**run.spec, "machine": run.machine}
    spec.pop("dataset_urls", None)
    return (
        f"# {run.task} on round {run.round_id}, for {literal(run.vendor)}\n\n"
        f"At {run.provider}, for at most {run.max_hours:g} hours and {usd}. [Log and live figures]({page})\n\n"
        f"```json\n{json.dumps(spec, indent=2, sort_keys=True)}\n```\n"
    )


def _result(run: Row[Any]) -> dict[str, Any]:
    scalars = {name: value for name, value in run.metrics.items() if not isinstance(value, list | dict)}
    facts = {"state": run.state, "cost_usd": run.cost_usd, "exit_code": run.exit_code, "failure": run.failure}
    return {**facts, "started_at": run.started_at, "finished_at": run.finished_at, **scalars}

"""Training runs: their list, and each one's page with its log, metrics, cost and history."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from litestar import Response, get, post
from litestar.params import FromPath

from mp_kit.contracts import RunStatus, Task
from mp_kit.contracts.training import Provider
from mp_kit.server import clock
from mp_kit.server.console.charts import Point
from mp_kit.server.console.pages import page, redirect
from mp_kit.server.console.visits import AnyRequest, TheHouse, TheVisit, signed_in, vendor_of
from mp_kit.server.services import desk, runs
from mp_kit.server.store import runs as rows
from mp_kit.trainer.limits import HISTORY

TRAINING = "/marketplace/vendor/training"
WORDS: Mapping[str, str] = {
    "queued": "It is ordered; nothing exists yet.",
    "launching": "The provider was asked for a machine; the job has given no sign of life yet.",
    "running": "The job is at work and tells how far it is.",
    "finishing": "The job has ended; its machine is being given back.",
    "succeeded": "It ended well, and nothing of it is left to pay for.",
    "failed": "It ended badly, and nothing of it is left to pay for.",
    "cancelling": "You cancelled it; its machine is being given back.",
    "cancelled": "You cancelled it, and nothing of it is left to pay for.",
}
"""The eight states of docs/runs.md, for people."""

_ON_A_PAGE = 25
_MAX_OFFSET = 100_000
_TAIL = 300
_MOST_CHARTS = 6
_FILTERS = ("status", "task", "provider")
_MAX_CHARS = 40


@get(TRAINING, guards=[signed_in], sync_to_thread=True, include_in_schema=False)
def list_runs(house: TheHouse, visit: TheVisit, request: AnyRequest) -> Response[bytes]:
    """The vendor's runs, filtered, by pages; what a filter does not know finds nothing."""
    asked = {name: request.query_params.get(name, "")[:_MAX_CHARS].replace("\0", "") for name in _FILTERS}
    offset = _number(request.query_params.get("offset", ""))
    with house.db.begin() as tx:
        found = desk.run_page(tx, vendor_of(visit), **asked, offset=offset, limit=_ON_A_PAGE)
    return page(
        visit,
        "vendor/training.html",
        title="Training",
        found=found,
        asked=asked,
        offset=offset,
        limit=_ON_A_PAGE,
        query=_query(asked),
        choices={"status": list(RunStatus), "task": list(Task), "provider": list(Provider)},
    )


@get(f"{TRAINING}/{{run_id:str}}", guards=[signed_in], sync_to_thread=True, include_in_schema=False)
def show(house: TheHouse, visit: TheVisit, run_id: FromPath[str]) -> Response[bytes]:
    """A run of the vendor's."""
    vendor_id, view = vendor_of(visit), runs.View(base_url=house.settings.base_url, store=house.store)
    with house.db.begin() as tx:
        run = runs.get(tx, vendor_id, run_id, view=view)
        start = max(0, runs.log_head(tx, vendor_id, run_id).next - _TAIL)
        log = runs.logs(tx, vendor_id, run_id, after=start, limit=_TAIL)
        history = runs.events(tx, vendor_id, run_id)
        registered = desk.registered_from(tx, vendor_id, run_id)
        ordered = rows.find(tx, run_id, vendor_id)
    return page(
        visit,
        "vendor/run.html",
        title=f"Run {run.run_id}",
        run=run,
        words=WORDS.get(run.state or "", ""),
        log=log,
        skipped=start,
        events=history,
        registered=registered,
        curves=curves(run.metrics.get(HISTORY)),
        metrics={name: value for name, value in sorted(run.metrics.items()) if name != HISTORY},
        hyperparams=sorted(ordered.spec.get("hyperparams", {}).items()) if ordered is not None else [],
        max_hours=ordered.max_hours if ordered is not None else None,
        took=(run.finished_at or clock.now()) - run.started_at if run.started_at else None,
        stream=f"{TRAINING}/{quote(run_id, safe='')}/stream",
    )


@post(
    f"{TRAINING}/{{run_id:str}}/cancel",
    guards=[signed_in],
    sync_to_thread=True,
    include_in_schema=False,
    status_code=200,
)
def cancel(house: TheHouse, visit: TheVisit, run_id: FromPath[str]) -> Response[bytes]:
    """Ends a run; of one that is over, nothing changes."""
    with house.db.begin() as tx:
        run = runs.cancel(tx, vendor_of(visit), run_id, now=clock.now(), actor=visit.actor)
    over = run.status.is_final and run.status is not RunStatus.CANCELLED
    say = f"The run was over already: it is {run.status.value}." if over else "The run is being ended."
    say = "The run is cancelled." if run.status is RunStatus.CANCELLED else say
    return redirect(visit, f"{TRAINING}/{quote(run.run_id, safe='')}", say=say)


def curves(told: Any) -> Sequence[tuple[str, Sequence[Point]]]:
    """A line per number that the job reported by step; what has another shape is left out.

    Args:
        told: ``[{"step": 1, "loss": 0.7}, …]``, as jobs send it, or anything else.
    """
    found: dict[str, list[Point]] = {}
    for entry in told if isinstance(told, list) else []:
        if not isinstance(entry, dict) or not isinstance(entry.get("step"), int):
            continue
        for name, value in entry.items():
            if name != "step" and _is_number(value):
                found.setdefault(name, []).append(Point(str(entry["step"]), float(value)))
    return [(name, points) for name, points in sorted(found.items()) if len(points) > 1][:_MOST_CHARTS]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _query(asked: Mapping[str, str]) -> Callable[..., str]:
    def query(**changes: Any) -> str:
        return urlencode({name: value for name, value in {**asked, **changes}.items() if value})

    return query


def _number(said: str) -> int:
    return min(int(said), _MAX_OFFSET) if said.isascii() and said.isdecimal() and len(said) < 9 else 0  # noqa: PLR2004 - digits


HANDLERS = [list_runs, show, cancel]

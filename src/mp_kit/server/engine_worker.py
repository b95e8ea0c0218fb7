"""The Prefect worker of ``mp up``: ``python -m mp_kit.server.engine_worker --pool mp --ready FILE``.

1. It imports Prefect while the API is still starting, then makes the work pool, the deployments and the automations,
   then works: one process, because each import of Prefect costs seconds.
2. The ready file appears when all flows are deployed and the worker polls.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import ConcurrencyOptions, StateType
from prefect.client.schemas.schedules import construct_schedule
from prefect.exceptions import ObjectAlreadyExists
from prefect.flows import load_flow_from_entrypoint
from prefect.settings import get_current_settings
from prefect.states import Crashed
from prefect.utilities.callables import parameter_schema
from prefect.workers.process import ProcessWorker

from mp_kit.errors import TimeoutExceededError
from mp_kit.server import automations, bundle, redaction
from mp_kit.server.mirror import SHOWN_TAG
from mp_kit.server.prefect_api import PrefectApi

_BEGAN = datetime.now(UTC)
_API_SECONDS = 120.0
_POLL_SECONDS = 0.1
_BESIDE_THE_TIME = ("slug", "parameters")
RUN_DIRECTLY = ("train", "deliver-webhooks")
"""Deployments whose schedule stays off, because `mp up` runs the flow as a process of its own."""


def main() -> None:
    """Deploys, then works until it is told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", default="mp")
    parser.add_argument("--ready", type=Path, required=True)
    parser.add_argument("--no-schedules", action="store_true", help="flows run when they are asked for, and only then")
    chosen = parser.parse_args()
    root = bundle.root()
    os.chdir(root)
    redaction.install()
    flows: list[tuple[dict[str, Any], Any]] = [
        (entry, load_flow_from_entrypoint(entry["entrypoint"])) for entry in definitions(root)
    ]
    with get_client(sync_client=True) as client:
        _await_api(client)
        _crash_the_dead(client)
        _ensure_pool(client, chosen.pool, root)
        for entry, flow in flows:
            deploy(client, entry, flow, root, schedules=not chosen.no_schedules)
    _automate(str(get_current_settings().api.url))
    asyncio.run(_work(chosen.pool, chosen.ready))


def _automate(url: str) -> None:
    prefect = PrefectApi(url)
    try:
        automations.ensure(prefect, block=os.environ.get("MP_NOTIFY_BLOCK"))
    finally:
        prefect.close()


def definitions(root: Path) -> list[dict[str, Any]]:
    """The deployments that ``deployments/prefect.yaml`` names, for the flows that are there."""
    import yaml

    listed = yaml.safe_load((root / bundle.DEPLOYMENTS).read_text(encoding="utf-8"))["deployments"]
    return [entry for entry in listed if (root / entry["entrypoint"].partition(":")[0]).is_file()]


def deploy(client: SyncPrefectClient, entry: dict[str, Any], flow: Any, root: Path, *, schedules: bool = True) -> None:
    """Creates or updates one deployment.

    Args:
        client: Prefect's API.
        entry: One of :func:`definitions`.
        flow: The flow that it names.
        root: Flow runs work there, so that no code is copied per run.
        schedules: Whether its schedules are active.
    """
    pool = entry["work_pool"]
    limit = entry.get("concurrency_limit")
    client.create_deployment(
        flow_id=client.create_flow(flow),
        name=entry["name"],
        description=entry["description"],
        tags=entry["tags"],
        parameters=entry.get("parameters", {}),
        parameter_openapi_schema=parameter_schema(flow).model_dump_for_openapi(),
        enforce_parameter_schema=True,
        path=str(root),
        entrypoint=entry["entrypoint"],
        work_pool_name=pool["name"],
        job_variables={**pool.get("job_variables", {}), "working_dir": str(root)},
        schedules=[_schedule(each, entry["name"], active=schedules) for each in entry.get("schedules", [])],
        concurrency_limit=limit["limit"] if limit else None,
        concurrency_options=ConcurrencyOptions(collision_strategy=limit["collision_strategy"]) if limit else None,
        paused=False,
    )


def _schedule(fields: dict[str, Any], name: str, *, active: bool) -> DeploymentScheduleCreate:
    when = {key: value for key, value in fields.items() if key not in _BESIDE_THE_TIME}
    beside = {key: fields[key] for key in _BESIDE_THE_TIME if key in fields}
    active = active and name not in RUN_DIRECTLY
    return DeploymentScheduleCreate(schedule=construct_schedule(**when), active=active, **beside)


def _crash_the_dead(client: SyncPrefectClient) -> None:
    """Says of flow runs that a killed `mp up` left running that they crashed: it shows, and frees their slots.

    Whatever began before this process did is dead: `mp up` ends what was left behind before it starts anything.
    """
    unfinished = FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING, StateType.CANCELLING])
    started = FlowRunFilterStartTime(before_=_BEGAN)
    wanted = FlowRunFilter(state=FlowRunFilterState(type=unfinished), start_time=started)
    for run in client.read_flow_runs(flow_run_filter=wanted):
        if SHOWN_TAG in run.tags:  # a training run that the supervisor shows; no process of ours belongs to it
            continue
        client.set_flow_run_state(run.id, Crashed(message="The marketplace was killed while this ran."), force=True)


def _await_api(client: SyncPrefectClient) -> None:
    deadline = time.monotonic() + _API_SECONDS
    while not _is_ours(client):
        if time.monotonic() > deadline:
            raise TimeoutExceededError(f"Prefect's API did not answer in {_API_SECONDS:g} s.")
        time.sleep(_POLL_SECONDS)


def _is_ours(client: SyncPrefectClient) -> bool:
    """Whether the API answers and is our home's: another marketplace may have taken the port first."""
    if client.api_healthcheck() is not None:
        return False
    home = client._client.get("/admin/settings").json().get("home")  # noqa: SLF001 - the client has no verb for it
    return str(home) == str(get_current_settings().home)


def _ensure_pool(client: SyncPrefectClient, name: str, root: Path) -> None:
    template = json.loads((root / "deployments" / "pools" / "process.json").read_text(encoding="utf-8"))
    try:
        client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=template))
    except ObjectAlreadyExists:
        return


async def _work(pool: str, ready: Path) -> None:
    worker = ProcessWorker(work_pool_name=pool, name="mp-up", create_pool_if_not_found=False)
    await worker.start(printer=lambda _: ready.touch())


if __name__ == "__main__":
    main()

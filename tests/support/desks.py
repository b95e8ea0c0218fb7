"""A vendor's desk with something of everything on it, and a browser without a window that is signed in there."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Self

import httpx
from sqlalchemy import text

from mp_kit.contracts import DeploymentRequest, DeploymentStatus, HeartbeatWrite, ModelRegistration, Stage, Task
from mp_kit.contracts.training import LogChunk, LogChunkLine, RunHeartbeat, TrainingRequest
from mp_kit.server.house import House
from mp_kit.server.services import deployments, models, runs, runs_claims
from mp_kit.server.services.ids import new_id
from mp_kit.server.services.runs_states import Step
from mp_kit.server.services.tokens import Principal
from mp_kit.server.store.engine import Tx

MODEL_FILES = ("model.onnx", "model_card.json")
HISTORY = [{"step": n, "loss": 1.0 / (n + 1), "accuracy": 0.5 + n / 100} for n in range(8)]


def publish(
    tx: Tx,
    round_id: str = "rnd_desk",
    name: str = "Majors, hourly",
    *,
    current: bool = False,
    files: Sequence[dict[str, Any]] = (),
) -> None:
    """A round that can be ordered; the store has none of its files."""
    tx.execute(text("INSERT INTO signing_keys (id, public_key) VALUES ('desk', 'x') ON CONFLICT DO NOTHING"))
    tx.execute(
        text(
            "INSERT INTO dataset_rounds (id, name, is_current, fingerprint, manifest, manifest_sha256, manifest_key_id,"
            " manifest_signature, files) VALUES (:id, :name, :current, :id, :manifest, :sha, 'desk', 'x', :files)"
            " ON CONFLICT DO NOTHING"
        ),
        {
            "id": round_id,
            "name": name,
            "current": current,
            "sha": "0" * 64,
            "manifest": b"{}",
            "files": json.dumps(list(files)),
        },
    )


def order(tx: Tx, vendor_id: str, **changes: Any) -> str:
    """A run that waits; gives its id."""
    wanted = {"round_id": "rnd_desk", "task": "signal", "provider": "byoc", "budget": {"max_cost_usd": 3}} | changes
    made = runs.create(
        tx, vendor_id, TrainingRequest.model_validate(wanted), idempotency_key=None, now=now(), providers={"byoc"}
    )
    return made.run_id


def at_work(tx: Tx, run_id: str, *said: str, history: Any = HISTORY) -> None:
    """Makes a waiting run one that is at work: metrics by step, lines of log."""
    [claimed] = [one for one in runs_claims.claim(tx, providers={"byoc"}, limit=500) if one.run_id == run_id]
    runs_claims.apply(tx, run_id, claimed.lock_token, Step(letter="a"), now())
    tx.execute(text("UPDATE training_runs SET locked_until = NULL, lock_token = NULL"))
    metrics = {"loss": 0.125, "accuracy": 0.57, "note": "as planned", "history": history}
    runs.heartbeat(tx, run_id, RunHeartbeat(step=7, total_steps=12, metrics=metrics), now=now())
    if said:
        lines = [LogChunkLine(at=now(), stream="stdout", text=one) for one in said]
        runs.append_logs(tx, run_id, LogChunk(seq=0, lines=lines), now=now())


def finished(tx: Tx, vendor_id: str, *, task: str = "signal", files: Sequence[str] = MODEL_FILES) -> str:
    """A run that succeeded, with the files of a model; gives its id."""
    publish(tx)
    run_id = new_id("run")
    told = {"files": [{"name": name, "size_bytes": 7, "sha256": "0" * 64} for name in files]}
    tx.execute(
        text(
            "INSERT INTO training_runs (id, vendor_id, round_id, task, provider, state, body_sha256, artifacts,"
            " started_at, finished_at)"
            " VALUES (:run, :vendor, 'rnd_desk', :task, 'byoc', 'succeeded', '', CAST(:told AS jsonb), now(), now())"
        ),
        {"run": run_id, "vendor": vendor_id, "task": task, "told": json.dumps(told)},
    )
    for name in files:
        tx.execute(
            text(
                "INSERT INTO run_artifacts (run_id, name, size_bytes, sha256, object_key, uploaded_at)"
                " VALUES (:run, :name, 7, :sha, :key, now())"
            ),
            {"run": run_id, "name": name, "sha": "0" * 64, "key": f"{run_id}/{name}"},
        )
    return run_id


def furnish(house: House, vendor_id: str, *, name: str = "trend", said: str = "epoch 1") -> SimpleNamespace:
    """A round, three runs, a model in pilot, a deployment that was heard; their ids."""
    with house.db.begin() as tx:
        publish(tx)
        running, waiting = order(tx, vendor_id), order(tx, vendor_id, task="optimizer")
        at_work(tx, running, said, "epoch 2")
        done = finished(tx, vendor_id)
        origin = ModelRegistration(name=name, task=Task.SIGNAL, version="1", run_id=done, description=said)
        made = models.register(tx, vendor_id, origin)
        models.change_stage(tx, vendor_id, made.model_id, "1", Stage.PILOT, actor="test", reason=None)
        wanted = DeploymentRequest(name=name, provider="byoc", model_id=made.model_id)
        placed = deployments.create(tx, house.tokens, vendor_id, wanted, actor="test")
        beat = HeartbeatWrite(
            deployment_id=placed.deployment_id,
            status=DeploymentStatus.READY,
            timestamp=now(),
            metrics={"cpu": 0.25, "latency_ms": 12},
            message=said,
        )
        deployments.heartbeat(tx, Principal(kind="vendor", vendor_id=vendor_id), beat)
    ids = {"model": made.model_id, "version": made.version_id, "deployment": placed.deployment_id}
    return SimpleNamespace(running=running, waiting=waiting, finished=done, **ids)


def now() -> datetime:
    """This instant."""
    return datetime.now(UTC)


class Visitor:
    """Somebody who is signed in, with a browser of their own and no JavaScript.

    Args:
        url: The marketplace's.
        key: A vendor's API key.
    """

    def __init__(self, url: str, key: str) -> None:
        session = httpx.post(f"{url}/api/vendors/login", json={"api_key": key}, timeout=30).json()["data"]["token"]
        self.client = httpx.Client(base_url=url, cookies={"mp_session": session}, timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def get(self, path: str, **query: Any) -> httpx.Response:
        """A page."""
        return self.client.get(path, params=query or None)

    def send(self, page: str, path: str, **form: str) -> httpx.Response:
        """Sends a form that stands on a page, with that page's token."""
        return self.client.post(path, data={"csrf": csrf_of(self.get(page)), **form})


def csrf_of(page: httpx.Response) -> str:
    """The token of a page's forms."""
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', page.text)
    assert found is not None, page.text
    return found[1]


def words_of(page: httpx.Response) -> str:
    """What a person reads on it."""
    return re.sub(r"<[^>]*>", " ", page.text)

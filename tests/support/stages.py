"""A vendor with a trained model, and a place for servers that misbehaves on demand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from mp_kit.contracts import DeploymentChange, DeploymentRequest, Hosting, ModelRegistration, Task
from mp_kit.server.house import House
from mp_kit.server.services import deployments, hostings, models, vendors
from mp_kit.server.services.hosting_keeper import Keeper, turn
from mp_kit.server.services.ids import new_id
from tests.support.hosts import MemoryHost, everywhere


@dataclass
class Stage:
    """A vendor with a trained model, and a place for servers."""

    house: House
    host: MemoryHost
    vendor: str
    model: str

    def deploy(self, **more: Any) -> str:
        """Orders a server; its id."""
        wanted = {"name": new_id("n"), "provider": "local", "model_id": self.model, **more}
        with self.house.db.begin() as tx:
            order = DeploymentRequest.model_validate(wanted)
            hosts = everywhere(self.host)
            made = deployments.create(tx, self.house.tokens, self.vendor, order, actor="test", hosts=hosts)
        return made.deployment_id

    def turn(self, times: int = 1) -> None:
        """So many looks, each at once: what would be waited for is due now."""
        hosts = everywhere(self.host)
        for _ in range(times):
            with self.house.db.begin() as tx:
                tx.execute(text("UPDATE hostings SET next_look_at = now(), locked_until = NULL"))
            turn(Keeper(self.house.db, hosts, self.house.tokens, "http://edge.test"))

    def want(self, deployment_id: str, **change: Any) -> None:
        """What the vendor asks for."""
        with self.house.db.begin() as tx:
            hostings.change(tx, self.vendor, deployment_id, DeploymentChange(**change), actor="test")

    def seen(self, deployment_id: str) -> Hosting:
        """What the vendor reads."""
        with self.house.db.begin() as tx:
            found = deployments.get(tx, self.vendor, deployment_id).hosting
        assert found is not None
        return found

    def state(self, deployment_id: str) -> str:
        """Its state alone."""
        return str(self.seen(deployment_id).state)


RUN = """INSERT INTO training_runs (id, vendor_id, round_id, task, provider, state, body_sha256, finished_at)
         VALUES (:run, :vendor, :round, 'signal', 'local', 'succeeded', '', now())"""
ROUND = """INSERT INTO dataset_rounds
           (id, name, fingerprint, manifest, manifest_sha256, manifest_key_id, manifest_signature)
           VALUES (:round, 'r', :round, '', '', 'k', '')"""
FILE = """INSERT INTO run_artifacts (run_id, name, size_bytes, sha256, object_key, uploaded_at)
          VALUES (:run, :name, 3, :sha, :name, now())"""


@contextmanager
def staged(house: House) -> Iterator[Stage]:
    """A stage of its own; its servers are forgotten afterwards."""
    run, round_id = new_id("run"), new_id("rnd")
    with house.db.begin() as tx:
        vendor = vendors.create(tx, house.tokens, new_id("v"), actor="test").vendor_id
        tx.execute(text("INSERT INTO signing_keys (id, public_key) VALUES ('k', '') ON CONFLICT DO NOTHING"))
        tx.execute(text(ROUND), {"round": round_id})
        tx.execute(text(RUN), {"run": run, "vendor": vendor, "round": round_id})
        for name in ("model.onnx", "model_card.json"):
            tx.execute(text(FILE), {"run": run, "name": name, "sha": "0" * 64})
        made = models.register(tx, vendor, ModelRegistration(name="trend", task=Task.SIGNAL, version="1", run_id=run))
    yield Stage(house, MemoryHost(), vendor, made.model_id)
    with house.db.begin() as tx:
        tx.execute(text("DELETE FROM hostings"))

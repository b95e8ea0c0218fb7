"""maintain and ``mp admin sweep``: servers that nobody wants on a vendor's real account, as the house is wired."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from flows.maintain import Maintenance, sweep_machines, sweep_servers
from mp_kit.cli.admin_money import sweep
from mp_kit.server.house import House
from mp_kit.server.services import connections, vendors
from mp_kit.testing.fake_runpod import Clock, FakeRunPod
from tests.support.runpods import checked

KEY = "rpa_0123456789abcdefghijklmnop"
MACHINE = {"image": "x", "disk": 20, "cpu": {"id": "cpu3c", "vcpuCount": 2}}
ENDPOINT = {
    "image": "x",
    "disk": 20,
    "type": "LOAD_BALANCER",
    "timeout": 60_000,
    "cpu": [{"id": "cpu3c", "vcpuCount": 2}],
    "scaling": {"type": "REQUEST_COUNT", "requestCount": 1},
    "workers": {"min": 0, "max": 1, "idleTimeout": 5},
}


@pytest.fixture
def fake(house: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRunPod]:
    """An account that was connected, an hour ago by its clock; flow and command open the house over it."""
    an_hour_ago = Clock(datetime.now(UTC) - timedelta(hours=1), running=False)
    with checked({KEY: None}, clock=an_hour_ago, run_containers=False) as fake:
        with house.db.begin() as tx:
            vendor = vendors.create(tx, house.tokens, "ACME", actor="test").vendor_id
            connections.put(tx, house.vault, vendor, "runpod", SecretStr(KEY), actor="test")
            tx.execute(text("UPDATE vendor_connections SET status = 'ok'"))
        for name, value in (
            ("MP_HOME", str(house.settings.home)),
            ("MP_DATABASE_URL", house.settings.database_url),
            ("MP_RUNPOD_URL", fake.url),
        ):
            monkeypatch.setenv(name, value)
        yield fake


def test_orphans_are_ended_and_nothing_else(house: House, fake: FakeRunPod, capsys: pytest.CaptureFixture[str]):
    """An endpoint and a pod of ours go; a pod of the vendor's own stays, and so does one of another marketplace's."""
    prefix, headers = f"mp-{house.signer.key_id[:8].lower()}", {"Authorization": f"Bearer {KEY}"}
    for name in (f"{prefix}-serve-dep_x-a1", "my own", "mp-0000-serve-dep_x-a1"):
        assert 201 == httpx.post(f"{fake.url}/pods", json=MACHINE | {"name": name}, headers=headers).status_code
    endpoint = ENDPOINT | {"name": f"{prefix}-serve-dep_y-a2"}
    assert 201 == httpx.post(f"{fake.url}/serverless", json=endpoint, headers=headers).status_code

    looked = sweep_servers.fn(Maintenance(dry_run=True))
    assert (2, [("endpoint", False), ("pod", False)], []) == (
        looked.seen,
        [(stray.kind, stray.ended) for stray in looked.strays],
        list(looked.unreachable),
    )
    trainings, _ = sweep_machines.fn(Maintenance())
    assert 0 == trainings.seen

    assert 0 == sweep(json=True)
    told = json.loads(capsys.readouterr().out)["servers"]
    assert ([True, True], 2) == ([stray["ended"] for stray in told["strays"]], told["seen"])
    assert ["my own", "mp-0000-serve-dep_x-a1"] == [pod.name for pod in fake.pods if pod.status != "TERMINATED"]
    assert [True] == [one.deleted for one in fake.endpoints]
    assert 0 == sweep_servers.fn(Maintenance()).seen
    assert 0 == sweep()
    assert "0 servers of ours, 0 of them astray." in capsys.readouterr().out

"""poll-inference in a running marketplace: it rests where nobody wants it, and tells what it asked where one does."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from mp_kit.server.store.engine import Database

pytestmark = [pytest.mark.hardening, pytest.mark.slow, pytest.mark.timeout(600)]
NAME = "/deployments/name/poll-inference/poll-inference"
WISH = """INSERT INTO pollings (deployment_id, vendor_id, infer_url)
          SELECT id, vendor_id, 'ftp://127.0.0.1/infer' FROM deployments WHERE id = :id"""


def test_it_rests_and_asks(marketplace: Any):
    """Paused, it can be run by hand; an address that may not be asked is not, and the flow run's table says so."""
    state = json.loads((marketplace.home / "state.json").read_text())
    assert {} == marketplace.operator.json("admin", "flow", "run", "poll-inference")["result"]
    with httpx.Client(base_url=state["prefect_api_url"], timeout=30) as prefect:
        assert prefect.get(NAME).json()["paused"]
        made = marketplace.vendor.json("link-infra", "--name", "polled")["deployment_id"]
        db = Database(state["database_url"], pool_size=1)
        try:
            with db.begin() as tx:
                tx.execute(text(WISH), {"id": made})
            result = marketplace.operator.json("admin", "flow", "run", "poll-inference")["result"]
            assert {"accepted": 0, "failed": 2} == {name: result[name] for name in ("accepted", "failed")}
            wanted = {"artifacts": {"key": {"any_": ["polls"]}}, "sort": "CREATED_DESC", "limit": 1}
            [found] = prefect.post("/artifacts/filter", json=wanted).json()
            assert 2 == found["data"].count("must begin with https")
        finally:
            with db.begin() as tx:
                tx.execute(text("TRUNCATE pollings, polls, poll_budgets"))
            db.close()

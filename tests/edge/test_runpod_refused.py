"""A training at RunPod that could never work is refused at its order and at its estimate, not as a failed run."""

from __future__ import annotations

from types import SimpleNamespace

import httpx
import pytest

from mp_kit.server.house import House

BODY = {"round_id": "current", "task": "signal", "provider": "runpod", "base_image": "trainers/own:1"}


@pytest.mark.parametrize("path", ["/api/training/runs", "/api/training/estimate"])
def test_marketplace_of_this_machine_alone(edge: httpx.Client, edge_house: House, vendor: SimpleNamespace, path: str):
    """It is on a loopback address, and RunPod is the real one: the answer says so and what to do."""
    response = edge.post(path, json=BODY, headers=vendor.headers)
    assert (422, "invalid_input") == (response.status_code, response.json()["code"])
    assert edge_house.settings.base_url in response.json()["error"]
    assert [] == edge.get("/api/training/runs", headers=vendor.headers).json()["data"]

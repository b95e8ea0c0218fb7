"""A fake RunPod whose clock stands still and whose pods run nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest
import runpod_orders

from mp_kit.testing.fake_runpod import Clock, FakeRunPod, Pace

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.fixture
def fake() -> Iterator[FakeRunPod]:
    """Two accounts; time moves only when told; a pod runs 10 s after its creation."""
    clock = Clock(START, running=False)
    pace = Pace(provisioning=4, pull=6)
    keys = {"rp-key": 100, "other": None}
    with FakeRunPod(keys, clock=clock, run_containers=False, pace=pace) as running:
        yield running


@pytest.fixture
def api(fake: FakeRunPod) -> Iterator[httpx.Client]:
    """A client of the first account."""
    with runpod_orders.client(fake) as client:
        yield client

"""A client of the fake RunPod, and bodies to send to it."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from mp_kit.testing.fake_runpod import FakeRunPod

OPENAPI = Path(__file__).parents[3] / "shared" / "facts" / "runpod-openapi-v2.json"
L4 = "NVIDIA L4"
_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # one for all: reading the certificates takes longer than a test


def client(fake: FakeRunPod, key: str = "rp-key", **options: Any) -> httpx.Client:
    """A client of one account."""
    headers = {"Authorization": f"Bearer {key}", "User-Agent": "tests"}
    return httpx.Client(base_url=fake.url, headers=headers, timeout=20, verify=_TLS, **options)


def order(name: str = "a", script: str = "", **fields: Any) -> dict[str, Any]:
    """The body of a pod that runs a Python script."""
    command = {"entrypoint": ["python", "-c"], "cmd": [script or "import time; time.sleep(60)"]}
    gpu = {"id": L4, "count": 1}
    return {"name": name, "image": "trainer:1", "gpu": gpu, "disk": 20, "args": json.dumps(command)} | fields


def eventually(ask: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Whether something becomes true in time."""
    until = time.monotonic() + seconds
    while not ask():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True

"""A RunPod provider over the fake, with one clock for both that moves when the provider waits."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mp_kit.errors import CredentialError
from mp_kit.server.providers.base import LaunchOrder
from mp_kit.server.providers.runpod import RunPodProvider
from mp_kit.testing.fake_runpod import Clock, FakeRunPod, Pace, RequestRecord

__all__ = ["KEY", "PREFIX", "START", "Pair", "checked", "openapi", "pair", "program", "provider_of"]

KEY = "rp-key-of-the-vendor"
PREFIX = "mp-test"
START = datetime(2026, 6, 1, 12, tzinfo=UTC)
VENDORS = {"vnd_a": KEY, "vnd_b": "rp-key-of-another"}


def openapi() -> Path | None:
    """RunPod's own OpenAPI document beside the checkout; None where it is absent."""
    path = Path(__file__).parents[2] / ".." / "shared" / "facts" / "runpod-openapi-v2.json"
    return path if path.is_file() else None


def key_of(vendor_id: str) -> str:
    """A vendor's key; CredentialError for a vendor that has none."""
    if vendor_id not in VENDORS:
        raise CredentialError(f"Vendor {vendor_id} has not connected RunPod.")
    return VENDORS[vendor_id]


def provider_of(fake: FakeRunPod, **options: Any) -> RunPodProvider:
    """A provider over a fake, by the fake's clock: waiting moves it."""
    given: dict[str, Any] = {"image": "mp-trainer:1", "prefix": PREFIX, "list_seconds": 0.0, "log_seconds": 0.3}
    given |= {"clock": fake.clock.now, "sleep": fake.clock.advance}
    return RunPodProvider(key_of, base_url=fake.url, **given | options)


@dataclass
class Pair:
    """The fake and a provider over it.

    Attributes:
        fake: RunPod.
        provider: Under test.
    """

    fake: FakeRunPod
    provider: RunPodProvider

    def order(self, run_id: str = "run_1", attempt: int = 1, **changes: Any) -> LaunchOrder:
        """An order for an L4, with four hours to go."""
        given: dict[str, Any] = {
            "vendor_id": "vnd_a",
            "env": {"MP_RUN_TOKEN": "a-very-secret-run-token", "TASK": "signal"},
            "deadline": self.fake.clock.now() + timedelta(hours=4),
            "machine": {"gpu": "L4"},
        }
        return LaunchOrder(run_id=run_id, attempt=attempt, **(given | changes))

    def asked(self, operation: str) -> list[RequestRecord]:
        """The requests of one operation so far."""
        return [request for request in self.fake.requests if request.operation == operation]

    def alive(self) -> list[str]:
        """Ids of the pods that cost money."""
        return [pod.id for pod in self.fake.pods if pod.status != "TERMINATED"]


@contextmanager
def checked(keys: Mapping[str, Any], **options: Any) -> Iterator[FakeRunPod]:
    """A fake that holds each request against RunPod's OpenAPI, and fails the test if one broke the contract.

    Where the document is absent the fake's own rules hold alone. Tests make no other: a test looks after that.
    """
    with FakeRunPod(keys, openapi=openapi(), **options) as fake:
        yield fake
        fake.violations.check()


@contextmanager
def program(folder: Path, *keys: str) -> Iterator[str]:
    """The same as a process of its own, with its containers below a folder; gives its URL."""
    path = openapi()
    contract = ["--openapi", str(path)] if path else []
    command = [sys.executable, "-m", "mp_kit.testing.fake_runpod", "--folder", str(folder), *contract, "--keys", *keys]
    with (folder.parent / "runpod.log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    line = process.stdout.readline() if process.stdout else ""
    try:
        assert line.startswith("ready "), (folder.parent / "runpod.log").read_text()
        yield line.split()[1]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 0, (folder.parent / "runpod.log").read_text()


@contextmanager
def pair(**options: Any) -> Iterator[Pair]:
    """A fake without containers and a provider over it; fails if a request broke RunPod's contract."""
    keys, clock = dict.fromkeys(VENDORS.values()), Clock(START, running=False)
    with checked(keys, clock=clock, run_containers=False, pace=Pace(1.0, 1.0)) as fake:
        both = Pair(fake, provider_of(fake, **options))
        try:
            yield both
        finally:
            both.provider.close()

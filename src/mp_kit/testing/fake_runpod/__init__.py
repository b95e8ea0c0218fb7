"""A stand-in for RunPod's REST v2: real HTTP, real containers (as processes), and every way to misbehave.

::

    from mp_kit.testing.fake_runpod import FakeRunPod, Fault

    with FakeRunPod({"rp-key": 25}) as fake:
        fake.faults.next("create", Fault.CREATED_BUT_500)
        ...  # the code under test, told that RunPod is at fake.url
        fake.violations.check()
        assert [pod.status for pod in fake.pods] == ["TERMINATED"]

1. What it answers is what RunPod's published contract and its users report; where these say nothing, it is strict.
2. A request that breaks the contract is refused as RunPod refuses it, and stays on record in ``violations``.
3. A pod's command runs as a process with a container's manners: its end is its next start, until the pod is terminated.
4. Nothing survives it: neither state nor containers.
"""

from __future__ import annotations

from mp_kit.testing.fake_runpod.clock import Clock
from mp_kit.testing.fake_runpod.cloud import Pace
from mp_kit.testing.fake_runpod.fake import FakeRunPod
from mp_kit.testing.fake_runpod.faults import OPERATIONS, Fault, Faults, Trouble
from mp_kit.testing.fake_runpod.records import RequestRecord, Violation, Violations
from mp_kit.testing.fake_runpod.replies import NO_CAPACITY
from mp_kit.testing.fake_runpod.snapshots import EndpointSnapshot, PodSnapshot

__all__ = [
    "NO_CAPACITY",
    "OPERATIONS",
    "Clock",
    "EndpointSnapshot",
    "FakeRunPod",
    "Fault",
    "Faults",
    "Pace",
    "PodSnapshot",
    "RequestRecord",
    "Trouble",
    "Violation",
    "Violations",
]

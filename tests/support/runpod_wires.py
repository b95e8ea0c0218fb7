"""A wire to RunPod without RunPod: answers as scripted, and what was asked."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import httpx

from mp_kit.server.providers.runpod_api import Account, RunPodApi

NOW = datetime(2026, 6, 1, tzinfo=UTC)
KEY = "rp-key-that-nobody-may-see"
ACCOUNT = Account("vnd_a", KEY)
POD = {"id": "pod_1", "name": "mp-run_1-a1", "status": "RUNNING", "cost": 0.43, "env": {"TOKEN": "seen-by-everybody"}}


class Wire:
    """Answers in order, the last one for ever; keeps the requests and the waits."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.waits: list[float] = []
        self.now = NOW

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answers a request."""
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    def sleep(self, seconds: float) -> None:
        """Moves the time."""
        self.waits.append(seconds)
        self.now += timedelta(seconds=seconds)

    @property
    def api(self) -> RunPodApi:
        """A client over this wire."""
        return RunPodApi("https://x/v2/", transport=httpx.MockTransport(self), clock=lambda: self.now, sleep=self.sleep)


def pods(*found: object, **more: object) -> httpx.Response:
    """A list of pods."""
    return httpx.Response(200, json={"pods": list(found), **more})


def problem(status: int, detail: str = "because", **headers: str) -> httpx.Response:
    """A refusal as RunPod words it."""
    content = json.dumps({"title": "No", "status": status, "detail": detail}).encode()
    return httpx.Response(status, content=content, headers={"content-type": "application/problem+json", **headers})

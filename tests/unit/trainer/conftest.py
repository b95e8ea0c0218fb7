"""A job's environment, and a marketplace that lives in a function."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from mp_kit.trainer.api import RunApi
from mp_kit.trainer.environment import JobEnv


def jwt(**claims: Any) -> str:
    """An unsigned token with these claims."""
    parts = [json.dumps({"alg": "HS256"}), json.dumps(claims), "signature"]
    return ".".join(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts)


@pytest.fixture
def make_jwt() -> Callable[..., str]:
    return jwt


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """What a container gets."""
    return {
        "TRAINING_SPEC": json.dumps({"round_id": "rnd_1", "task": "signal"}),
        "ROUND_ID": "rnd_1",
        "TASK": "signal",
        "DATASET_URLS": "[]",
        "MP_API_URL": "http://edge.example",
        "MP_RUN_TOKEN": jwt(sub="run_1"),
        "MP_RUN_DIR": str(tmp_path / "run"),
    }


class Market:
    """The marketplace's side of a run, in memory; it can lose requests, answers, or itself."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.beats: list[dict[str, Any]] = []
        self.outcomes: list[dict[str, Any]] = []
        self.uploads: dict[str, bytes] = {}
        self.orders: dict[str, Any] = {"command": "continue", "heartbeat_seconds": 0.05}
        self.trouble: Callable[[str], str] = lambda _: ""  # verb -> "lost" (unseen), "deaf" (done, answer lost), ""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Serves a request, or has its trouble."""
        verb = request.url.path.rpartition("/")[2]
        trouble = self.trouble(verb)
        if trouble == "lost":
            message = "refused"
            raise httpx.ConnectError(message)
        answer = self._serve(verb, request)
        if trouble == "deaf":
            return httpx.Response(502, text="bad gateway")
        return answer

    def _serve(self, verb: str, request: httpx.Request) -> httpx.Response:
        if request.method == "PUT":
            self.uploads[verb] = request.read()
            return httpx.Response(200)
        body = json.loads(request.read())
        return httpx.Response(200, json={"success": True, "data": getattr(self, f"_{verb}")(body)})

    def _heartbeat(self, body: dict[str, Any]) -> dict[str, Any]:
        self.beats.append(body)
        return self.orders

    def _logs(self, body: dict[str, Any]) -> dict[str, Any]:
        if body["seq"] <= len(self.lines):
            self.lines[body["seq"] :] = [line["text"] for line in body["lines"]] or self.lines[body["seq"] :]
        return {"next": len(self.lines)}

    def _artifacts(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"name": body["name"], "url": f"/put/{body['name']}", "expires_at": "2030-01-01T00:00:00Z"}

    def _finish(self, body: dict[str, Any]) -> dict[str, Any]:
        self.outcomes.append(body)
        return {}


@pytest.fixture
def market() -> Market:
    return Market()


@pytest.fixture
def job_env(environ: dict[str, str]) -> JobEnv:
    return JobEnv.read(environ)


@pytest.fixture
def api(job_env: JobEnv, market: Market) -> RunApi:
    return RunApi(job_env, transport=httpx.MockTransport(market))

"""What a client and the marketplace say to each other, as recorded for a version of the contracts, and said again.

An exchange has a name, who speaks (``as``), a request, and what is kept of the answer for later requests (``keep``,
place by place). ``{words}`` in a request stand for what the listener knows: ids, tokens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

Json = dict[str, Any]

BAR = "2026-01-05T10:00:00Z"
SIGNAL = {"symbol": "EURUSD", "timeframe": "1h", "decision": "BUY", "confidence": 0.75}
FULL = {"model_version": "1", "timestamp": BAR, "event_time": BAR, "rationale": ["trend"], "metadata": {"a": 1}}
THIRD = {"owner": None, "model_id": "m", "bar_ts": BAR, "meta": {"model_version": "1"}}
BEAT = {"deployment_id": "{deployment_id}", "status": "ready", "timestamp": BAR, "metrics": {"p99_ms": 3, "own": "x"}}
SPEC = {"round_id": "current", "task": "signal", "hyperparams": {"lr": 0.001}, "provider": "local"}

STEPS: list[Json] = [
    {"name": "health", "request": {"method": "GET", "path": "/api/health"}},
    {"name": "current round", "request": {"method": "GET", "path": "/api/rounds/current"}},
    {"name": "round by id", "request": {"method": "GET", "path": "/api/rounds/{round_id}"}},
    {"name": "rounds", "as": "vendor", "request": {"method": "GET", "path": "/api/rounds?limit=5"}},
    {"name": "manifest keys", "request": {"method": "GET", "path": "/api/rounds/keys"}},
    {
        "name": "signed URLs",
        "as": "vendor",
        "request": {"method": "POST", "path": "/api/datasets/signed-urls", "body": {"round_id": "current"}},
    },
    {"name": "who am I", "as": "vendor", "request": {"method": "GET", "path": "/api/vendors/me"}},
    {
        "name": "who am I, the other path",
        "as": "vendor",
        "request": {"method": "GET", "path": "/api/marketplace/vendor/me"},
    },
    {
        "name": "login",
        "request": {"method": "POST", "path": "/api/vendors/login", "body": {"api_key": "{vendor_key}"}},
    },
    {
        "name": "is a key good",
        "request": {
            "method": "POST",
            "path": "/api/marketplace/vendor/auth/validate",
            "body": {"api_key": "{vendor_key}"},
        },
    },
    {
        "name": "introspection",
        "as": "operator",
        "request": {"method": "POST", "path": "/api/tokens/introspect", "body": {"token": "{deployment_token}"}},
    },
    {
        "name": "introspection of an unknown token",
        "as": "operator",
        "request": {"method": "POST", "path": "/api/tokens/introspect", "body": {"token": "sit_unknown"}},
    },
    {
        "name": "a run is ordered",
        "as": "vendor",
        "keep": {"run_id": ["data", "run_id"]},
        "request": {
            "method": "POST",
            "path": "/api/training/runs",
            "headers": {"X-Idempotency-Key": "recorded-1"},
            "body": SPEC | {"budget": {"max_hours": 0.5}, "wandb": {"enabled": False}},
        },
    },
    {"name": "runs", "as": "vendor", "request": {"method": "GET", "path": "/api/training/runs?limit=5"}},
    {"name": "a run", "as": "vendor", "request": {"method": "GET", "path": "/api/training/runs/{run_id}"}},
    {"name": "a run's log", "as": "vendor", "request": {"method": "GET", "path": "/api/training/runs/{run_id}/logs"}},
    {
        "name": "a run is cancelled",
        "as": "vendor",
        "request": {"method": "POST", "path": "/api/training/runs/{run_id}/cancel"},
    },
    {
        "name": "a deployment",
        "as": "vendor",
        "keep": {"made_id": ["data", "deployment_id"]},
        "request": {
            "method": "POST",
            "path": "/api/deployments",
            "body": {"name": "recorded", "provider": "byoc", "cpu": 1, "memory": 2, "image": "none"},
        },
    },
    {"name": "its status", "as": "vendor", "request": {"method": "GET", "path": "/api/deployments/{made_id}/status"}},
    {
        "name": "its token",
        "as": "vendor",
        "request": {"method": "POST", "path": "/api/deployments/{made_id}/infra-token", "body": {"rotate": True}},
    },
    {
        "name": "a heartbeat",
        "as": "deployment",
        "request": {"method": "POST", "path": "/api/vendors/heartbeats", "body": BEAT},
    },
    {
        "name": "a heartbeat, the other path",
        "as": "deployment",
        "request": {"method": "POST", "path": "/api/marketplace/vendor/heartbeats", "body": BEAT | {"message": "fine"}},
    },
    {
        "name": "signals",
        "as": "deployment",
        "request": {
            "method": "POST",
            "path": "/api/signals/store",
            "headers": {"X-Idempotency-Key": "EURUSD:1h:353521440"},
            "body": [SIGNAL | FULL, SIGNAL | FULL | {"symbol": "GBPUSD", "confidence": 7}],
        },
    },
    {
        "name": "signals again",
        "as": "deployment",
        "request": {
            "method": "POST",
            "path": "/api/signals/store",
            "body": [SIGNAL | FULL, SIGNAL | FULL | {"decision": "SELL"}],
        },
    },
    {
        "name": "a signal in the third dialect",
        "as": "deployment",
        "request": {
            "method": "POST",
            "path": "/api/signals/store",
            "body": [SIGNAL | THIRD | {"symbol": "AUDUSD"}],
        },
    },
    {
        "name": "all or none",
        "as": "deployment",
        "request": {
            "method": "POST",
            "path": "/api/signals/store?atomic=true",
            "body": [SIGNAL | FULL | {"symbol": "NZDUSD", "confidence": 7}],
        },
    },
    {
        "name": "a claim that contradicts the token",
        "as": "deployment",
        "request": {
            "method": "POST",
            "path": "/api/signals/store",
            "body": [SIGNAL | FULL | {"symbol": "USDCAD", "vendor_id": "ven_other"}],
        },
    },
    {"name": "own signals", "as": "vendor", "request": {"method": "GET", "path": "/api/signals?symbol=EURUSD&limit=5"}},
    {
        "name": "a model",
        "as": "vendor",
        "keep": {"model_id": ["data", "model_id"], "version_id": ["data", "version_id"]},
        "request": {
            "method": "POST",
            "path": "/api/vendors/models",
            "body": {
                "name": "trend",
                "description": "follows",
                "task": "signal",
                "version": "1.0.0",
                "deployment_id": "{deployment_id}",
            },
        },
    },
    {
        "name": "its stage",
        "as": "vendor",
        "request": {
            "method": "PATCH",
            "path": "/api/vendors/models/{model_id}/versions/{version_id}",
            "body": {"stage": "pilot"},
        },
    },
    {"name": "own models", "as": "vendor", "request": {"method": "GET", "path": "/api/vendors/models"}},
    {"name": "catalogue", "request": {"method": "GET", "path": "/api/catalog"}},
    {
        "name": "no consensus yet",
        "request": {"method": "GET", "path": "/api/consensus/latest?symbol=NONE&timeframe=1h"},
    },
    {"name": "no token", "request": {"method": "GET", "path": "/api/training/runs"}},
    {
        "name": "a schema violation",
        "as": "vendor",
        "request": {"method": "POST", "path": "/api/training/runs", "body": {"round_id": "", "task": "poetry"}},
    },
    {
        "name": "a key is rotated",
        "request": {
            "method": "POST",
            "path": "/api/marketplace/vendor/auth/rotate",
            "body": {"current_api_key": "{vendor_key}", "reason": "recorded"},
        },
    },
]
"""A conversation that touches what a vendor needs, in an order in which it works on an empty marketplace."""

_SECRETS = {"api_key", "infra_token", "token", "session", "access_token", "url", "session_token"}
_WORD = re.compile(r"\{([a-z_]+)\}")


def load(version: str) -> Json:
    """The recorded conversation of a version."""
    path = Path(__file__).parents[2] / "contracts" / "payloads" / f"{version}.json"
    found: Json = json.loads(path.read_text(encoding="utf-8"))
    return found


def speak(edge: httpx.Client, steps: Iterable[Json], known: Mapping[str, str]) -> Iterator[tuple[Json, httpx.Response]]:
    """Says each request in turn; ``known`` has what the words stand for, tokens as ``<who>_bearer``."""
    words = dict(known)
    for step in steps:
        request = step["request"]
        who = step.get("as")
        bearer = {"Authorization": f"Bearer {words[f'{who}_bearer']}"} if who else {}
        body = {} if "body" not in request else {"json": filled(request["body"], words)}
        headers = request.get("headers", {}) | bearer
        answer = edge.request(request["method"], filled(request["path"], words), headers=headers, **body)
        for word, place in step.get("keep", {}).items():
            words[word] = _at(answer.json(), place)
        yield step, answer


def recorded(edge: httpx.Client, steps: Iterable[Json], known: Mapping[str, str]) -> list[Json]:
    """The exchanges with their answers, without a secret."""
    told = speak(edge, steps, known)
    return [step | {"status": answer.status_code, "response": masked(answer.json())} for step, answer in told]


def filled(part: Any, words: Mapping[str, str]) -> Any:
    """A request's part with its words replaced."""
    if isinstance(part, str):
        return _WORD.sub(lambda match: words[match[1]], part)
    if isinstance(part, list):
        return [filled(entry, words) for entry in part]
    return {key: filled(value, words) for key, value in part.items()} if isinstance(part, dict) else part


def masked(part: Any) -> Any:
    """An answer whose secrets and signed URLs are put out."""
    if isinstance(part, list):
        return [masked(entry) for entry in part]
    if isinstance(part, dict):
        return {
            key: "masked" if key in _SECRETS and isinstance(value, str) else masked(value)
            for key, value in part.items()
        }
    return part


def _at(body: Any, place: list[str]) -> str:
    for name in place:
        body = body[name]
    return str(body)

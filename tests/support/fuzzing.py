"""Requests that schemathesis makes up from the edge's own OpenAPI document, and what every answer must keep to."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import requests
import schemathesis
from desks import furnish, now
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from mp_kit.server.house import House
from mp_kit.server.services import rounds, vendors
from mp_kit.server.services.rounds import Draft

Headers = Mapping[str, str]

LEAKS = re.compile(
    r"Traceback \(most recent|File \"/|site-packages|\bpsycopg|\bsqlalchemy|\blitestar|\bpydantic|/home/|/usr/|/tmp/|"
    r"\bSELECT\b.+\bFROM\b|\bINSERT INTO\b|\bDELETE FROM\b|\bUPDATE\b.+\bSET\b"
)
"""What no answer holds, whoever asks: stack traces, SQL, our libraries, our files' paths."""

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
"""Not ``negative_data_rejection``: by design readers are tolerant, and batches are judged row by row."""

_MANIFEST = {
    "name": "Fuzzed",
    "timeframe": "1h",
    "symbols": ["EURUSD"],
    "horizon": 1,
    "embargo": 0,
    "source": {},
    "code_version": "1",
}
_LAST = "DELETE /api/vendors/keys"  # revokes the callers' own


@dataclass(frozen=True)
class World:
    """Who asks, and what there is to ask about.

    Args:
        url: The edge's.
        callers: Their headers, by name.
        ids: Real values of path parameters: a vendor's own things.
        secrets: What no answer may hold.
    """

    url: str
    callers: Mapping[str, Headers]
    ids: Mapping[str, str]
    secrets: Sequence[str]


def populate(edge: httpx.Client, house: House) -> World:
    """A vendor with something of everything, and a caller of each kind."""
    with house.db.begin() as tx:
        vendor = vendors.create(tx, house.tokens, "fuzzed", actor="test")
        round_id = rounds.publish(tx, house.signer, Draft(dict(_MANIFEST), []), actor="test").round_id
    bearing = {"Authorization": f"Bearer {vendor.api_key}"}
    own = furnish(house, vendor.vendor_id)

    def make(path: str, body: Any) -> dict[str, Any]:
        response = edge.post(path, json=body, headers=bearing)
        assert 200 == response.status_code, response.text
        return dict(response.json()["data"])

    placed = make("/api/deployments", {"name": "asking", "provider": "byoc"})
    hook = make("/api/vendors/webhooks", {"url": "http://127.0.0.1:9999/", "events": ["run.finished"]})
    spare = make("/api/vendors/keys", {"name": "spare"})
    run_token = house.tokens.run_token(own.running, vendor.vendor_id, now() + timedelta(hours=1))
    tokens = {"vendor": vendor.api_key, "deployment": placed["infra_token"], "run": run_token}
    tokens["operator"] = house.settings.service_key
    callers = {name: {"Authorization": f"Bearer {token}"} for name, token in tokens.items()}
    ids = {"deployment_id": own.deployment, "model_id": own.model, "version": "1", "run_id": own.running}
    ids |= {"webhook_id": hook["id"], "key_id": spare["key_id"], "round_id": round_id, "name": "runpod"}
    known = house.settings
    hidden = [known.token_pepper, known.jwt_secret, known.service_key, known.url_key, known.database_url]
    return World(str(edge.base_url), {**callers, "nobody": {}}, ids, [*hidden, *tokens.values(), str(known.home)])


def operations(url: str) -> list[Any]:
    """All operations of the document; those that remove what others are about come last."""
    load_all_checks()
    schema = schemathesis.openapi.from_url(f"{url.rstrip('/')}/openapi.json")
    found = [one.ok() for one in schema.get_all_operations()]
    return sorted(found, key=lambda one: (one.label == _LAST, one.method == "delete"))


def play(world: World, operation: Any, examples: int) -> set[tuple[str, int]]:
    """Sends made-up requests to one operation; gives who got which status.

    Each good request about the vendor's own things is sent by every kind of caller, one about nobody's by those who
    get far, a bad one by those whom the operation lets in.

    Args:
        world: Who asks, and about what.
        operation: Of the document.
        examples: Requests of each sort.
    """
    own = {one.name: world.ids[one.name] for one in operation.path_parameters if one.name in world.ids}
    good = operation.as_strategy(generation_mode=GenerationMode.POSITIVE, path_parameters=own or None)
    bad = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE, path_parameters=own or None)
    with requests.Session() as session:
        answers = _send(session, world, good, sorted(world.callers), examples)
        if operation.definition.raw["security"]:
            assert {401} == {status for caller, status in answers if caller == "nobody"}, operation.label
        if own:
            foreign = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
            answers |= _send(session, world, foreign, ["vendor", "operator"], (examples + 1) // 2)
        welcome = sorted({caller for caller, status in answers if status not in {401, 403}})
        with contextlib.suppress(Unsatisfiable):  # where nothing is taken, nothing can be bad
            answers |= _send(session, world, bad, welcome or ["nobody"], examples)
    return answers


def _send(
    session: requests.Session, world: World, cases: Any, callers: Sequence[str], examples: int
) -> set[tuple[str, int]]:
    answers: set[tuple[str, int]] = set()

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def send(case: Case) -> None:
        for caller in callers:
            response = case.call(session=session, headers=dict(world.callers[caller]), timeout=30)
            answers.add((caller, response.status_code))
            _judge(case, response, world)

    send()
    return answers


def _judge(case: Case, response: Any, world: World) -> None:
    case.validate_response(response, checks=CHECKS)
    told = f"{dict(response.headers)} {response.content.decode(errors='replace')}"
    assert not (leak := LEAKS.search(told)), f"{case.operation.label} leaks {leak[0]!r}: {told[:500]}"
    for secret in world.secrets:
        assert secret not in told, f"{case.operation.label} tells a secret"
    assert "x-request-id" in response.headers

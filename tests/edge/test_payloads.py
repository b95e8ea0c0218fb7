"""Clients of 0.1 and 0.2, as recorded, at the edge of today; and their marketplaces' answers in today's models."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import conversation
import httpx
import pytest
from jsonschema import Draft202012Validator
from release import versions

from mp_kit.contracts import CONTRACTS_VERSION
from mp_kit.contracts.export import models
from mp_kit.server.house import House
from mp_kit.server.services import rounds
from tests.edge.test_rounds import PAYLOAD, draft

Json = dict[str, Any]

KEPT = versions.load()
MODELS = models()
_ENVELOPE = re.compile(r"^(Success|Listing_list)_(\w+?)_$")


@pytest.fixture
def known(edge_house: House, vendor: SimpleNamespace, deployment: SimpleNamespace) -> dict[str, str]:
    """A vendor with a deployment, a published round, the operator's key."""
    with edge_house.db.begin() as tx:
        published = rounds.publish(tx, edge_house.signer, draft(edge_house, PAYLOAD), actor="test")
    return {
        "vendor_id": vendor.id,
        "vendor_key": vendor.key,
        "vendor_bearer": vendor.key,
        "deployment_id": deployment.id,
        "deployment_token": deployment.token,
        "deployment_bearer": deployment.token,
        "round_id": published.round_id,
        "operator_bearer": edge_house.settings.service_key,
    }


def answers(record: Json, request: Json) -> Json:
    """What a record says of a good answer to a request, as a JSON Schema."""
    path = request["path"].partition("?")[0]
    found = next(
        (
            route["answers"]["200"]["application/json"]
            for name, route in record["routes"].items()
            if name.startswith(f"{request['method']} ") and _matches(name.partition(" ")[2], path)
        ),
    )
    return {**_rooted(found), "$defs": _rooted(record["output"])}


def _matches(template: str, path: str) -> bool:
    return bool(re.fullmatch(re.sub(r"\{[^}]*\}", "[^/]+", template), path))


def _rooted(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_rooted(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: f"#/$defs/{value}" if key == "$ref" and isinstance(value, str) else _rooted(value)
        for key, value in schema.items()
    }


def violations(schema: Json, body: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(body)]


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
def test_old_client_is_served(version: str, edge: httpx.Client, known: dict[str, str]):
    """Each request gets the status that it got then, and an answer in which the client finds what it reads."""
    told, wrong = conversation.load(version), []
    for exchange, answer in conversation.speak(edge, told["exchanges"], known):
        if exchange["status"] != answer.status_code:
            wrong.append(f"{exchange['name']}: was {exchange['status']}, now {answer.status_code}: {answer.text[:300]}")
        elif "expects" in exchange or answer.status_code == 200:
            expected = exchange.get("expects") or answers(KEPT[version], exchange["request"])
            wrong += [f"{exchange['name']}: {one}" for one in violations(expected, answer.json())]
    assert [] == wrong


def test_todays_answers_are_as_recorded(edge: httpx.Client, known: dict[str, str], tmp_path: Path):
    """What the edge says fits what is recorded of it: the record is no wish.

    ``MP_RECORD_PAYLOADS=FILE`` keeps the conversation for the day when its clients are old ones.
    """
    exchanges, wrong = conversation.recorded(edge, conversation.STEPS, known), []
    for exchange in exchanges:
        if exchange["status"] == 200:
            found = violations(answers(KEPT[CONTRACTS_VERSION], exchange["request"]), exchange["response"])
            wrong += [f"{exchange['name']}: {one}" for one in found]
    assert [] == wrong
    about = {"version": CONTRACTS_VERSION, "origin": "said to and answered by the edge over HTTP"}
    text = json.dumps(about | {"exchanges": exchanges}, indent=1)
    Path(os.environ.get("MP_RECORD_PAYLOADS", tmp_path / "payloads.json")).write_text(text + "\n", encoding="utf-8")


def read(exchanges: list[Json]) -> Iterator[tuple[str, Any]]:
    """Recorded good answers whose data is a contract of today, and that contract."""
    for exchange in exchanges:
        if exchange["status"] == 200 and "response" in exchange:
            schema = answers(KEPT[CONTRACTS_VERSION], exchange["request"])
            match = _ENVELOPE.match(schema.get("$ref", "").removeprefix("#/$defs/"))
            data = exchange["response"].get("data")
            if match and match[2] in MODELS:
                rows = data if match[1].startswith("Listing") else [data]
                yield from ((exchange["name"], (MODELS[match[2]], row)) for row in rows)


@pytest.mark.parametrize(("version", "least"), [("0.1.0", 3), ("0.2.0", 20)])
def test_old_answers_are_read(version: str, least: int):
    """By today's models, as a client of today does against an older marketplace."""
    found = list(read(conversation.load(version)["exchanges"]))
    assert least <= len(found)
    for _, (model, row) in found:
        model.model_validate(row)


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
def test_recordings_hold_no_secret(version: str):
    """Neither a key, a token, a signed URL, nor a place of ours."""
    text = json.dumps(conversation.load(version))
    assert [] == re.findall(r"(?:vk|sit|ac)_[A-Za-z0-9]{6,}_\w{20,}|eyJ\w{10,}|127\.0\.0\.1|[?&]sig", text)

"""The contracts of the running code as one JSON document: what clients can depend on, and no wording.

1. Routes come from the edge's own OpenAPI document; models come from pydantic, once as what is accepted (``input``)
   and once as what is answered (``output``), because a change means the opposite in each.
2. Models that no route names, because they travel elsewhere (a vendor's server, a container's environment, a file),
   stand in :data:`ELSEWHERE` with their direction.
3. Descriptions, titles and examples are left out: they may change any day.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from mp_kit import errors
from mp_kit.contracts import CONTRACTS_VERSION, headers
from mp_kit.contracts import webhook_signatures as signatures
from mp_kit.contracts.export import models

Json = dict[str, Any]

ELSEWHERE = {
    "CatalogEntry": "output",  # the catalogue is answered from a cache of bytes
    "ConsensusInferRequest": "output",  # the marketplace asks a vendor's server
    "ConsensusInferResponse": "input",
    "Health": "input",
    "InferRequest": "output",
    "InferResponse": "input",
    "OptimizerInferRequest": "output",
    "OptimizerInferResponse": "input",
    "OptimizerWrite": "input",
    "ReceiptBody": "output",  # inside a signed receipt
    "RunLogs": "output",  # beside the stream, which OpenAPI cannot tell
    "TrainingSpec": "output",  # TRAINING_SPEC in a container's environment
}
"""Contracts that no route's document names: which way they go, seen from the marketplace."""

BASES = {"Listing", "PollWish", "Success"}
"""Parts of other contracts: they are recorded where those use them."""

NOTICE = ("Deprecation", "Sunset", "Link")
"""What a deprecated route sends with each good answer: RFC 9745, RFC 8594, and where the protocol is told."""

_WORDS = {"title", "description", "examples", "example", "$comment", "summary", "deprecated"}
_METHODS = {"get", "put", "post", "delete", "patch", "head"}
_REF = re.compile(r"^#/components/schemas/(.+)$")
_NOWHERE = "postgresql://nobody@127.0.0.1:1/none"
"""A house opens its database when it is first asked, and a document asks nothing of it."""


def record(document: Json | None = None) -> Json:
    """The contracts of this code; the edge's OpenAPI document may be given, as it takes seconds."""
    document = document or openapi()
    components = document["components"]["schemas"]
    accepted, answered = set(_names(ELSEWHERE, "input")), set(_names(ELSEWHERE, "output"))
    accepted |= reached(components, (part for _, _, operation in operations(document) for part in _asked(operation)))
    answered |= reached(components, (operation["responses"] for _, _, operation in operations(document)))
    return {
        "version": CONTRACTS_VERSION,
        "routes": {f"{method} {path}": _route(operation) for method, path, operation in operations(document)},
        "input": _schemas(components, accepted, "validation"),
        "output": _schemas(components, answered, "serialization"),
        "roots": dict(sorted(ELSEWHERE.items())),
        "errors": {code: cls.http for code, cls in sorted(errors.BY_CODE.items()) if code != "error"},
        "headers": sorted({value for module in (headers, signatures) for value in _headers(module)}),
    }


def openapi() -> Json:
    """The edge's OpenAPI document, without a database."""
    from litestar import Litestar
    from litestar.serialization import decode_json, encode_json

    from mp_kit.server import settings, wiring
    from mp_kit.server.edge import app, schema

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        settings.ensure_secrets(home)
        house = wiring.build_edge(settings.load(home, {"MP_DATABASE_URL": _NOWHERE}))
        try:
            edge = app.create_app(house)
            while not isinstance(edge, Litestar):
                edge = edge._app  # noqa: SLF001 - the layers around the framework know no document
            document = schema.build(edge)
            told = encode_json(document, serializer=_plain)
        finally:
            house.close()
    found: Json = decode_json(told)
    return found


def unannounced(document: Json) -> list[str]:
    """Routes that are deprecated and do not say in their good answers since when, until when, and where to read."""
    found = []
    for method, path, operation in operations(document):
        if operation.get("deprecated"):
            good = [told for status, told in operation["responses"].items() if status.startswith("2")]
            missing = [name for name in NOTICE if not all(name in told.get("headers", {}) for told in good)]
            if missing:
                found.append(f"{method} {path} is deprecated and sends no {', no '.join(missing)}")
    return found


def operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    """Method, path and operation of each route, sorted."""
    for path, item in sorted(document["paths"].items()):
        for method, operation in sorted(item.items()):
            if method in _METHODS:
                yield method.upper(), path, operation


def reached(components: Json, parts: Iterable[Any]) -> set[str]:
    """Names of the components that parts of a document refer to, however deep."""
    found: set[str] = set()
    waiting = {name for part in parts for name in _refs(part)}
    while waiting:
        name = waiting.pop()
        found.add(name)
        waiting |= set(_refs(components.get(name, {}))) - found
    return found


def without_words(schema: Any) -> Any:
    """A schema without titles, descriptions and examples; properties with such names stay."""
    if isinstance(schema, list):
        return [without_words(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {}
    for key, value in schema.items():
        if key in {"properties", "$defs", "patternProperties"}:
            kept[key] = {name: without_words(entry) for name, entry in value.items()}
        elif key in {"default", "const", "enum"}:
            kept[key] = value
        elif key not in _WORDS:
            kept[key] = without_words(value)
    return kept


def _route(operation: Json) -> Json:
    body = operation.get("requestBody", {})
    good = {status: told for status, told in operation["responses"].items() if status.startswith("2")}
    return {
        "token": bool(operation["security"]),
        "deprecated": operation.get("deprecated", False),
        "parameters": {
            f"{entry['in']} {entry['name']}": {
                "required": entry.get("required", False),
                "schema": _short(entry.get("schema", {})),
            }
            for entry in operation.get("parameters", [])
        },
        "body": {
            "required": body.get("required", False),
            "content": {kind: _short(told.get("schema", {})) for kind, told in body.get("content", {}).items()},
        },
        "answers": {
            status: {kind: _short(entry.get("schema", {})) for kind, entry in told.get("content", {}).items()}
            for status, told in good.items()
        },
        "refusals": sorted(set(operation["responses"]) - set(good)),
    }


def _asked(operation: Json) -> tuple[Any, Any]:
    return operation.get("parameters"), operation.get("requestBody")


def _schemas(components: Json, names: set[str], mode: Any) -> Json:
    """Models by pydantic; envelopes and vocabularies that only routes name by the edge's document."""
    wanted = [(model, mode) for name, model in models().items() if name in names]
    _, told = models_json_schema(wanted, ref_template="{model}")
    found = {name: without_words(schema) for name, schema in told.get("$defs", {}).items()}
    found |= {name: _short(components[name]) for name in names - set(found)}
    return dict(sorted(found.items()))


def _short(schema: Any) -> Any:
    """References as bare names, no words."""
    bare = without_words(schema)
    if isinstance(bare, dict):
        ref = bare.get("$ref")
        match = _REF.match(ref) if isinstance(ref, str) else None
        return {key: match[1] if match and key == "$ref" else _short(value) for key, value in bare.items()}
    return [_short(entry) for entry in bare] if isinstance(bare, list) else bare


def _refs(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        for key, value in part.items():
            match = _REF.match(value) if key == "$ref" and isinstance(value, str) else None
            if match:
                yield match[1]
            else:
                yield from _refs(value)
    elif isinstance(part, list):
        for entry in part:
            yield from _refs(entry)


def _names(table: dict[str, str], direction: str) -> Iterator[str]:
    return (name for name, way in table.items() if way == direction)


def _headers(module: Any) -> Iterator[str]:
    return (value for name, value in vars(module).items() if name.endswith("_HEADER"))


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return str(value)

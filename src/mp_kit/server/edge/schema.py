"""OpenAPI 3.1 as the edge really behaves: its envelope of errors, who may call what, and the bodies read raw.

The framework derives paths, parameters, bodies and good answers from the handlers' types; what it cannot know is added
here: our statuses (422, not 400, for a schema violation), security per route, bodies of rows, and the manifest's bytes.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from pydantic.json_schema import models_json_schema

from mp_kit.contracts import (
    RATE_LIMIT_HEADER,
    RATE_REMAINING_HEADER,
    RATE_RESET_HEADER,
    ConsensusWrite,
    Failure,
    Manifest,
    SignalWrite,
)
from mp_kit.server.edge.bodies import ARROW, NDJSON

Document = dict[str, Any]

_SAID = {
    "400": "The body is not JSON.",
    "401": "No token, or one that is unknown or expired.",
    "403": "Known, but not allowed.",
    "404": "Absent, or another vendor's.",
    "409": "The present state forbids it, or the idempotency key was used with another body.",
    "413": "The body is too large.",
    "415": "The route does not take this content type.",
    "422": "The request does not fit the contract; `details` says where.",
    "429": "Too often, or too many at once; `Retry-After` says when to come back.",
    "501": "The contract names this route; this release does not have it yet.",
    "502": "What is stored does not open any more; the hint says what mends it.",
    "503": "A dependency is down; `Retry-After` says when to come back.",
}
_LIMITED = {
    name: {"description": said, "schema": {"type": "integer", "minimum": 0}}
    for name, said in {
        "Retry-After": "Seconds after which the next request passes.",
        RATE_LIMIT_HEADER: "Requests that the limit has.",
        RATE_REMAINING_HEADER: "Requests that still pass at once.",
        RATE_RESET_HEADER: "Unix time at which all of the limit is there again.",
    }.items()
}
_METHODS_WITH_BODY = {"post", "put", "patch"}
_HEALTH = "/api/health"
_SIGNALS = "/api/signals/store"
_CONSENSUS = "/api/consensus/store"
_MANIFEST = "/api/rounds/{round_id}/manifest"
_ALSO = {  # what only these routes answer
    ("put", "/api/vendors/connections/{name}"): ["502"],
    ("post", "/api/vendors/connections/{name}/test"): ["502"],
    ("delete", "/api/vendors/connections/{name}"): ["409"],
    ("delete", "/api/vendors/keys"): ["409"],
    ("delete", "/api/vendors/keys/{key_id}"): ["409"],
    ("post", "/api/vendors/webhooks/{webhook_id}/rotate"): ["502"],
}


def build(app: Litestar) -> Document:
    """The document of an app."""
    document: Document = app.openapi_schema.to_schema()
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    _, extra = models_json_schema(
        [
            (Failure, "serialization"),
            (Manifest, "serialization"),
            (SignalWrite, "validation"),
            (ConsensusWrite, "validation"),
        ],
        ref_template="#/components/schemas/{model}",
    )
    schemas.update(extra["$defs"])
    told = _told(app)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if "operationId" in operation:
                private, description = told[operation["operationId"]]
                operation |= {"summary": description.partition("\n")[0], "description": description}
                _complete(path, method, operation, private=private)
    arrow = {ARROW: {"schema": {"type": "string", "format": "binary"}}}
    document["paths"][_SIGNALS]["post"]["requestBody"] = _rows("SignalWrite", arrow)
    document["paths"][_CONSENSUS]["post"]["requestBody"] = _rows("ConsensusWrite", {})
    signed = {"application/json": {"schema": {"$ref": "#/components/schemas/Manifest"}}}  # bytes, as they were signed
    document["paths"][_MANIFEST]["get"]["responses"]["200"]["content"] = signed
    document.pop("security", None)
    return document


def _rows(model: str, beside: Document) -> Document:
    """A body of rows."""
    one = {"$ref": f"#/components/schemas/{model}"}
    listed = {"application/json": {"schema": {"type": "array", "items": one}}, NDJSON: {"schema": one}}
    return {"required": True, "content": listed | beside}


def _told(app: Litestar) -> dict[str, tuple[bool, str]]:
    """Per operation: whether its handler has a guard, and what its docstring says."""
    paths = app.openapi_schema.paths or {}
    found: dict[str, tuple[bool, str]] = {}
    for route in app.routes:
        for handler in getattr(route, "route_handlers", []):
            if not isinstance(handler, HTTPRouteHandler):
                continue
            function = getattr(handler.fn, "func", handler.fn)  # the framework wraps sync functions for its threads
            for method in handler.http_methods:
                operation = getattr(paths.get(route.path_format), method.lower(), None)
                if operation is not None and operation.operation_id:
                    found[operation.operation_id] = (bool(handler.guards), inspect.getdoc(function) or "")
    return found


def _complete(path: str, method: str, operation: Document, *, private: bool) -> None:
    responses = operation.setdefault("responses", {})
    responses.pop("400", None)
    for status in _statuses(path, method, operation, private=private):
        responses[status] = {
            "description": _SAID[status],
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Failure"}}},
        }
    if "429" in responses:
        responses["429"]["headers"] = _LIMITED
    operation["security"] = [{"bearer": []}] if private else []
    operation["operationId"] = "_".join([method, *re.findall(r"\w+", path.removeprefix("/api"))])


def _statuses(path: str, method: str, operation: Document, *, private: bool) -> list[str]:
    statuses = ["503"] if path.startswith(_HEALTH) else ["429", "503"]
    if private:
        statuses += ["401", "403"]
    if "{" in path or path.endswith("latest"):
        statuses.append("404")
    if operation.get("parameters"):
        statuses.append("422")
    if method in _METHODS_WITH_BODY:
        statuses += ["400", "401", "404", "409", "413", "415", "422"]
    statuses += _ALSO.get((method, path), [])
    return sorted(set(statuses))

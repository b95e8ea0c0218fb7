"""A second opinion on each request: RunPod's own OpenAPI document, where the test has it.

The document is RunPod's and is not shipped with mp-kit; pass its path. Needs ``jsonschema``.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mp_kit.errors import MissingExtraError

if TYPE_CHECKING:
    from mp_kit.testing.fake_runpod.api import Call

__all__ = ["OpenApi", "stray_parameters"]

_LATER_BODY = {"entrypoint", "cmd"}
_LATER_GPU = {"minRamPerGpu", "minVcpuCountPerGpu"}
_URN = "urn:runpod"

_BILLING = {"startTime", "endTime", "bucketSize", "lastN"}
_KNOWN = {
    r"/pods": {"includeClusterPods", "cursor", "limit"},  # the last two came after the published contract
    r"/pods/[^/]+/logs": {"source", "tail", "since"},
    r"/serverless/[^/]+/workers/[^/]+/logs": {"source", "tail", "since"},
    r"/catalog/gpus(/.+)?": {
        *("include", "product", "count", "cloud", "countryCodes", "cudaVersions", "minCudaVersion")
    },
    r"/catalog/cpus(/.+)?": {"include", "product", "vcpuCount"},
    r"/catalog/datacenters(/.+)?": {"include", "regions", "networkVolumeTypes", "compliance", "globalNetwork"},
    r"/billing/pods": {*_BILLING, "podId"},
    r"/billing/serverless": {*_BILLING, "serverlessId"},
}


def stray_parameters(call: Call) -> list[str]:
    """Query parameters that the API ignores without a word: a filter that does not filter is a mistake."""
    if call.path.startswith("/./"):
        return []  # an endpoint's or a pod's own URL: its server's business
    known = next((names for pattern, names in _KNOWN.items() if re.fullmatch(pattern, call.path)), set[str]())
    return [f"the query parameter {name!r} is unknown and would be ignored" for name in call.query if name not in known]


class OpenApi:
    """The document.

    Args:
        path: Of its JSON file.

    Raises:
        MissingExtraError: ``jsonschema`` is not installed.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._schemas = importlib.import_module("jsonschema")
            referencing = importlib.import_module("referencing")
        except ImportError as error:
            raise MissingExtraError(
                "Checking requests against an OpenAPI document needs jsonschema.", hint="pip install jsonschema"
            ) from error
        self._document = json.loads(path.read_text())
        draft = importlib.import_module("referencing.jsonschema").DRAFT202012
        resource = referencing.Resource.from_contents(self._document, default_specification=draft)
        self._registry = referencing.Registry().with_resource(_URN, resource)

    def broken_by(self, call: Call, *, later: bool) -> list[str]:
        """What a request's body, query and headers break; nothing for what the document does not have."""
        found = self._operation(call.method, call.path)
        if not found:
            return [] if call.path.startswith("/./") else [f"the contract has no {call.method} {call.path}"]
        template, operation = found
        body = _without_later(call.json()) if later else call.json()
        place = ("paths", template, call.method.lower(), "requestBody", "content", "application/json", "schema")
        errors = self._errors(place, body) if "requestBody" in operation else []
        return errors + self._parameters(operation, call.query)

    def broken_answer(self, method: str, path: str, status: int, body: Any) -> list[str]:
        """What an answer breaks; used to check the fake itself."""
        found = self._operation(method, path)
        if not found:
            return [f"the contract has no {method} {path}"]
        template, operation = found
        key = str(status) if str(status) in operation["responses"] else "default"
        response = operation["responses"][key]
        place: tuple[str, ...] = ("paths", template, method.lower(), "responses", key)
        if "$ref" in response:
            place = tuple(response["$ref"].removeprefix("#/").split("/"))
            response = self._document["components"]["responses"][place[-1]]
        kinds = list(response.get("content", {}))
        return self._errors((*place, "content", kinds[0], "schema"), body) if kinds else []

    def _operation(self, method: str, path: str) -> tuple[str, dict[str, Any]] | None:
        for template, operations in self._document["paths"].items():
            pattern = re.sub(r"\{[^}]+\}", "[^/]+", template)
            if re.fullmatch(pattern, f"/v2{path}") and method.lower() in operations:
                return template, operations[method.lower()]
        return None

    def _parameters(self, operation: Mapping[str, Any], query: Mapping[str, str]) -> list[str]:
        errors = []
        for entry in operation.get("parameters", []):
            name, schema = self._parameter(entry)
            if name in query:
                errors += [f"{name}: {error}" for error in self._plain(schema, _typed(query[name], schema))]
        return errors

    def _parameter(self, entry: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        if "$ref" in entry:
            entry = self._document["components"]["parameters"][entry["$ref"].rpartition("/")[2]]
        return entry["name"], entry["schema"]

    def _errors(self, place: tuple[str, ...], value: Any) -> list[str]:
        pointer = "/".join(part.replace("~", "~0").replace("/", "~1").replace("{", "%7B") for part in place)
        return self._plain({"$ref": f"{_URN}#/{pointer.replace('}', '%7D')}"}, value)

    def _plain(self, schema: Mapping[str, Any], value: Any) -> list[str]:
        text = json.dumps(schema).replace('"#/components', f'"{_URN}#/components')
        validator = self._schemas.Draft202012Validator(json.loads(text), registry=self._registry)
        return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


def _typed(text: str, schema: Mapping[str, Any]) -> Any:
    kind = schema.get("type")
    if kind == "array":
        return text.split(",")
    if kind == "integer" and text.lstrip("-").isdigit():
        return int(text)
    return {"true": True, "false": False}.get(text, text) if kind == "boolean" else text


def _without_later(body: Any) -> Any:
    if not isinstance(body, dict):
        return body
    kept = {key: value for key, value in body.items() if key not in _LATER_BODY}
    if isinstance(kept.get("gpu"), dict):
        kept["gpu"] = {key: value for key, value in kept["gpu"].items() if key not in _LATER_GPU}
    return kept

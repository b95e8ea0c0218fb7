"""What every exchange keeps: envelope, codes, headers, versions."""

from __future__ import annotations

import re
from types import SimpleNamespace

import httpx
import pytest

from mp_kit.contracts import CONTRACTS_VERSION


def failure(response: httpx.Response) -> tuple[int, str]:
    """Status and code, after checking the envelope."""
    body = response.json()
    assert body["success"] is False
    assert isinstance(body["error"], str)
    assert body["error"]
    assert response.headers["X-Request-Id"] == body["request_id"]
    assert "Traceback" not in response.text
    return response.status_code, body["code"]


def test_health_is_not_enveloped(edge: httpx.Client):
    """Health is the one answer without data: old monitors read its fields."""
    body = edge.get("/api/health").json()
    assert {"success", "service", "version", "timestamp", "status"} == set(body)
    assert (True, "healthy") == (body["success"], body["status"])
    assert body["timestamp"].endswith("Z")


def test_without_a_token_the_hint_is_to_sign_in(edge: httpx.Client):
    """A person reads it on a shell: the command stands beside the header's name."""
    answer = edge.get("/api/vendors/me")
    assert (401, "unauthorized") == failure(answer)
    assert "Nobody is signed in" in answer.json()["error"]
    assert "`mp login`" in answer.json()["hint"]


def test_every_answer_names_the_contracts_version(edge: httpx.Client):
    """Good answers, errors and unknown routes alike."""
    for path in ("/api/health", "/api/rounds/current", "/nowhere", "/files/x"):
        assert CONTRACTS_VERSION == edge.get(path).headers["X-Marketplace-Contracts-Version"]


@pytest.mark.parametrize(("sent", "echoed"), [("abc-1.2_3", True), ("bad id", False), ("x" * 65, False)])
def test_request_id_is_echoed_when_sane(edge: httpx.Client, sent: str, echoed: bool):
    """A sane id comes back, another is replaced."""
    got = edge.get("/api/health", headers={"X-Request-Id": sent}).headers["X-Request-Id"]
    assert echoed == (got == sent)


@pytest.mark.parametrize("version", ["0.1.0", "0.2", "0.9.3", "v0.1.5"])
def test_supported_versions_pass(edge: httpx.Client, version: str):
    """Every 0.x client is served."""
    headers = {"X-Marketplace-Contracts-Version": version}
    assert 200 == edge.get("/api/health", headers=headers).status_code


@pytest.mark.parametrize("version", ["1.0.0", "2.3", "banana", "0.0.9"])
def test_unsupported_versions_are_refused_by_range(edge: httpx.Client, version: str):
    """The refusal names what is supported."""
    response = edge.get("/api/health", headers={"X-Marketplace-Contracts-Version": version})
    assert (422, "contracts_version_unsupported") == failure(response)
    assert "0.1.0" in response.text


BAD_TOKENS = {
    "none": None,
    "not bearer": "Basic dXNlcjpwYXNz",
    "empty": "Bearer",
    "malformed": "Bearer sit_test_token",
    "unknown": "Bearer vk_0123456789abcdef_" + "x" * 43,
    "a JWT of nobody": "Bearer a.b.c",
    "huge": "Bearer " + "x" * 10_000,
}


@pytest.mark.parametrize("name", BAD_TOKENS)
def test_bad_tokens_are_401(edge: httpx.Client, name: str):
    """No, malformed and unknown tokens alike: 401 with a hint, and how to authenticate."""
    headers = {"Authorization": BAD_TOKENS[name]} if BAD_TOKENS[name] else {}
    response = edge.get("/api/vendors/me", headers=headers)
    assert (401, "unauthorized") == failure(response)
    assert "Bearer" == response.headers["WWW-Authenticate"]


def test_malformed_json_is_400(edge: httpx.Client, vendor: SimpleNamespace):
    """Not JSON at all."""
    headers = {**vendor.headers, "Content-Type": "application/json"}
    response = edge.post("/api/datasets/signed-urls", content=b"{bad", headers=headers)
    assert (400, "malformed_json") == failure(response)


def test_schema_violation_is_422_with_details(edge: httpx.Client, vendor: SimpleNamespace):
    """Each finding says where and what, all at once."""
    body = {"round_id": "", "task": "gamble", "budget": {"max_hour": 1}}
    response = edge.post("/api/training/runs", json=body, headers=vendor.headers)
    assert (422, "invalid_input") == failure(response)
    assert {"round_id", "task", "budget"} == {detail["loc"][0] for detail in response.json()["details"]}


def test_missing_body_is_422(edge: httpx.Client, vendor: SimpleNamespace):
    """A POST without its body says that it is missing."""
    response = edge.post("/api/datasets/signed-urls", headers=vendor.headers)
    assert (422, "invalid_input") == failure(response)


def test_wrong_content_type_is_415(edge: httpx.Client, vendor: SimpleNamespace):
    """XML is not for us."""
    headers = {**vendor.headers, "Content-Type": "application/xml"}
    response = edge.post("/api/datasets/signed-urls", content=b"<a/>", headers=headers)
    assert (415, "unsupported_media_type") == failure(response)


def test_unknown_route_and_method(edge: httpx.Client):
    """404 and 405 keep the envelope too."""
    assert (404, "route_not_found") == failure(edge.get("/api/nothing"))
    assert (405, "method_not_allowed") == failure(edge.delete("/api/health"))


def test_naive_time_in_a_query_is_422(edge: httpx.Client, vendor: SimpleNamespace):
    """A time without a zone is refused and says why."""
    response = edge.get("/api/signals", params={"from": "2026-01-01T00:00:00"}, headers=vendor.headers)
    assert (422, "invalid_input") == failure(response)
    assert "zone" in response.text


def test_openapi_tells_every_route(edge: httpx.Client):
    """OpenAPI 3.1 from the same models, and a page for people."""
    schema = edge.get("/openapi.json").json()
    assert schema["openapi"].startswith("3.1")
    assert {"/api/health", "/api/signals/store", "/api/training/runs"} <= set(schema["paths"])
    assert "/api/signals/store" in edge.get("/docs").text


def test_openapi_says_who_may_call_and_what_errors_look_like(edge: httpx.Client):
    """Security per route, our envelope of errors, 422 for schema violations, and the body of signals."""
    paths = edge.get("/openapi.json").json()["paths"]
    assert [{"bearer": []}] == paths["/api/training/runs"]["post"]["security"]
    assert [] == paths["/api/catalog"]["get"]["security"]
    answers = paths["/api/training/runs"]["post"]["responses"]
    assert {"200", "400", "401", "403", "404", "409", "413", "415", "422", "429", "503"} == set(answers)
    assert "Failure" in answers["422"]["content"]["application/json"]["schema"]["$ref"]
    assert "SignalWrite" in str(paths["/api/signals/store"]["post"]["requestBody"])
    assert "ConsensusWrite" in str(paths["/api/consensus/store"]["post"]["requestBody"])
    exchange = paths["/api/marketplace/vendor/auth/exchange"]["post"]
    assert ([], True) == (exchange["security"], {"200", "401", "422"} <= set(exchange["responses"]))


def test_openapi_references_resolve(edge: httpx.Client):
    """Every $ref leads to a schema that is there."""
    document = edge.get("/openapi.json").json()
    operations = [op["operationId"] for item in document["paths"].values() for op in item.values()]
    assert len(operations) == len(set(operations))
    assert "post_signals_store" in operations
    assert not [op for item in document["paths"].values() for op in item.values() if not op["summary"]]
    names = set(re.findall(r"#/components/schemas/([^\"']+)", str(document)))
    assert names <= set(document["components"]["schemas"])

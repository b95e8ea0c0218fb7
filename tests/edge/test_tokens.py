"""Tokens over HTTP: the guide's own commands, expiry, revocation, other vendors."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import httpx
import jwt
import pytest
from sqlalchemy import text

from mp_kit.server.house import House
from mp_kit.server.services import revocation, vendors
from mp_kit.server.services.tokens import CACHE_ENTRIES

UNKNOWN = "sit_0123456789abcdef_" + "A" * 43


def introspect(edge: httpx.Client, token: str) -> dict[str, object]:
    """What the marketplace says of a token, asked as the guide asks."""
    response = edge.post("/api/tokens/introspect", json={"token": token})
    assert 200 == response.status_code
    data: dict[str, object] = response.json()["data"]
    return data


def test_introspect_good_token(edge: httpx.Client, deployment: SimpleNamespace, vendor: SimpleNamespace):
    """Vendor, deployment, scope and end of a good token."""
    told = introspect(edge, deployment.token)
    assert (True, vendor.id, deployment.id) == (told["active"], told["vendor_id"], told["deployment_id"])
    assert {"scope", "expires_at"} <= set(told)


@pytest.mark.parametrize("token", ["sit_test_token", UNKNOWN, "", "vk_", "a.b.c", "sit_\u00e9"])
def test_introspect_unknown_or_malformed(edge: httpx.Client, token: str):
    """Not an error: just not active."""
    assert {"active": False} == introspect(edge, token)


def test_introspect_by_bearer(edge: httpx.Client, deployment: SimpleNamespace):
    """The token itself may ask about itself."""
    response = edge.post("/api/tokens/introspect", json={}, headers=deployment.headers)
    assert response.json()["data"]["deployment_id"] == deployment.id


def test_expired_token(edge: httpx.Client, edge_house: House, deployment: SimpleNamespace):
    """Expired: 401 with a code of its own, and not active."""
    with edge_house.db.begin() as tx:
        tx.execute(
            text("UPDATE deployment_tokens SET expires_at = now() - interval '1 second' WHERE deployment_id = :id"),
            {"id": deployment.id},
        )
    response = edge.post("/api/signals/store", json=[], headers=deployment.headers)
    assert (401, "token_expired") == (response.status_code, response.json()["code"])
    assert {"active": False} == introspect(edge, deployment.token)


def test_wrong_secret_under_a_known_id(edge: httpx.Client, vendor: SimpleNamespace):
    """The id alone opens nothing."""
    forged = vendor.key[:-5] + "AAAAA"
    assert 401 == edge.get("/api/vendors/me", headers={"Authorization": f"Bearer {forged}"}).status_code


def test_rotation_ends_a_remembered_token_at_once(
    edge: httpx.Client, vendor: SimpleNamespace, deployment: SimpleNamespace
):
    """A token in the cache dies with its revocation, not 60 seconds later."""
    push = {"url": "/api/signals/store", "json": [{}], "headers": deployment.headers}
    assert 200 == edge.post(**push).status_code
    path = f"/api/deployments/{deployment.id}/infra-token"
    fresh = edge.post(path, json={"rotate": True}, headers=vendor.headers).json()["data"]["infra_token"]
    deadline = datetime.now(UTC) + timedelta(seconds=5)
    while edge.post(**push).status_code != 401:
        assert datetime.now(UTC) < deadline, "the revoked token is still accepted"
    headers = {"Authorization": f"Bearer {fresh}"}
    assert 200 == edge.post("/api/signals/store", json=[{}], headers=headers).status_code


def test_suspended_vendor_is_403(edge: httpx.Client, edge_house: House, vendor: SimpleNamespace):
    """Known, but not allowed."""
    with edge_house.db.begin() as tx:
        tx.execute(text("UPDATE marketplace_vendors SET status = 'suspended' WHERE id = :id"), {"id": vendor.id})
    response = edge.get("/api/vendors/me", headers=vendor.headers)
    assert (403, "forbidden") == (response.status_code, response.json()["code"])


def test_another_vendors_deployment_is_404(
    edge: httpx.Client, deployment: SimpleNamespace, new_vendor: Callable[[], SimpleNamespace]
):
    """Another vendor's thing and no thing at all get one and the same answer."""
    stranger = new_vendor().headers
    theirs = edge.get(f"/api/deployments/{deployment.id}", headers=stranger)
    nobodys = edge.get("/api/deployments/dep_none", headers=stranger)
    assert 404 == theirs.status_code == nobodys.status_code
    assert theirs.json()["error"].replace(deployment.id, "X") == nobodys.json()["error"].replace("dep_none", "X")
    assert 404 == edge.post(f"/api/deployments/{deployment.id}/infra-token", json={}, headers=stranger).status_code


def test_contradicting_vendor_in_a_signal_is_403(edge: httpx.Client, deployment: SimpleNamespace):
    """Never silently rewritten."""
    row = {
        "symbol": "EURUSD",
        "timeframe": "1h",
        "decision": "BUY",
        "confidence": 0.5,
        "model_version": "1",
        "timestamp": "2026-01-05T10:00:00Z",
        "vendor_id": "ml_team_internal",
    }
    response = edge.post("/api/signals/store", json=[row], headers=deployment.headers)
    assert (403, "attribution_mismatch") == (response.status_code, response.json()["code"])


def test_guides_curl_without_content_type(edge: httpx.Client, deployment: SimpleNamespace):
    """The guide's `curl -d '[…]'` sends a form's type; the bad row is rejected, not the request."""
    response = edge.post(
        "/api/signals/store",
        content=b'[{"symbol":"EURUSD","decision":"BUY","confidence":0.8}]',
        headers={
            **deployment.headers,
            "X-Marketplace-Contracts-Version": "0.1.0",
            "Content-Type": "application/x-www-form-urlencoded",
        },
    )
    data = response.json()["data"]
    assert (200, 0, 1) == (response.status_code, data["accepted"], data["rejected"])
    assert "timeframe" in data["receipts"][0]["error"]


def test_session_of_a_vendor(edge: httpx.Client, vendor: SimpleNamespace):
    """A key is traded for a JWT that works as the key does, but cannot rotate it."""
    session = edge.post("/api/vendors/login", json={"api_key": vendor.key}).json()["data"]
    headers = {"Authorization": f"Bearer {session['token']}"}
    assert vendor.id == edge.get("/api/vendors/me", headers=headers).json()["data"]["id"]
    rotate = edge.post("/api/marketplace/vendor/auth/rotate", json={"current_api_key": session["token"]})
    assert 401 == rotate.status_code


def test_rotation_of_a_vendor_key_overlaps(edge: httpx.Client, vendor: SimpleNamespace):
    """The old key lives on for a while, and the answer says until when."""
    issued = edge.post(
        "/api/marketplace/vendor/auth/rotate", json={"current_api_key": vendor.key, "reason": "spring"}
    ).json()["data"]
    assert issued["api_key"] != vendor.key
    assert issued["previous_key_valid_until"].endswith("Z")
    for key in (vendor.key, issued["api_key"]):
        assert 200 == edge.get("/api/vendors/me", headers={"Authorization": f"Bearer {key}"}).status_code


def test_a_rotated_key_gets_no_new_key(edge: httpx.Client, vendor: SimpleNamespace):
    """Whoever found a key that was rotated for that reason cannot turn it into a fresh one."""
    path = "/api/marketplace/vendor/auth/rotate"
    assert 200 == edge.post(path, json={"current_api_key": vendor.key}).status_code
    again = edge.post(path, json={"current_api_key": vendor.key})
    assert (409, "conflict") == (again.status_code, again.json()["code"])


def test_a_rotation_without_overlap_ends_keys_in_their_overlap(
    edge: httpx.Client, edge_house: House, vendor: SimpleNamespace
):
    """The operator's way to end every older key at once."""
    edge.post("/api/marketplace/vendor/auth/rotate", json={"current_api_key": vendor.key})
    with edge_house.db.begin() as tx:
        vendors.rotate(tx, edge_house.tokens, vendor.id, actor="test", overlap=timedelta(0))
    edge_house.tokens.forget()
    assert 401 == edge.get("/api/vendors/me", headers=vendor.headers).status_code


def test_revoking_a_key_ends_the_sessions_too(edge: httpx.Client, edge_house: House, vendor: SimpleNamespace):
    """A session that was opened with a stolen key does not outlive it."""
    session = edge.post("/api/vendors/login", json={"api_key": vendor.key}).json()["data"]
    with edge_house.db.begin() as tx:
        revocation.revoke(tx, vendor.key, actor="test")
    headers = {"Authorization": f"Bearer {session['token']}"}
    assert 401 == edge.get("/api/vendors/me", headers=headers).status_code


def test_a_model_registered_later_reaches_a_remembered_token(
    edge: httpx.Client, edge_house: House, vendor: SimpleNamespace, deployment: SimpleNamespace
):
    """Signals name the deployment's model from the registration on, not a minute later."""
    assert 200 == edge.get("/api/vendors/me", headers=deployment.headers).status_code
    wanted = {"name": "m", "task": "signal", "version": "1", "deployment_id": deployment.id}
    model_id = edge.post("/api/vendors/models", json=wanted, headers=vendor.headers).json()["data"]["model_id"]
    deadline = datetime.now(UTC) + timedelta(seconds=5)
    while edge_house.tokens.recall(deployment.token) is not None:
        assert datetime.now(UTC) < deadline, "the token is still remembered without its model"
    assert model_id == edge_house.tokens.authenticate(deployment.token, edge_house.db.begin).model_id


def test_session_signed_by_another_is_401(edge: httpx.Client, vendor: SimpleNamespace):
    """A JWT of somebody else's making, and one without algorithm."""
    claims = {"aud": "session", "sub": vendor.id, "epo": 0, "exp": datetime.now(UTC) + timedelta(hours=1)}
    for forged in (jwt.encode(claims, "x" * 40, algorithm="HS256"), jwt.encode(claims, None, algorithm="none")):
        assert 401 == edge.get("/api/vendors/me", headers={"Authorization": f"Bearer {forged}"}).status_code


def test_me_shows_no_secret(edge: httpx.Client, vendor: SimpleNamespace):
    """Neither hash nor key."""
    body = edge.get("/api/marketplace/vendor/me", headers=vendor.headers)
    assert {"id", "name", "status", "created_at"} <= set(body.json()["data"])
    assert "argon2" not in body.text
    assert vendor.key not in body.text


def test_tokens_never_show_in_reprs(edge_house: House, vendor: SimpleNamespace):
    """Settings, minted tokens and stores keep their secrets to themselves."""
    shown = repr(edge_house) + repr(edge_house.tokens.mint("sit"))
    for secret in (edge_house.settings.token_pepper, edge_house.settings.service_key, vendor.key):
        assert secret not in shown


def test_cache_is_bounded(edge_house: House):
    """A flood of good tokens cannot grow the memory without end."""
    assert len(edge_house.tokens._cache) <= CACHE_ENTRIES

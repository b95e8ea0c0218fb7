"""Rounds, their manifests, and signed URLs for their files."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Response, get, post
from litestar.params import FromPath, JSONBody, QueryParameter

from mp_kit.contracts import (
    MANIFEST_KEY_HEADER,
    MANIFEST_SIGNATURE_HEADER,
    Round,
    RoundList,
    SignedUrls,
    SignedUrlsRequest,
    SigningKey,
    Success,
)
from mp_kit.server.edge.auth import allow
from mp_kit.server.edge.parts import Caller, TheHouse, ok, require_json
from mp_kit.server.services import datasets, rounds, runs


@get("/api/rounds", guards=[allow("vendor", "operator", "deployment")], sync_to_thread=True, tags=["rounds"])
def list_rounds(house: TheHouse, limit: Annotated[int, QueryParameter(ge=1, le=500)] = 50) -> Success[RoundList]:
    """Published rounds, newest first."""
    with house.db.begin() as tx:
        return ok(RoundList(rounds=rounds.newest(tx, limit)))


@get("/api/rounds/keys", sync_to_thread=True, tags=["rounds"])
def list_keys(house: TheHouse) -> Success[dict[str, list[SigningKey]]]:
    """Public keys that sign manifests."""
    with house.db.begin() as tx:
        return ok({"keys": rounds.keys(tx)})


@get("/api/rounds/{round_id:str}", sync_to_thread=True, tags=["rounds"])
def get_round(house: TheHouse, round_id: FromPath[str]) -> Success[Round]:
    """A round by id; ``current`` is the current one."""
    with house.db.begin() as tx:
        return ok(rounds.get(tx, round_id))


@get("/api/rounds/{round_id:str}/manifest", sync_to_thread=True, tags=["rounds"])
def get_manifest(house: TheHouse, round_id: FromPath[str]) -> Response[bytes]:
    """The round's manifest: the exact bytes that were signed, with the signature in the headers."""
    with house.db.begin() as tx:
        payload, signed = rounds.manifest(tx, round_id)
    headers: dict[str, Any] = {
        MANIFEST_KEY_HEADER: signed.key_id,
        MANIFEST_SIGNATURE_HEADER: signed.signature,
        "ETag": f'"{signed.sha256}"',
    }
    return Response(payload, media_type="application/json", headers=headers)


@post(
    "/api/datasets/signed-urls",
    guards=[allow("vendor", "deployment", "run", route="datasets:read")],
    before_request=require_json,
    status_code=200,
    sync_to_thread=True,
    tags=["rounds"],
)
def sign_urls(house: TheHouse, who: Caller, data: JSONBody[SignedUrlsRequest]) -> Success[SignedUrls]:
    """URLs of a round's files that need no token and live 15 minutes."""
    with house.db.begin() as tx:
        if who.run_id is not None:
            runs.check_reading(tx, who.vendor_id or "", who.run_id, data.round_id)
        return ok(datasets.sign(tx, house.store, data.round_id, data.files, grantee=who.name, vendor_id=who.vendor_id))

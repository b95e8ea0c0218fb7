"""POST /api/tokens/introspect.

The operator may ask about any token; anybody may ask about a token that it holds, by bearing it or by sending it:
whoever can name 256 secret bits learns nothing that using them would not tell (``docs/decisions/0007``).
"""

from __future__ import annotations

from litestar import post
from litestar.params import JSONBody

from mp_kit.contracts import Introspection, IntrospectRequest, Success
from mp_kit.errors import AuthError, ForbiddenError
from mp_kit.server.edge.auth import bearer
from mp_kit.server.edge.limits import peer
from mp_kit.server.edge.parts import AnyRequest, TheHouse, ok, require_json
from mp_kit.server.house import House
from mp_kit.server.services.tokens import Principal


@post("/api/tokens/introspect", before_request=require_json, status_code=200, sync_to_thread=True, tags=["tokens"])
def introspect(house: TheHouse, request: AnyRequest, data: JSONBody[IntrospectRequest]) -> Success[Introspection]:
    """What a token is; an unknown, expired, malformed or suspended one is just not active."""
    token = data.token.get_secret_value() if data.token is not None else bearer(request)
    try:
        who = _check(house, request, token)
    except (AuthError, ForbiddenError):
        return ok(Introspection(active=False))
    return ok(
        Introspection(
            active=True,
            vendor_id=who.vendor_id,
            deployment_id=who.deployment_id,
            scope=dict(who.scope) or None,
            expires_at=who.expires_at,
        )
    )


def _check(house: House, request: AnyRequest, token: str) -> Principal:
    """Whose token it is; the operator may ask about as many wrong ones as it likes."""
    asks = request.headers.get("authorization", "").partition(" ")[2].strip()
    if house.tokens.is_service_key(asks):
        return house.tokens.authenticate(token, house.db.begin)
    with house.doors.checking(peer(request)):
        return house.tokens.authenticate(token, house.db.begin)

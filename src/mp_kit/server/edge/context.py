"""What every exchange bears: a request id, our contracts version, and a client version that we understand.

A plain ASGI layer outside the framework, so that its headers are on every answer, whatever made it. Two things are
refused here, for all routes of the API: a query that names a parameter twice, because whoever stands before us might
read the other one, and a body that is packed, because nobody has to unpack what nobody sends.
"""

from __future__ import annotations

import json
import logging
import re
import uuid
from math import ceil
from typing import Any
from urllib.parse import parse_qsl

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from mp_kit.contracts import (
    CONTRACTS_VERSION,
    CONTRACTS_VERSION_HEADER,
    REQUEST_ID_HEADER,
    negotiate,
    render_failure,
)
from mp_kit.errors import ContractsVersionError, InvalidInputError, MarketplaceError, UnsupportedMediaError
from mp_kit.server.edge import limits
from mp_kit.server.house import House
from mp_kit.server.services import audit
from mp_kit.server.store import scope as scopes
from mp_kit.server.telemetry import trail

log = logging.getLogger(__name__)
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_SANE_ID = re.compile(rb"^[A-Za-z0-9._\-]{1,64}$")


class RequestContext:
    """Wraps the app; see the module.

    Args:
        app: The framework's application.
        house: For who is refused at once.
    """

    def __init__(self, app: ASGIApp, house: House) -> None:
        self._app = app
        self._house = house

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one exchange."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        scopes.enter(scopes.PUBLIC)  # until a guard knows who it is; also after a request on the same connection
        audit.come_from(client[0] if (client := scope.get("client")) else None)
        headers = dict(scope["headers"])
        request_id = _request_id(headers.get(REQUEST_ID_HEADER.lower().encode()))
        scope.setdefault("state", {})["request_id"] = request_id
        trail.note(request_id=request_id)
        marks = [
            (REQUEST_ID_HEADER.lower().encode(), request_id.encode()),
            (CONTRACTS_VERSION_HEADER.lower().encode(), CONTRACTS_VERSION.encode()),
        ]

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *marks, *limits.headers(scope["state"])]
            await send(message)

        version = headers.get(CONTRACTS_VERSION_HEADER.lower().encode())
        try:
            if negotiate(version.decode("latin-1") if version else None) is None:
                log.debug("request %s names no contracts version", request_id)
            if scope["path"].startswith("/api/"):
                if scope["method"] in _WITH_BODY:
                    _refuse_packed(headers.get(b"content-encoding", b"identity"))
                _refuse_doubles(scope["query_string"])
        except (ContractsVersionError, InvalidInputError) as error:
            await _refuse(send_marked, error, request_id)
            return
        refused = limits.closed(self._house, scope, headers.get(b"authorization"))
        if refused is not None:
            await _refuse(send_marked, refused, request_id)
            return
        await self._app(scope, receive, send_marked)


def _request_id(sent: bytes | None) -> str:
    if sent is not None and _SANE_ID.match(sent):
        return sent.decode()
    return f"req_{uuid.uuid4().hex[:20]}"


def _refuse_packed(encoding: bytes) -> None:
    if encoding.strip().lower() not in {b"identity", b""}:
        raise UnsupportedMediaError("Bodies come as they are: send it without Content-Encoding.")


def _refuse_doubles(query: bytes) -> None:
    if b"&" not in query:
        return
    seen: set[str] = set()
    for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name in seen:
            finding = {"loc": ["query", name], "msg": "it is named twice"}
            raise InvalidInputError(f"The query names {name!r} twice: send each parameter once.", details=[finding])
        seen.add(name)


async def _refuse(send: Any, error: MarketplaceError, request_id: str) -> None:
    body = json.dumps(render_failure(error, request_id)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, ceil(error.retry_after))))
    await send({"type": "http.response.start", "status": error.http, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})

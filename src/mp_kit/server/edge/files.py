"""Files of a local store behind signed URLs: GET and HEAD with ranges, PUT for uploads.

A plain ASGI handler, because bytes on their way need no framework: 1 MiB at a time, read in threads.

1. The signature is checked before anything is read.
2. A partial answer is given only for one satisfiable range and, with ``If-Range``, for the same ETag; else the whole.
3. A store that serves its own files, like S3, has none here: 404.
4. An upload becomes a file only when its size and SHA-256 are what was signed for.
"""

from __future__ import annotations

import re
from email.utils import format_datetime
from typing import Any, BinaryIO
from urllib.parse import parse_qsl

import anyio
from litestar import asgi
from litestar.types import Receive, Scope, Send

from mp_kit.errors import InvalidInputError, MethodNotAllowedError, RouteNotFoundError
from mp_kit.server import clock
from mp_kit.server.edge.limits import FREE
from mp_kit.server.house import House
from mp_kit.server.storage import FILES_ROUTE, LocalStore, ObjectInfo

CHUNK = 1 << 20
_RANGE = re.compile(r"^bytes=(\d{0,19})-(\d{0,19})$")

Headers = list[tuple[bytes, bytes]]


@asgi(FILES_ROUTE, is_mount=True, copy_scope=True, opt=FREE)
async def files(scope: Scope, receive: Receive, send: Send) -> None:
    """Serves and takes files by signed URL."""
    house: House = scope["litestar_app"].state.house
    store = house.store
    method = str(scope.get("method", ""))
    key = str(scope["path"]).removeprefix(FILES_ROUTE).strip("/")
    if not key or not isinstance(store, LocalStore):
        raise RouteNotFoundError("There is no such route.")
    query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
    bound = store.admit(method, key, query, clock.now())
    if method == "PUT" and bound is not None:
        upload = await anyio.to_thread.run_sync(store.receive, key, bound)
        await _take(upload, receive)
        await _answer(send, 200, [(b"content-length", b"0")])
    elif method in {"GET", "HEAD"}:
        info = await anyio.to_thread.run_sync(store.stat, key)
        await _give(store, info, method, _headers(scope), send)
    else:
        raise MethodNotAllowedError(f"A file takes GET, HEAD and PUT, not {method}.")


def choose_range(header: str | None, size: int) -> tuple[int, int] | None:
    """The one range that a Range header asks for, as first and last byte; None means the whole file.

    Raises:
        InvalidInputError: The range lies outside the file.
    """
    match = _RANGE.match(header.strip()) if header else None
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if first == "":
        start, end = max(0, size - int(last)), size - 1
    else:
        start, end = int(first), min(int(last) if last else size - 1, size - 1)
    if start > end or start >= size:
        raise InvalidInputError(f"The range lies outside the file's {size} bytes.")
    return start, end


async def _give(store: LocalStore, info: ObjectInfo, method: str, asked: dict[str, str], send: Send) -> None:
    base = _describe(info)
    if asked.get("if-none-match") == info.etag:
        await _answer(send, 304, base)
        return
    fresh = asked.get("if-range", info.etag) == info.etag
    try:
        chosen = choose_range(asked.get("range") if fresh else None, info.size_bytes)
    except InvalidInputError:
        beyond = (b"content-range", f"bytes */{info.size_bytes}".encode())
        await _answer(send, 416, [*base, beyond, (b"content-length", b"0")])
        return
    start, end = chosen or (0, info.size_bytes - 1)
    headers = [*base, (b"content-length", str(end - start + 1).encode())]
    if chosen is not None:
        headers.append((b"content-range", f"bytes {start}-{end}/{info.size_bytes}".encode()))
    status = 206 if chosen is not None else 200
    if method == "HEAD":
        await _answer(send, status, headers)
        return
    file = await anyio.to_thread.run_sync(store.open, info.key)
    try:
        await _stream(file, start, end - start + 1, status, headers, send)
    finally:
        await anyio.to_thread.run_sync(file.close)


async def _stream(file: BinaryIO, start: int, left: int, status: int, headers: Headers, send: Send) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    file.seek(start)
    while left > 0:
        piece = await anyio.to_thread.run_sync(file.read, min(CHUNK, left))
        if not piece:
            break  # the file shrank under us: the short body tells the client
        left -= len(piece)
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _take(upload: Any, receive: Receive) -> None:
    with upload:
        more = True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                raise InvalidInputError("The upload broke off; nothing was kept.")
            await anyio.to_thread.run_sync(upload.write, message.get("body", b""))
            more = message.get("more_body", False)
        await anyio.to_thread.run_sync(upload.finish)


async def _answer(send: Send, status: int, headers: Headers) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _describe(info: ObjectInfo) -> Headers:
    return [
        (b"content-type", b"application/octet-stream"),
        (b"x-content-type-options", b"nosniff"),
        (b"accept-ranges", b"bytes"),
        (b"cache-control", b"private"),
        (b"etag", info.etag.encode()),
        (b"last-modified", format_datetime(info.modified_at, usegmt=True).encode()),
    ]

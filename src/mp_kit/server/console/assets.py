"""Static files: a stylesheet, a script, an icon. Their addresses change with their bytes, so they are kept for good."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from litestar import Response, get
from litestar.params import FromPath

from mp_kit.errors import RouteNotFoundError

STATIC = Path(__file__).parent / "static"
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


@cache
def _files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(STATIC.iterdir()) if path.suffix in _TYPES}


@cache
def address(name: str) -> str:
    """Where a static file is fetched from."""
    return f"/marketplace/static/{name}?v={hashlib.sha256(_files()[name]).hexdigest()[:12]}"


@get("/marketplace/static/{name:str}", sync_to_thread=False, include_in_schema=False, opt={"plain": True})
def static(name: FromPath[str]) -> Response[bytes]:
    """A static file."""
    if name not in _files():
        raise RouteNotFoundError("There is no such file.")
    return _file(name, "public, max-age=31536000, immutable")


@get("/favicon.ico", sync_to_thread=False, include_in_schema=False, opt={"plain": True})
def favicon() -> Response[bytes]:
    """The icon, for browsers that ask where no page named it."""
    return _file("icon.svg", "public, max-age=86400")


def _file(name: str, kept: str) -> Response[bytes]:
    headers = {
        "Cache-Control": kept,
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",  # an icon opened by itself
    }
    return Response(_files()[name], media_type=_TYPES[Path(name).suffix], headers=headers)

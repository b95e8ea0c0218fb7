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
    content = _files().get(name)
    if content is None:
        raise RouteNotFoundError("There is no such file.")
    headers = {
        "Cache-Control": "public, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",  # an icon opened by itself
    }
    return Response(content, media_type=_TYPES[Path(name).suffix], headers=headers)

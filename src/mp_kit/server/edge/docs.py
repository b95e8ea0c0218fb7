"""/openapi.json and /docs: the API told from the same handlers and models that answer it; no CDN, no script."""

from __future__ import annotations

from html import escape
from typing import Any

from litestar import MediaType, Response, get

from mp_kit.server.edge.parts import AnyRequest
from mp_kit.server.edge.schema import build

_STYLE = """
:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}
body{max-width:62rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%}
td{padding:.3rem .6rem;border-bottom:1px solid #8884;vertical-align:top}
code{font-family:ui-monospace,monospace;overflow-wrap:anywhere}h2{margin-top:2rem;text-transform:capitalize}
.m{font-weight:600}.n{width:26rem}
"""


@get("/openapi.json", sync_to_thread=True, include_in_schema=False)
def openapi(request: AnyRequest) -> Response[dict[str, Any]]:
    """OpenAPI 3.1 of the edge."""
    return Response(build(request.app), media_type=MediaType.JSON)


@get("/docs", sync_to_thread=True, include_in_schema=False, media_type=MediaType.HTML)
def page(request: AnyRequest) -> str:
    """The same for people: every route, by subject."""
    schema = build(request.app)
    by_tag: dict[str, list[str]] = {}
    for path, operations in sorted(schema["paths"].items()):
        for method, operation in operations.items():
            if "operationId" in operation:
                by_tag.setdefault(operation.get("tags", ["other"])[0], []).append(_row(method, path, operation))
    sections = "".join(
        f"<h2>{escape(tag)}</h2><table><tbody>{''.join(rows)}</tbody></table>" for tag, rows in sorted(by_tag.items())
    )
    title = escape(schema["info"]["title"])
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{title}</title><style>{_STYLE}</style><body><h1>{title}</h1>"
        f"<p>{escape(schema['info'].get('description', ''))} The machine-readable form is "
        f"<a href=/openapi.json>openapi.json</a>.</p>{sections}</body></html>"
    )


def _row(method: str, path: str, operation: dict[str, Any]) -> str:
    who = "token" if operation["security"] else "public"
    name = f"<code><span class=m>{method.upper()}</span> {escape(path)}</code>"
    return f"<tr><td class=n>{name}</td><td>{who}</td><td>{escape(operation['summary'])}</td></tr>"

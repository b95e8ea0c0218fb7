"""The docs that vendors read, out of the same files that lie in the repository."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from litestar import Response, get
from litestar.params import FromPath
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from mp_kit.errors import RouteNotFoundError
from mp_kit.server import bundle
from mp_kit.server.console.pages import page
from mp_kit.server.console.visits import TheHouse, TheVisit, Visit
from mp_kit.server.house import House

PATH = "/marketplace/docs"
PAGES: Mapping[str, str] = {
    "quickstart": "15 minutes from nothing to a signal in the consensus",
    "tour": "A first tour: from a vendor's key to a trained model",
    "notebooks": "In a notebook: vocabulary, magics, plots, errors",
    "data": "Rounds and data: pulling, loading, what is in a file",
    "runs": "Training runs: their states, their money, their logs",
    "deployments": "Deployments: servers of your models, run by the marketplace or by you",
    "serving": "From a model to a server that pushes signals",
    "signals": "Signals: exactly once, receipts, the outbox",
    "webhooks": "Webhooks: being told what happened",
    "console": "These pages",
    "cli": "Every command of mp",
    "wire": "The wire: routes, headers, tokens, errors",
}
"""Names of files below ``docs/`` and what they are about; those that are not there are not listed."""


@get(PATH, sync_to_thread=True, include_in_schema=False)
def contents(house: TheHouse, visit: TheVisit) -> Response[bytes]:
    """What there is to read."""
    return _page(house, visit, "Docs", "", Markup(""))


@get(f"{PATH}/{{name:str}}", sync_to_thread=True, include_in_schema=False)
def document(house: TheHouse, visit: TheVisit, name: FromPath[str]) -> Response[bytes]:
    """One of them."""
    if name not in _listed():
        raise RouteNotFoundError("There is no such page of the docs.", hint="See what there is: /marketplace/docs")
    title, body = _rendered(name)
    return _page(house, visit, title, name, body)


def _page(house: House, visit: Visit, title: str, name: str, body: Markup) -> Response[bytes]:
    facts: dict[str, Any] = {"listed": _listed(), "name": name, "body": body, "base_url": house.settings.base_url}
    return page(visit, "docs.html", title=title, **facts)


@cache
def _listed() -> dict[str, str]:
    return {name: about for name, about in PAGES.items() if (_folder() / f"{name}.md").is_file()}


def _folder() -> Path:
    return bundle.root() / "docs"


@cache
def _rendered(name: str) -> tuple[str, Markup]:
    """Title and body. HTML in a file is shown as text: these files are ours, and need none."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse((_folder() / f"{name}.md").read_text(encoding="utf-8"))
    _link(tokens, set(_listed()))
    title = next((tokens[n + 1].content for n, token in enumerate(tokens) if token.type == "heading_open"), name)
    return title.replace("`", ""), Markup(parser.renderer.render(tokens, parser.options, {}))  # noqa: S704 - see above


def _link(tokens: Sequence[Token], known: set[str]) -> None:
    """Leads links between files to their pages, and takes away those to files that have none; names headings."""
    for number, token in enumerate(tokens):
        if token.type == "heading_open":
            token.attrSet("id", re.sub(r"[^a-z0-9]+", "-", tokens[number + 1].content.casefold()).strip("-"))
        if token.type == "th_open":
            token.attrSet("scope", "col")
        if token.type == "fence":
            token.info = ""  # no highlighting, so no class that says a language
        is_link = False
        for child in token.children or ():
            if child.type == "link_open":
                target = _target(str(child.attrGet("href") or ""), known)
                is_link = target is not None
                child.tag, child.attrs = ("a", {"href": target or ""}) if is_link else ("span", {})
            elif child.type == "link_close":
                child.tag = "a" if is_link else "span"


def _target(href: str, known: set[str]) -> str | None:
    if href.startswith(("https://", "#")):
        return href
    match = re.fullmatch(r"(?:\./|docs/)?([a-z]+)\.md(#.*)?", href)
    return f"{PATH}/{match[1]}{match[2] or ''}" if match and match[1] in known else None


HANDLERS = [contents, document]

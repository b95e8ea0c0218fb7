"""An executed notebook as one light HTML page: for a phone, a mail, dark and light, and one sheet of paper.

1. Nothing comes from another host and no script runs: the page says so itself, wherever it is opened from.
2. Code is left out: people read the report, and its notebook lies beside it.
3. What a notebook shows holds vendors' words, in tables and in Markdown, and nobody escapes all of them: of its HTML
   only what a report is made of stays.
"""

from __future__ import annotations

import base64
import re
from html import escape
from pathlib import Path
from typing import Any

__all__ = ["POLICY", "first_plot", "heading", "render"]

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""What the page may load; notebooks bring their tables' styles inline."""

_DROPPED = re.compile(r"(?is)<(script|style|template|noscript)\b.*?(</\1\s*>|\Z)")
"""Goes with all that is inside."""
_TAGS = frozenset(
    {
        *(
            "a",
            "abbr",
            "b",
            "blockquote",
            "br",
            "caption",
            "code",
            "col",
            "colgroup",
            "dd",
            "del",
            "details",
            "div",
            "dl",
        ),
        *("dt", "em", "figcaption", "figure", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "img", "ins", "kbd", "li"),
        *("ol", "p", "pre", "s", "section", "small", "span", "strong", "sub", "summary", "sup", "table", "tbody", "td"),
        *("tfoot", "th", "thead", "tr", "u", "ul"),
    }
)
_ATTRIBUTES = frozenset(["class", "id", "title", "lang", "dir", "colspan", "rowspan", "scope", "align", "style"])
_PICTURE = re.compile(r"^data:image/(png|jpeg|gif|webp);base64,")
_NO_WORDS = "No description has been provided for this image"  # nbconvert's, where a plot has none
_STYLE = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
{problem}{body}
</main>
</body>
</html>
"""


def render(executed: Path, *, title: str, failure: str | None = None) -> Path:
    """Renders an executed notebook beside itself.

    Args:
        executed: The notebook, redacted.
        title: Of the page.
        failure: Why it is not whole; it stands on top then.

    Returns:
        The HTML file.
    """
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(  # type: ignore[no-untyped-call] # it ships no types
        template_name="basic",
        embed_images=True,
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    body, _ = exporter.from_filename(str(executed))
    problem = "" if failure is None else f'<pre class="problem">This report is not whole.\n{escape(failure)}</pre>\n'
    facts = {"policy": escape(POLICY), "title": escape(title), "style": _STYLE, "problem": problem}
    body = _harmless(body).replace(_NO_WORDS, f"Plot of the report {escape(title, quote=True)}")
    html = executed.with_suffix(".html")
    html.write_text(_PAGE.format(body=body, **facts), encoding="utf-8")
    return html


def _harmless(body: str) -> str:
    import bleach  # type: ignore[import-untyped] # nbconvert brings it, and it ships no types
    from bleach.css_sanitizer import CSSSanitizer  # type: ignore[import-untyped] # likewise

    cleaned: str = bleach.clean(
        _DROPPED.sub("", body),
        tags=_TAGS,
        attributes=_stays,
        protocols=("http", "https", "mailto", "data"),
        strip=True,
        css_sanitizer=CSSSanitizer(),
    )
    return cleaned


def _stays(tag: str, name: str, value: str) -> bool:
    """Whether an attribute stays: links go out, pictures are in the page."""
    if name == "href":
        return tag == "a" and not value.strip().lower().startswith("data:")
    if name == "src":
        return tag == "img" and bool(_PICTURE.match(value))
    return name in _ATTRIBUTES or (tag == "img" and name in {"alt", "width", "height"})


def heading(notebook: Any) -> str:
    """The first heading of a notebook's text; empty where it has none."""
    texts = (cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    lines = (line for text in texts for line in text.splitlines())
    return next((line.removeprefix("# ").strip() for line in lines if line.startswith("# ")), "")


def first_plot(notebook: Any) -> bytes | None:
    """The first PNG that a notebook drew."""
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", ()))
    drawn = (output.get("data", {}).get("image/png") for output in outputs)
    found = next((each for each in drawn if each), None)
    return base64.b64decode(found) if found else None

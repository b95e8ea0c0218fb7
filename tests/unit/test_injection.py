"""Words that others chose, where we show them: in reports, in Prefect's Markdown, in notebooks, on terminals."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from markdown_it import MarkdownIt

from mp_kit.cli.output import emit, harmless, say
from mp_kit.client import html
from mp_kit.server.markdown import literal
from mp_kit.server.report_pages import render

HARM = {
    "a script": "<script>alert(1)</script>",
    "a handler": '<img src="x" onerror="alert(1)">',
    "a picture from elsewhere": '<img src="https://evil.example/x.png">',
    "a link that runs": '<a href="javascript:alert(1)">x</a>',
    "a link to a page inside": '<a href="data:text/html,x">x</a>',
    "a link in Markdown": "[x](javascript:alert(1))",
    "a picture in Markdown": "![x](https://evil.example/x.png)",
    "another page": '<meta http-equiv="refresh" content="0;url=https://evil.example/">',
    "a form": '<form action="https://evil.example/"><input name="key"></form>',
    "a frame": '<iframe src="https://evil.example/"></iframe>',
    "a style": "<style>main{display:none}</style>",
    "a place over all": '<p style="position:fixed;background:url(https://evil.example/)">x</p>',
    "a drawing": '<svg onload="alert(1)"><script>alert(1)</script></svg>',
    "what a spreadsheet runs": "=cmd|' /C calc'!A0",
}


class Seen(HTMLParser):
    """Tags and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes a tag."""
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    @property
    def harm(self) -> list[str]:
        """What runs, loads or covers something."""
        told = [f"<{tag}>" for tag in self.tags & {"script", "iframe", "form", "input", "svg", "style", "meta", "link"}]
        for tag, name, value in self.attributes:
            if (
                name.startswith("on")
                or (
                    name in {"href", "src"}
                    and value.partition(":")[0].strip().lower() in {"javascript", "data", "https"}
                )
                or (name == "style" and ("url(" in value or "position" in value))
            ):
                told.append(f"{tag} {name}={value}")
        return told


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
def test_a_report(harm: str, tmp_path: Path):
    """In a heading, in Markdown, in a table that escapes nothing, in printed text: nothing of it runs or loads."""
    outputs = [
        nbformat.v4.new_output("display_data", data={"text/markdown": f"**Vendor** {harm}"}),
        nbformat.v4.new_output("display_data", data={"text/html": f"<table><tr><td>{harm}</td></tr></table>"}),
        nbformat.v4.new_output("stream", text=harm),
    ]
    cells = [nbformat.v4.new_markdown_cell(f"# Daily\n{harm}"), nbformat.v4.new_code_cell("", outputs=outputs)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "daily.ipynb")
    page = render(tmp_path / "daily.ipynb", title="Daily").read_text()
    shown = Seen(page[page.index("<main>") :])
    assert [] == shown.harm
    assert {"main", "h1", "table", "td", "pre"} <= shown.tags


def test_what_a_report_is_made_of(tmp_path: Path):
    """Plots, tables, emphasis and links out stay."""
    dot = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    table = '<table class="dataframe"><thead><tr style="text-align: right;"><th>a</th></tr></thead></table>'
    outputs = [
        nbformat.v4.new_output("display_data", data={"image/png": dot}),
        nbformat.v4.new_output("display_data", data={"text/html": table}),
        nbformat.v4.new_output("display_data", data={"text/markdown": "**bold** [docs](https://docs.example/)"}),
    ]
    nbformat.write(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", outputs=outputs)]), tmp_path / "a.ipynb"
    )
    page = render(tmp_path / "a.ipynb", title="T").read_text()
    assert f"data:image/png;base64,{dot}" in page
    assert '<tr style="text-align: right;">' in page
    assert {"img", "th", "strong", "a"} <= Seen(page).tags
    assert 'href="https://docs.example/"' in page


@pytest.mark.parametrize(
    "harm", [*HARM.values(), "# big", "- list", "`code`", "a\n\n# b", "&lt;b&gt;", "1. x", "~~x~~"]
)
def test_words_in_markdown(harm: str):
    """They are read as they are, whatever shows them."""
    made = MarkdownIt("commonmark", {"html": True}).render(f"# Run for {literal(harm)}\n")
    shown = Seen(made)
    assert ({"h1"}, []) == (shown.tags, shown.harm)
    [words] = MarkdownIt().parseInline(literal(harm))
    assert " ".join(harm.split()) == "".join(part.content for part in words.children or [])


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
def test_what_notebooks_show(harm: str):
    """Tables and cards escape names, values and titles."""
    shown = html.table([{harm: harm, "list": [harm]}], title=harm) + html.card(harm, {harm: harm})
    assert [] == [one for one in Seen(shown).harm if "position" not in one]
    assert harm not in shown or "<" not in harm


TERMINAL = {
    "a title": ("\x1b]0;owned\x07x", "␛]0;owned␇x"),
    "an erased line": ("good\x1b[2K\rbad", "good␛[2K␍bad"),
    "a clipboard": ("\x1b]52;c;cm0gLXJm\x07", "␛]52;c;cm0gLXJm␇"),
    "an eight-bit sequence": ("\x9b2J", "\N{REPLACEMENT CHARACTER}2J"),
    "a step back": ("ok\b\bno", "ok␈␈no"),
    "a delete": ("\x7f", "\N{REPLACEMENT CHARACTER}"),
}


@pytest.mark.parametrize(("sent", "shown"), TERMINAL.values(), ids=TERMINAL)
def test_a_terminal(sent: str, shown: str, capsys: pytest.CaptureFixture[str]):
    """What a job prints or a vendor is called cannot move the cursor, rename the window or fill the clipboard."""
    emit({}, as_json=False, text=sent)
    say(sent)
    assert (f"{shown}\n", f"{shown}\n") == capsys.readouterr()


def test_colours_and_tables_stay():
    """Lines, tabs and colours are what a log is made of."""
    text = "\x1b[31mred\x1b[0m\tand\nplain: ünïcode 🚀"
    assert text == harmless(text)

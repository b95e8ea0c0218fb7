"""The docs as a site: what MkDocs calls while it builds (``hooks`` of mkdocs.yml), and :func:`build`.

1. Pages are the files of ``docs/``, unchanged. What lies elsewhere comes in here: the list of changes, and the
   notebooks, as the pages that ``make docs`` made of their runs, where it has made them.
2. A link out of ``docs/`` leads to the same thing in the site; one to a notebook that was not run, to the list of
   them; one to what the site has not is none.
3. The build is strict: whatever MkDocs warns of fails it.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.commands.build import build as build_site
from mkdocs.config import load_config
from mkdocs.exceptions import Abort, ConfigurationError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "build" / "docs" / "notebooks"
TITLES = {"vendor": "For vendors", "operator": "For operators", "reports": "Reports"}
BESIDE = {"CHANGELOG": "changelog.md", "CONTRIBUTING": "contributing.md", "SECURITY": "security-policy.md"}
"""Pages of the project's root, and what they are called in the site."""
_OUTWARD = re.compile(r"\[([^\]]*)\]\((\.\./[^)#\s]*)(?:#[^)]*)?\)")


def build(target: Path, notebooks: Path = NOTEBOOKS, docs: Path = ROOT / "docs") -> str:
    """Builds the site.

    Args:
        target: The folder that it goes to; what is there goes away.
        notebooks: Pages of notebooks, as ``scripts/docs.py`` makes them; may be missing.
        docs: The pages.

    Returns:
        What is wrong with it; nothing when all is well.
    """
    try:
        config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(target), docs_dir=str(docs))
        config.extra["notebooks"] = str(notebooks)
        build_site(config)
    except (Abort, ConfigurationError) as error:
        return str(error) or type(error).__name__
    return ""


def on_config(config: Any) -> Any:
    """Fills in the decisions, and what lies beside the docs."""
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    config.nav[-1]["How it is built"][-1]["Decisions"] = [f"decisions/{path.name}" for path in decisions]
    config.nav += BESIDE.values()
    config.extra.setdefault("notebooks", str(NOTEBOOKS))
    return config


def on_files(files: Files, config: Any) -> Files:
    """Adds what lies outside of ``docs/``."""
    made = Path(config.extra["notebooks"])
    pages = sorted(made.rglob("*.html")) if made.is_dir() else []
    for page in pages:
        name = f"notebooks/{page.relative_to(made)}"
        files.append(File.generated(config, name, content=page.read_text(encoding="utf-8")))
    for name, called in BESIDE.items():
        text = (ROOT / f"{name}.md").read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, called, content=text))
    files.append(File.generated(config, "tutorials.md", content=tutorials(made)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:  # noqa: ARG001 - MkDocs names them
    """Leads links out of ``docs/`` to where these things are in the site; of others only the words stay."""
    folder = posixpath.dirname(page.file.src_uri)

    def led(found: re.Match[str]) -> str:
        place = posixpath.normpath(posixpath.join("docs", folder, found[2]))
        if place.startswith("docs/"):
            return found[0]
        target = _place(place, files)
        return f"[{found[1]}]({posixpath.relpath(target, folder or '.')})" if target else found[1]

    return _OUTWARD.sub(led, markdown)


def _place(path: str, files: Files) -> str:
    """Where the site has a file of the project; empty where it has none."""
    if match := re.fullmatch(r"notebooks/(\w+/\w+)\.ipynb", path):
        target = f"notebooks/{match[1]}.html"
        return target if files.get_file_from_path(target) else "tutorials.md"
    return BESIDE.get(path.removesuffix(".md"), "")


def tutorials(made: Path) -> str:
    """The list of notebooks, with links to those that were run."""
    lines = ["# Tutorials", "", "Each is a notebook of `notebooks/`, shown as it ran against a fresh marketplace.", ""]
    for group, title in TITLES.items():
        lines += [f"## {title}", "", "| notebook | |", "|---|---|"]
        lines += [_line(path, made) for path in sorted((ROOT / "notebooks" / group).glob("*.ipynb"))] + [""]
    return "\n".join(lines)


def _line(notebook: Path, made: Path) -> str:
    cells = nbformat.read(notebook, as_version=4).cells
    texts = (line for cell in cells if cell.cell_type == "markdown" for line in cell.source.splitlines())
    title = next((line.removeprefix("# ") for line in texts if line.startswith("# ")), notebook.stem)
    place = f"{notebook.parent.name}/{notebook.stem}.html"
    shown = f"[{title}](notebooks/{place})" if (made / place).is_file() else title
    return f"| {shown} | `notebooks/{notebook.parent.name}/{notebook.name}` |"

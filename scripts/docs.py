"""``make docs``: every notebook run against a fresh marketplace, a page made of each, and the site of all docs.

1. Notebooks are found, not listed: all of ``notebooks/vendor``, ``operator`` and ``reports``, in the order of their
   names. Vendors' come first, so that the operator's have something to show.
2. The marketplace is ``mp up`` in a temporary home, with RunPod's stand-in; nothing is left running.
3. A page is one file that loads nothing from anywhere. What its outputs hold is masked as the server's logs are.
4. A notebook that fails fails the target by its name; its page has what was computed until then, and the error.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import docs_site
import nbformat
from demo import ROOT, DemoError, Story, running, runpod_command
from nbconvert import HTMLExporter
from papermill.execute import ERROR_MARKER_TAG
from pygments.formatters import HtmlFormatter
from rich.console import Console

from mp_kit.errors import InvalidInputError
from mp_kit.server import redaction, reporting

GROUPS = ("vendor", "operator", "reports")
VENDOR = "ACME Research"
GIVEN = {"vendor": VENDOR}
"""Values of parameters that a notebook declares without one, by their names."""
SECONDS = 900.0
STYLE = """
:root { color-scheme: light dark; --line: #8884; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
pre { overflow-x: auto; padding: .6rem .8rem; border: 1px solid var(--line); border-radius: 6px; font-size: .82rem; }
.output_subarea pre { border: 0; padding: 0; }
.prompt, .anchor-link { display: none; }
table { border-collapse: collapse; font-size: .85rem; margin: .6rem 0; }
th, td { text-align: left; padding: .2rem .7rem; border-bottom: 1px solid var(--line); vertical-align: top; }
img { max-width: 100%; height: auto; }
.output_area { overflow-x: auto; margin: .4rem 0; }
.failed { border: 1px solid #e5534b; border-radius: 6px; padding: .6rem 1rem; white-space: pre-wrap; }
nav, footer { font-size: .85rem; opacity: .8; }
@media (prefers-color-scheme: light) { LIGHT }
@media (prefers-color-scheme: dark) { DARK }
"""
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style></head>
<body>{body}</body></html>
"""


@dataclass
class Done:
    """What became of a notebook.

    Args:
        notebook: Its path.
        title: Its first heading.
        seconds: How long it ran.
        page: Its page; None where there is nothing to show.
        failure: Why it failed; empty when it did not.
    """

    notebook: Path
    title: str
    seconds: float
    page: Path | None
    failure: str = ""


@dataclass(frozen=True)
class Who:
    """Who runs a group's notebooks: where, and with what in the environment."""

    folder: Path
    env: Mapping[str, str] = field(repr=False)


def find(only: str = "", root: Path = ROOT / "notebooks") -> list[Path]:
    """The notebooks, group by group, whose path holds a text."""
    found = [path for group in GROUPS for path in sorted((root / group).glob("*.ipynb"))]
    return [path for path in found if only in f"{path.parent.name}/{path.name}"]


def run(notebook: Path, who: Who, target: Path, seconds: float = SECONDS) -> Done:
    """Runs a notebook and makes its page, whatever comes of it."""
    title = heading(notebook)
    began = time.monotonic()
    target.parent.mkdir(parents=True, exist_ok=True)
    who.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mp-docs-") as folder:
        executed = Path(folder) / notebook.name
        failure = execute(notebook, executed, who, seconds)
        page = write_page(executed, target, title, failure) if executed.exists() else None
    return Done(notebook, title, time.monotonic() - began, page, failure)


def open_parameters(notebook: Path) -> set[str]:
    """Parameters that have no value in the notebook; one without a cell for them has none."""
    try:
        return {name for name, has_value in reporting.declared(notebook).items() if not has_value}
    except InvalidInputError:
        return set()


def execute(notebook: Path, executed: Path, who: Who, seconds: float) -> str:
    """Runs a notebook by papermill, which writes after each cell; says why it failed, or nothing."""
    wanted = open_parameters(notebook)
    if unknown := sorted(wanted - GIVEN.keys()):
        return (
            f"Its parameters {', '.join(unknown)} have no value, here or there: add them to GIVEN in scripts/docs.py."
        )
    given = [word for name in sorted(wanted) for word in ("-p", name, GIVEN[name])]
    command = [sys.executable, "-m", "papermill", str(notebook), str(executed), *given]
    try:
        done = subprocess.run(
            [*command, "-k", "python3", "--cwd", str(who.folder), "--no-progress-bar", "--log-level", "ERROR"],
            env=dict(who.env),
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        return f"It was still running after {seconds:g} s."
    if done.returncode == 0 or failed_as_told(executed):
        return ""
    return redaction.redact(done.stderr[-2_000:]) or f"It ended with {done.returncode}."


def failed_as_told(executed: Path) -> bool:
    """Whether all cells ran, and each that failed announces it by Jupyter's tag, which papermill does not heed.

    Its remarks on them are taken out of the notebook.
    """
    if not executed.exists():
        return False
    read = nbformat.read(executed, as_version=4)
    read.cells = [cell for cell in read.cells if ERROR_MARKER_TAG not in cell.metadata.get("tags", ())]
    code = [cell for cell in read.cells if cell.cell_type == "code"]
    failed = [cell for cell in code if any(output.output_type == "error" for output in cell.outputs)]
    told = all("raises-exception" in cell.metadata.get("tags", ()) for cell in failed)
    if not failed or not told or any(cell.execution_count is None for cell in code):
        return False
    nbformat.write(read, executed)
    return True


def write_page(executed: Path, target: Path, title: str, failure: str) -> Path:
    """Makes a page of a notebook that was run, whole or in part."""
    notebook = nbformat.read(executed, as_version=4)
    for cell in notebook.cells:
        cell["outputs"] = [masked(output) for output in cell.get("outputs", ())] if cell.cell_type == "code" else []
        if cell.cell_type != "code":
            del cell["outputs"]
    body, _ = HTMLExporter(template_name="basic").from_notebook_node(notebook)
    broken = f'<p class="failed">{escape(failure)}</p>' if failure else ""
    nav = '<nav><a href="../index.html">All notebooks</a></nav>'
    target.write_text(page(title, f"{nav}{broken}{masked_text(body)}"), encoding="utf-8")
    return target


def masked(value: Any, kind: str = "") -> Any:
    """An output without secrets; pictures stay as they are."""
    if isinstance(value, str):
        return value if kind.startswith("image/") else masked_text(value)
    if isinstance(value, dict):
        return nbformat.from_dict({name: masked(part, name) for name, part in value.items()})
    return [masked(part, kind) for part in value] if isinstance(value, list) else value


def masked_text(text: str) -> str:
    """Text outside of pictures, masked."""
    parts = re.split(r"(data:image/[^\"')]+)", text)
    return "".join(part if part.startswith("data:image/") else redaction.redact(part) for part in parts)


def page(title: str, body: str) -> str:
    """A whole page in our style."""
    colours = {
        name: HtmlFormatter(style=style).get_style_defs(".highlight")
        for name, style in (("LIGHT", "default"), ("DARK", "github-dark"))
    }
    style = STYLE.replace("LIGHT", colours["LIGHT"]).replace("DARK", colours["DARK"])
    return PAGE.format(title=escape(title), style=style, body=body)


def heading(notebook: Path) -> str:
    """A notebook's first heading, else its name."""
    cells = nbformat.read(notebook, as_version=4).cells
    lines = [line for cell in cells if cell.cell_type == "markdown" for line in cell.source.splitlines()]
    return next((line.removeprefix("# ").strip() for line in lines if line.startswith("# ")), notebook.stem)


def write_index(target: Path, done: Sequence[Done]) -> Path:
    """The list of all pages, by group."""
    parts = ["<h1>Notebooks</h1>"]
    for group in GROUPS:
        mine = [one for one in done if one.notebook.parent.name == group]
        rows = "".join(_row(one, group) for one in mine)
        parts.append(f"<h2>{group.capitalize()}</h2><table>{rows}</table>" if mine else "")
    parts.append(f"<footer>Run against a fresh marketplace in {sum(one.seconds for one in done):.0f} s.</footer>")
    index = target / "index.html"
    index.write_text(page("Notebooks", "".join(parts)), encoding="utf-8")
    return index


def _row(one: Done, group: str) -> str:
    name = f'<a href="{group}/{one.page.name}">{escape(one.title)}</a>' if one.page else escape(one.title)
    state = " <b>failed</b>" if one.failure else ""
    return (
        f"<tr><td>{name}{state}</td><td><code>{escape(one.notebook.name)}</code></td><td>{one.seconds:.0f} s</td></tr>"
    )


@contextmanager
def marketplace(folder: Path, console: Console) -> Iterator[Mapping[str, Who]]:
    """A fresh marketplace with a round and a signed-in vendor; who runs which group's notebooks."""
    story, spare = Story(folder, console, "ecb", "runpod", ["EURUSD", "EURJPY"]), f"rpa_{secrets.token_hex(16)}"
    command = [*runpod_command(story)]
    command.insert(command.index("--keys") + 2, f"{spare}=25")
    home = ["--home", str(story.home), "--port", "0", "--source", "none"]
    with running(story, "runpod", command) as url:
        env = dict(os.environ) | {"MP_RUNPOD_URL": url, "MP_TRAINER_IMAGE": "mp-kit/trainer:docs", "MP_LIMITS": "off"}
        with running(story, "up", [str(Path(sys.executable).with_name("mp")), "up", *home], env) as api_url:
            story.operator(
                "round", "publish", "--direct", *(word for one in story.symbols for word in ("--symbols", one))
            )
            key = story.operator("vendor", "create", VENDOR)["api_key"]
            redaction.remember(key, story.runpod_key, spare)
            story.mp("login", "--api-url", api_url, "--api-key", "-", env=story.vendor_env, stdin=key)
            operator = Who(folder / "operator", env | {"MP_HOME": str(story.home), "RUNPOD_API_KEY": spare})
            vendor = Who(folder / "vendor", story.vendor_env | {"RUNPOD_API_KEY": story.runpod_key})
            yield {"vendor": vendor, "operator": operator, "reports": operator}


def build(target: Path, only: str, console: Console) -> list[Done]:
    """Runs all notebooks and writes all pages."""
    shutil.rmtree(target, ignore_errors=True)
    done = []
    with (
        tempfile.TemporaryDirectory(prefix="mp-docs-", ignore_cleanup_errors=True) as folder,
        marketplace(Path(folder), console) as people,
    ):
        for notebook in find(only):
            group = notebook.parent.name
            one = run(notebook, people[group], target / group / f"{notebook.stem}.html")
            state = "[red]failed[/]" if one.failure else "[green]ok[/]"
            console.print(f"{state} {group}/{notebook.name}, {one.seconds:.0f} s")
            done.append(one)
    write_index(target, done)
    return done


def main() -> int:
    """Parses, builds, says what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="only notebooks whose group/name holds this text")
    parser.add_argument("--no-notebooks", action="store_true", help="only the site, of pages that there are: seconds")
    parser.add_argument("--site", type=Path, default=ROOT / "build/site", help="where the site goes")
    parser.add_argument("--to", type=Path, default=ROOT / "build/docs/notebooks", help="where the pages go")
    chosen = parser.parse_args()
    console = Console(soft_wrap=True)
    failed = 0 if chosen.no_notebooks else run_all(chosen.to, chosen.only, console)
    return max(failed, build_site(chosen.site.absolute(), chosen.to.absolute(), console))


def run_all(target: Path, only: str, console: Console) -> int:
    """Runs the notebooks and tells what came of them; 1 when one failed, or none was there."""
    began = time.monotonic()
    try:
        done = build(target.absolute(), only, console)
    except DemoError as error:
        console.print(f"[red bold]The marketplace did not come up:[/] {error}", highlight=False)
        return 1
    failed = [one for one in done if one.failure]
    console.print(f"{len(done)} notebooks in {time.monotonic() - began:.0f} s: {target / 'index.html'}")
    for one in failed:
        console.print(
            f"[red bold]{one.notebook.parent.name}/{one.notebook.name} failed:[/] {one.failure}", highlight=False
        )
    return 1 if failed or not done else 0


def build_site(target: Path, notebooks: Path, console: Console) -> int:
    """Builds the site, with the notebooks' pages in it; 1 when anything is wrong with it."""
    logging.getLogger("mkdocs").addHandler(logging.StreamHandler())
    wrong = docs_site.build(target, notebooks)
    console.print(f"[red bold]The site was not built:[/] {wrong}" if wrong else f"site: {target / 'index.html'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

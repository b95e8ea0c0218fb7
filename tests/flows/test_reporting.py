"""Report notebooks: parameters, failure, time limit, redaction."""

from __future__ import annotations

import time
from pathlib import Path

import nbformat
import pytest

from mp_kit.errors import InvalidInputError, NotFoundError
from mp_kit.server import reporting
from mp_kit.server.services import reports

pytestmark = pytest.mark.filterwarnings("default")  # Jupyter's libraries warn about one another


def notebook(folder: Path, *cells: str, parameters: str | None = "hours = 24\nname: str") -> Path:
    """A notebook whose first cell declares parameters."""
    made = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    if parameters is not None:
        made.cells.append(nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    made.cells += [nbformat.v4.new_code_cell(cell) for cell in cells]
    path = folder / "tiny.ipynb"
    nbformat.write(made, path)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where the executed notebook goes."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("given", "says"), [({"name": "x", "hour": 1}, "hour is unknown"), ({"hours": 1}, "name is missing"), ({}, "name")]
)
def test_validate_refuses(tmp_path: Path, given: dict[str, object], says: str):
    """Unknown and missing parameters are refused before a kernel starts."""
    with pytest.raises(InvalidInputError, match=says):
        reporting.validate(notebook(tmp_path, "1"), given)


def test_validate_without_parameters_cell(tmp_path: Path):
    """A notebook without the tag is refused."""
    with pytest.raises(InvalidInputError, match="no cell tagged"):
        reporting.validate(notebook(tmp_path, "1", parameters=None), {})


def test_find_names_what_there_is(tmp_path: Path):
    """An unknown report is told which there are."""
    notebook(tmp_path, "1")
    with pytest.raises(NotFoundError) as raised:
        reporting.find(tmp_path, "dally")
    assert "tiny" in raised.value.hint


@pytest.mark.slow
def test_make_failure_keeps_what_was_computed(tmp_path: Path, out: Path):
    """The partial notebook has the cell before the failure, as HTML too; the failure is told, secrets are not."""
    source = notebook(
        tmp_path, "print('first', hours, 'sit_0123456789_abcdef')", "raise ValueError('vk_0123456789_abcdef')"
    )
    made = reporting.make(source, {"name": "x", "hours": 7}, out, seconds=60)
    assert made.failure is not None
    assert "ValueError" in made.failure
    assert made.notebook is not None
    assert made.html is not None
    told = [output for cell in nbformat.read(made.notebook, 4).cells for output in cell.get("outputs", [])]
    assert any("first 7 sit_***" in output.get("text", "") for output in told)
    assert "_abcdef" not in str(told) + made.failure


@pytest.mark.slow
def test_make_stops_at_its_limit(tmp_path: Path, out: Path):
    """A kernel that hangs is ended from outside."""
    made = reporting.make(notebook(tmp_path, "while True: pass"), {"name": "x"}, out, seconds=4)
    assert made.failure == "It was still running after 4 s and was stopped."


@pytest.mark.slow
def test_make_notices_a_dead_kernel(tmp_path: Path, out: Path):
    """A kernel that is killed ends it within seconds; what was computed before is kept, and the page says so."""
    died = tmp_path / "died"
    kill = f"import os, pathlib, signal, time; pathlib.Path({str(died)!r}).write_text(str(time.time()))\n"
    source = notebook(tmp_path, "print('first')", f"{kill}os.kill(os.getpid(), signal.SIGKILL)", "print('after')")
    made = reporting.make(source, {"name": "x"}, out, seconds=120)
    assert time.time() - float(died.read_text()) < 60  # 5 s on an idle machine
    assert "Its kernel died: it was killed, or the machine ran out of memory." == made.failure
    assert made.html is not None
    page = made.html.read_text()
    assert (True, True, False) == ("first" in page, "This report is not whole." in page, "after" in page)


@pytest.mark.slow
def test_make_renders_a_light_page(tmp_path: Path, out: Path):
    """No script, no other host, no code; pictures inline; what looks like a tag in the title is none."""
    draw = "import matplotlib.pyplot as plt; plt.plot([1, hours]); plt.show()"
    source = notebook(tmp_path, "print('sum', 1 + hours)", draw)
    made = reporting.make(source, {"name": "x"}, out, seconds=60, title="<b>A & B")
    assert made.failure is None
    assert made.html is not None
    page = made.html.read_text()
    assert "sum 25" in page
    assert "<title>&lt;b&gt;A &amp; B</title>" in page
    assert 'src="data:image/png;base64,' in page
    assert [] == [word for word in ("<script", "http://", "https://", "plt.show") if word in page]
    assert made.plot is not None
    assert made.plot.startswith(b"\x89PNG")
    assert len(page) < 100_000


@pytest.mark.parametrize(
    ("audience", "says"), [("public", None), (None, None), ("all", "is for 'all'"), ("vendor", "vendor")]
)
def test_kind_of_a_notebook(tmp_path: Path, audience: str | None, says: str | None):
    """The operator's where it says nothing; one for vendors must take a vendor; no word is made up."""
    path = notebook(tmp_path, "1")
    read = nbformat.read(path, 4)
    read.cells.insert(0, nbformat.v4.new_markdown_cell("# How it went"))
    read.metadata["mp"] = {"audience": audience} if audience else {}
    nbformat.write(read, path)
    if says is None:
        assert reporting.Kind("How it went", reports.Audience(audience or "operator")) == reporting.kind_of(path)
    else:
        with pytest.raises(InvalidInputError, match=says):
            reporting.kind_of(path)

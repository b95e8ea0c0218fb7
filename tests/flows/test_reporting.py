"""Report notebooks: parameters, failure, time limit, redaction."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from mp_kit.errors import InvalidInputError, NotFoundError
from mp_kit.server import reporting

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
def test_make_renders(tmp_path: Path, out: Path):
    """A notebook that runs through has HTML and no failure."""
    made = reporting.make(notebook(tmp_path, "print('sum', 1 + hours)"), {"name": "x"}, out, seconds=60)
    assert made.failure is None
    assert made.html is not None
    assert "sum 25" in made.html.read_text()

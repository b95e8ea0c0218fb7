"""``make docs``: what is found, what a page holds and hides, and what is kept of a notebook that fails."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
KEY = "vk_abcdefgh_0123456789abcdefghijklmnop"

pytestmark = pytest.mark.filterwarnings("default")  # Jupyter's libraries warn about one another


@pytest.fixture(scope="module")
def docs() -> Any:
    """The script, as a module beside the demo's."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import docs  # type: ignore[import-not-found] # a script
    finally:
        sys.path.remove(str(ROOT / "scripts"))
    return docs


def notebook(folder: Path, *cells: str, parameters: str = "hours = 24") -> Path:
    made = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    made.cells.append(nbformat.v4.new_markdown_cell("Before.\n\n# What <happens>\n"))
    made.cells.append(nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    made.cells += [nbformat.v4.new_code_cell(cell) for cell in cells]
    path = folder / "vendor" / "01_tiny.ipynb"
    path.parent.mkdir(exist_ok=True)
    nbformat.write(made, path)
    return path


def test_every_notebook_can_be_run(docs: Any):
    """What its parameters leave open is given; one without parameters is run as it is."""
    found = docs.find()
    assert 20 <= len(found)
    assert [] == [path for path in found if not docs.open_parameters(path) <= docs.GIVEN.keys()]


def test_notebooks_are_found_in_the_order_of_groups(docs: Any, tmp_path: Path):
    """All of the project's own, and only the three groups."""
    for place in ("reports/b.ipynb", "vendor/02.ipynb", "vendor/01.ipynb", "other/x.ipynb", "operator/01.ipynb"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).touch()
    found = [f"{path.parent.name}/{path.name}" for path in docs.find(root=tmp_path)]
    assert ["vendor/01.ipynb", "vendor/02.ipynb", "operator/01.ipynb", "reports/b.ipynb"] == found
    assert ["01.ipynb"] == [path.name for path in docs.find("operator/", root=tmp_path)]
    assert len(list((ROOT / "notebooks").glob("*/*.ipynb"))) == len(docs.find())


def test_parameter_without_a_value_is_named(docs: Any, tmp_path: Path):
    """Before a kernel starts; the page says nothing because nothing was run."""
    path = notebook(tmp_path, parameters="nobody_knows: str")
    done = docs.run(path, docs.Who(tmp_path, os.environ), tmp_path / "out/x.html")
    assert (None, True) == (done.page, "nobody_knows" in done.failure)


def test_failing_notebook_keeps_its_page(docs: Any, tmp_path: Path):
    """What came before, masked, with the plot whole; the failure on top; the index names it; nothing from elsewhere."""
    plot = "import matplotlib.pyplot as plt\nplt.plot([1, 2]);"
    path = notebook(
        tmp_path, f"print('{KEY[:2]}' + '{KEY[2:]}', 6 * 7)", plot, "raise ValueError('this one')", "print('never')"
    )
    done = docs.run(path, docs.Who(tmp_path, os.environ), tmp_path / "out/vendor/x.html")
    page = done.page.read_text()
    assert "this one" in done.failure
    assert "What &lt;happens&gt;" in page
    assert KEY not in page
    assert "vk_*** 42" in page
    assert "data:image/png;base64,iVBOR" in page
    assert [] == re.findall(r"<(?:script|link|iframe)[^>]*(?:src|href)|src=.https?:|@import", page)
    index = docs.write_index(tmp_path / "out", [done]).read_text()
    assert '<a href="vendor/x.html">What &lt;happens&gt;</a> <b>failed</b>' in index


@pytest.mark.parametrize(("last", "fails"), [("print('the end')", False), ("raise ValueError('not told')", True)])
def test_failure_that_its_cell_announces_is_none(docs: Any, tmp_path: Path, last: str, fails: bool):
    """It is shown as what it is, without papermill's remark; another one fails the notebook all the same."""
    path = notebook(tmp_path, "raise ValueError('as told')", last)
    made = nbformat.read(path, as_version=4)
    made.cells[2].metadata["tags"] = ["raises-exception"]
    nbformat.write(made, path)
    done = docs.run(path, docs.Who(tmp_path, os.environ), tmp_path / "out/vendor/x.html")
    assert fails == bool(done.failure)
    page = done.page.read_text()
    assert "as told" in page
    assert fails == ("An Exception was encountered" in page)

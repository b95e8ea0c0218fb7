"""The operator's notebook about the current round, headless."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
NOTEBOOK = Path(__file__).parents[2] / "notebooks/operator/round_quality.ipynb"


def test_notebook_is_committed_without_outputs():
    """Outputs are for those who run it."""
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert [[]] * len(cells) == [cell.outputs for cell in cells]


def test_round_quality_notebook(marketplace: Any):
    """It draws gaps, labels, the audit, feature correlations and the timeline, and ends with a verdict."""
    executed = marketplace.operator.folder / "round_quality.ipynb"
    done = subprocess.run(
        [sys.executable, "-m", "papermill", str(NOTEBOOK), str(executed), "--no-progress-bar"],
        env=marketplace.operator.environment,
        cwd=marketplace.operator.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, done.stderr[-3000:]
    outputs = [one for cell in nbformat.read(executed, as_version=4).cells for one in cell.get("outputs", ())]
    assert 5 == sum("image/png" in one.get("data", {}) for one in outputs)
    assert [] == [one for one in outputs if one.output_type == "stream"]
    assert "No feature knows the future, in 2 symbols audited." in outputs[-1].data["text/markdown"]

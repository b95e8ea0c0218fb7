"""The vendor's RunPod notebook, headless, against `mp up` and a stand-in RunPod; and the same run by commands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
NOTEBOOK = Path(__file__).parents[2] / "notebooks/vendor/02_train_on_runpod.ipynb"


@pytest.fixture(scope="module")
def executed(marketplace: Any) -> dict[str, Any]:
    """The notebook's summary, and everything that it shows."""
    target = marketplace.vendor.folder / "trained.ipynb"
    command = [sys.executable, "-m", "papermill", str(NOTEBOOK), str(target), "--cwd", str(marketplace.vendor.folder)]
    done = subprocess.run(
        [*command, "-p", "epochs", "2", "-p", "gpu", "L4", "--no-progress-bar"],
        env=marketplace.vendor.environment | {"RUNPOD_API_KEY": marketplace.runpod_key},
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, done.stderr[-3000:]
    summary: dict[str, Any] = json.loads((marketplace.vendor.folder / "runpod/summary.json").read_text())
    return summary | {"shown": target.read_text()}


def test_notebook_trains_on_runpod(executed: dict[str, Any]):
    """One pod, a model, a bill under the estimate, and the history of a run without trouble."""
    assert ("succeeded", "NVIDIA L4") == (executed["status"], executed["machine"])
    assert "-a-bei" == executed["letters"]
    assert 0 < executed["cost_usd"] < executed["worst_case_usd"] <= 1
    assert {"model.onnx", "model_card.json"} <= set(executed["files"])


def test_notebook_shows_the_card_and_no_secret(executed: dict[str, Any], marketplace: Any):
    """A card with curves, a plot; neither key nor signature in any output."""
    assert "<polyline" in executed["shown"]
    assert "image/png" in executed["shown"]
    for secret in (marketplace.runpod_key, marketplace.vendor_key, "signature="):
        assert secret not in executed["shown"]


def test_commands_show_the_same_history(executed: dict[str, Any], marketplace: Any):
    """`mp train status --events`; `logs -f` of a run that is over ends at once."""
    told = marketplace.vendor.json("train", "status", executed["run_id"], "--events")
    assert executed["letters"] == "".join(event["letter"] or "-" for event in told["events"])
    followed = marketplace.vendor.run("train", "logs", "-f", executed["run_id"])
    assert (0, True) == (followed.returncode, "epoch 2/2" in followed.stdout)
    assert followed.stdout == marketplace.vendor.run("train", "logs", executed["run_id"]).stdout


def test_notebook_is_kept_without_outputs():
    """What is committed holds no output and no count."""
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [] == [cell for cell in cells if cell["outputs"] or cell["execution_count"] is not None]

"""The vendor's notebooks, headless, against `mp up`; and a kernel that dies on its way."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from kernels import ROOT, SECRETS, Executed, execute, of_cells, prepared
from nbclient.exceptions import DeadKernelError

from mp_kit.client.marketplace import Marketplace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
Run = Callable[[str], Executed]
FOLDER = ROOT / "notebooks/vendor"


@dataclass(frozen=True)
class Proof:
    """What a run of a notebook must have shown.

    Args:
        pictures: Plots, at least.
        says: Parts of its text.
        errors: Classes of the errors that it shows on purpose.
    """

    pictures: int
    says: tuple[str, ...]
    errors: tuple[str, ...] = ()


PROOFS = {
    "01_quickstart": Proof(3, ("each file against the signed manifest", "Pushed again: 0 accepted, 10 duplicates.")),
    "02_explore_a_round": Proof(4, ("its signature holds", "each byte against the signed manifest")),
    "03_features_and_leakage": Proof(1, ("Leaks: tomorrow.", "Leaks: none; all together out of sample")),
    "04_train_locally": Proof(2, ("that of the class frequencies", "training logistic")),
    "05_train_on_runpod": Proof(1, ("nothing is ordered", "The provider started a machine for it.", "on NVIDIA L4")),
    "06_deploy": Proof(2, ("valid: ", "is online; the last heartbeat", "EURUSD")),
    "07_push_signals": Proof(1, ("0 accepted, 10 duplicates", "stands: a signal is never rewritten", "receipts hold")),
    "08_live_performance": Proof(2, ("Score of ", "always BUY"), ("ConflictError",)),
    "09_troubleshooting": Proof(
        0, ("its signature holds", "late: [True]", "The outbox is empty"), ("AuthError", "InvalidInputError")
    ),
}


def test_all_are_here_and_numbered_in_reading_order():
    """Whoever adds a notebook says what it proves."""
    assert sorted(PROOFS) == sorted(path.stem for path in FOLDER.glob("*.ipynb"))


@pytest.mark.parametrize("name", sorted(PROOFS))
def test_notebook_as_it_is_committed(name: str):
    """No output and no count; a connection first, something to do next last."""
    cells = json.loads((FOLDER / f"{name}.ipynb").read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [] == [cell for cell in code if cell["outputs"] or cell["execution_count"] is not None]
    assert "".join(code[0]["source"]).startswith("import mp_kit as mp\n\nm = mp.connect()")
    assert "## What next\n" == cells[-1]["source"][0]
    assert 8 <= len(cells) <= 16


@pytest.mark.parametrize("name", sorted(PROOFS))
def test_notebook_runs_from_top_to_bottom(name: str, vendor_notebook: Run, marketplace: Any):
    """It shows what it promises, fails only where it says so, and shows no secret."""
    done, proof = vendor_notebook(name), PROOFS[name]
    assert [] == [said for said in proof.says if said not in done.said]
    assert set(proof.errors) <= set(done.failed) <= {*proof.errors, "CredentialError"}
    assert proof.pictures <= done.count("image/png")
    assert [] == SECRETS.findall(done.shown)
    assert [] == [key for key in (marketplace.vendor_key, marketplace.runpod_key) if key in done.shown]


@pytest.mark.parametrize("name", ["07_push_signals", "09_troubleshooting"])
def test_notebook_runs_a_second_time(name: str, vendor_notebook: Any):
    """What it made is there already then: it fails where it says so, and nowhere else."""
    vendor_notebook(name)
    again = vendor_notebook.__wrapped__(name)  # the fixture keeps what it ran
    assert set(PROOFS[name].errors) == set(again.failed) - {"CredentialError"}


def test_the_scan_for_secrets_finds_them(marketplace: Any):
    """A scan that finds nothing anywhere would prove nothing."""
    shapes = (marketplace.vendor_key, f"sit_{'a' * 30}", f"whsec_{'b' * 30}", "http://x/file?expires=1&signature=ab12")
    assert [] == [shape for shape in shapes if not SECRETS.search(json.dumps([shape]))]


def test_quickstart_pushes_once(vendor_notebook: Run):
    """The second push stores nothing."""
    told = json.loads((vendor_notebook("01_quickstart").folder / "quickstart/summary.json").read_text())
    assert told["accepted"] == told["duplicates_on_second_push"] > 0
    assert 0 == told["accepted_on_second_push"]


def test_a_run_on_runpod_and_its_history_by_commands(vendor_notebook: Run, marketplace: Any):
    """One pod, a model, a bill under the estimate, a live card; the shell tells the same."""
    done = vendor_notebook("05_train_on_runpod")
    told = json.loads((done.folder / "runpod/summary.json").read_text())
    assert ("succeeded", "NVIDIA L4", "-a-bei") == (told["status"], told["machine"], told["letters"])
    assert 0 < told["cost_usd"] < told["worst_case_usd"] <= 1
    assert {"model.onnx", "model_card.json"} <= set(told["files"])
    assert "<polyline" in done.shown
    seen = marketplace.vendor.json("train", "status", told["run_id"], "--events")
    assert told["letters"] == "".join(event["letter"] or "-" for event in seen["events"])
    followed = marketplace.vendor.run("train", "logs", "-f", told["run_id"])
    assert (0, True) == (followed.returncode, "epoch 2/2" in followed.stdout)
    assert followed.stdout == marketplace.vendor.run("train", "logs", told["run_id"]).stdout


def test_a_killed_kernel_loses_no_run(marketplace: Any):
    """By ``kill -9`` while the quickstart watches; the run goes on, and a new kernel takes it up as notebooks say."""
    vendor = marketplace.vendor
    with Marketplace(marketplace.url, marketplace.vendor_key) as market:
        before = {run.run_id for run in market.train.list()}
        quickstart = prepared(FOLDER / "01_quickstart.ipynb", {"epochs": 2, "folder": "killed"})
        with pytest.raises(DeadKernelError):
            execute(
                quickstart, vendor.folder, vendor.environment, seen=lambda client: _kill_later(client, market, before)
            )
        [run] = [one for one in market.train.list() if one.run_id not in before]
    taken_up = of_cells(
        "import mp_kit as mp\nm = mp.connect()\nrun = m.train.attach(m.train.list()[0].run_id)\nrun.watch();",
        "print(run.run_id, run.status.value)",
    )
    done = execute(taken_up, vendor.folder, vendor.environment)
    assert f"{run.run_id} succeeded\n" == done.outputs[-1].text
    assert "Run " in done.shown


def _kill_later(client: Any, market: Marketplace, before: set[str]) -> None:
    """Ends the client's kernel as soon as a new run is under way."""

    def wait() -> None:
        until = time.monotonic() + 100
        while time.monotonic() < until:
            if any(run.run_id not in before and run.started_at for run in market.train.list()):
                os.kill(client.km.provisioner.pid, signal.SIGKILL)
                return
            time.sleep(0.2)

    threading.Thread(target=wait, daemon=True).start()

"""The operator's notebooks, headless, in the operator's shell: each tells its story, proves it, and hides secrets."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import nbformat
import pytest
from kernels import Kernel, prepared
from pydantic import SecretStr
from voices import make_voice

from mp_kit.contracts import Stage, TrainingRequest
from mp_kit.server.house import House
from mp_kit.server.services import connections, consensus, money, runs, signals
from mp_kit.server.services.tokens import Principal
from mp_kit.server.wiring import open_house

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
FOLDER = Path(__file__).parents[2] / "notebooks/operator"
NOTEBOOKS = sorted(FOLDER.glob("0*.ipynb"))
SECRETS = re.compile(r"(vk|sit|ac|rpa)_[A-Za-z0-9_\-.]{16,}|eyJ[\w-]{5,}\.[\w-]+\.|signature=[^*]")
SYMBOLS = [f"SYM{number}" for number in range(8)]
VENDOR = "Watched"


@pytest.fixture(scope="module")
def watched(marketplace: Any) -> None:
    """A vendor that pushed signals beside another one, and had a machine at RunPod."""
    with open_house(marketplace.home) as house:
        with house.db.begin() as tx:
            ours, other = (make_voice(tx, house, name, Stage.PILOT) for name in (VENDOR, "Another"))
            money.set_ceiling(tx, VENDOR, Decimal(20), actor="test")
        _talk(house, ours, other)
        _train(house, ours.vendor_id or "", marketplace.spare_runpod_key)


def _talk(house: House, ours: Principal, other: Principal) -> None:
    """Both about the bar that has just closed, ours also about older ones, twice, and once against itself."""
    bar = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    old = [_row("SYM0", bar - timedelta(hours=hours), "SELL", 0.4) for hours in range(3, 15)]
    mine = [_row(symbol, bar, ("BUY", "SELL")[number % 2], 0.9) for number, symbol in enumerate(SYMBOLS)]
    for key, who, rows in (
        ("now", ours, mine),
        ("again", ours, mine),
        ("old", ours, old),
        ("changed", ours, [mine[0] | {"decision": "HOLD"}, mine[1] | {"confidence": 7}]),
        ("now", other, [_row(symbol, bar, "BUY", 0.5) for symbol in SYMBOLS[:6]]),
    ):
        batch = signals.Batch(items=rows, body=json.dumps(rows).encode(), key=key)
        with house.db.begin() as tx:
            signals.store(tx, who, batch, signer=house.signer)
    with house.db.begin() as tx:
        consensus.refresh(tx)


def _row(symbol: str, bar: datetime, decision: str, confidence: float) -> dict[str, Any]:
    at = bar.isoformat()
    row = {"symbol": symbol, "timeframe": "1h", "decision": decision, "confidence": confidence, "model_version": "1"}
    return row | {"timestamp": at, "event_time": at}


def _train(house: House, vendor_id: str, key: str) -> None:
    """A run that is cancelled as soon as its machine was heard: cheap, and it has a bill."""
    body = {"round_id": "current", "task": "signal", "provider": "runpod", "gpu": "L4"}
    order = TrainingRequest.model_validate(body | {"budget": {"max_hours": 1, "max_cost_usd": 1}})
    with house.db.begin() as tx:
        connections.put(tx, house.vault, vendor_id, "runpod", SecretStr(key), actor="test")
        now = datetime.now(UTC)
        run = runs.create(tx, vendor_id, order, idempotency_key=None, now=now, providers=house.providers)
    _await(house, lambda tx: runs.get(tx, vendor_id, run.run_id).status == "running")
    with house.db.begin() as tx:
        runs.cancel(tx, vendor_id, run.run_id, now=datetime.now(UTC))
    _await(house, lambda tx: runs.get(tx, vendor_id, run.run_id).status == "cancelled")


def _await(house: House, done: Callable[[Any], Any]) -> None:
    end = time.monotonic() + 90
    while time.monotonic() < end:
        with house.db.begin() as tx:
            if done(tx):
                return
        time.sleep(0.2)
    raise TimeoutError


@pytest.fixture(scope="module")
def kernel(marketplace: Any) -> Iterator[Kernel]:
    """One in the operator's shell for all notebooks."""
    shell = marketplace.operator
    kernel = Kernel(shell.folder, shell.environment | {"RUNPOD_API_KEY": marketplace.spare_runpod_key})
    yield kernel
    kernel.close()


PARAMETERS = {"04_investigate_a_vendor": {"vendor": VENDOR}}
PROOFS = {
    "01_onboard_a_vendor": (
        1,
        ["is **active**", "The second use: *The code is unknown, used or has ended.*", "code.exchange"],
    ),
    "02_publish_and_inspect_a_round": (3, ["a changed manifest is refused", "The candidate is **retired**"]),
    "03_watch_runs_and_money": (3, ["of Watched, cancelled", "Without a ceiling: ", "Nothing is astray."]),
    "04_investigate_a_vendor": (
        4,
        [
            "a signal is never rewritten",
            "**whole**: 2 receipts prove 20 signals",
            "**3 of 6 bars**",
            "On 14 bars nobody",
        ],
    ),
    "05_incident_drill": (
        1,
        ["**refused everywhere**", "Its run is cancelled.", "0 pods are left on the account", "503"],
    ),
    "06_capacity": (1, ["edges", "figures of a machine with"]),
}
"""Plots at least, and sentences that only a notebook shows that did what it tells."""


def test_every_notebook_proves_something():
    """A new one is tested, too; they are read in the order of their numbers."""
    assert [path.stem for path in NOTEBOOKS] == list(PROOFS)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_committed_without_outputs(notebook: Path):
    """It begins with a heading and ends with what is next, and has one cell of parameters; no outputs, no counts."""
    cells = nbformat.read(notebook, as_version=4).cells
    assert 8 <= len(cells) <= 16
    assert cells[0].source.startswith("# ")
    assert cells[-1].source.startswith("## What next")
    assert 1 == sum("parameters" in cell.metadata.get("tags", ()) for cell in cells)
    assert [] == [cell for cell in cells if cell.get("outputs") or cell.get("execution_count") is not None]


@pytest.mark.usefixtures("watched")
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_tells_its_story(marketplace: Any, kernel: Kernel, notebook: Path):
    """It draws, says what it proved, warns of nothing, marks nothing as failed, and shows no secret."""
    done = kernel.execute(prepared(notebook, PARAMETERS.get(notebook.stem, {})))
    plots, proofs = PROOFS[notebook.stem]
    told = json.dumps(done.outputs, ensure_ascii=False)
    assert [] == [one for one in done.outputs if one.output_type == "stream"]
    assert plots <= done.count("image/png")
    assert [] == [proof for proof in proofs if proof not in told]
    assert "✗" not in told
    images = re.compile(r'"image/png": "[^"]*"')
    assert [] == [found.group() for found in SECRETS.finditer(images.sub("", told))]
    for secret in (marketplace.vendor_key, marketplace.runpod_key, marketplace.spare_runpod_key):
        assert secret not in told

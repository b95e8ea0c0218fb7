"""Each public method of what a vendor's notebook calls has an example, and examples do what they say."""

from __future__ import annotations

import contextlib
import doctest
import importlib
import inspect
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import pytest

import mp_kit
from mp_kit.client import desk
from mp_kit.client.marketplace import Marketplace
from mp_kit.client.models import make_registration
from mp_kit.client.training import make_request
from mp_kit.testing import FakeMarketplace

mpl.use("Agg")
HOMES = {
    "marketplace": ["Marketplace"],
    "catalog": ["Catalog"],
    "rounds": ["Rounds", "RoundView"],
    "data": ["Data"],
    "training": ["Training"],
    "runs": ["Run"],
    "models": ["Models"],
    "deployments": ["Deployments"],
    "signals": ["SignalBox"],
    "scores": ["Scores", "Board", "ScoreView"],
    "connections": ["Connections"],
    "webhooks": ["Webhooks"],
    "keys": ["Keys"],
    "consensus": ["ConsensusBox"],
    "results": ["Rows"],
}
NOT_IN_THE_FAKE = {
    "Catalog.find",  # its catalogue is empty
    "ConsensusBox",
    "ConsensusBox.latest",
    "ConsensusBox.list",
    "ConsensusBox.push",
    "Board.plot",  # nothing is measured there
    "Deployments.change",
    "Deployments.logs",
    "Deployments.revoke_tokens",
    "Deployments.try_token",
    "Models.lineage",
    "Models.note_validation",
    "Run.environment",
    "Run.plot",  # its runs have no steps
    "Scores",
    "Scores.own",
    "Scores.plot",
    "ScoreView.plot",  # the fake's bars are days before these signals
    "Scores.score",
}
"""Examples that can only be read: the in-memory marketplace has no such route or nothing to show."""


def public() -> Iterator[tuple[str, Callable[..., Any]]]:
    """All that is looked at, by ``Class.method``."""
    for module, classes in HOMES.items():
        home = importlib.import_module(f"mp_kit.client.{module}")
        for name in classes:
            cls = getattr(home, name)
            if "Example:" in (cls.__doc__ or ""):
                yield name, cls
            for method, value in vars(cls).items():
                if inspect.isfunction(value) and not method.startswith(("_", "model_")):
                    yield f"{name}.{method}", value


PUBLIC = dict(public())


def examples(name: str) -> list[doctest.Example]:
    """The examples in a docstring."""
    return doctest.DocTestParser().get_examples(inspect.getdoc(PUBLIC[name]) or "")


def test_every_desk_is_looked_at():
    """A new part of the connection is walked too."""
    m = Marketplace("http://fake.marketplace", transport=FakeMarketplace().transport)
    parts = {type(getattr(m, name)) for name in dir(Marketplace) if isinstance(getattr(m, name), desk.Desk)}
    assert {part.__name__ for part in parts} <= {name for names in HOMES.values() for name in names}


@pytest.mark.parametrize("name", PUBLIC)
def test_docstring_has_an_example_that_parses(name: str):
    """One line that can be copied into a cell."""
    found = examples(name)
    assert found, f"{name} has no Example"
    for one in found:
        compile(one.source, name, "exec")


@pytest.mark.parametrize("name", sorted(set(PUBLIC) - NOT_IN_THE_FAKE))
def test_example_runs(name: str, world: dict[str, Any]):
    """Against a marketplace in memory."""
    with contextlib.redirect_stdout(io.StringIO()):
        for one in examples(name):
            exec(compile(one.source, name, "exec"), world)  # noqa: S102 - our own docstrings


def test_list_of_those_that_cannot_run_is_of_ours():
    """A name that is gone must leave the list."""
    assert set() == NOT_IN_THE_FAKE - set(PUBLIC)


@pytest.fixture
def world(market: Marketplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a notebook has at hand."""
    import matplotlib.pyplot as plt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("getpass.getpass", lambda _: "rpa_" + "A" * 40)
    monkeypatch.setattr(mp_kit, "connect", lambda: market, raising=False)
    run = market.train.start("signal")
    market.train.get(run.run_id)
    market.train.get(run.run_id)  # the fake's runs move on when they are looked at: it has succeeded
    model = market.models.register("trend", "signal", "0.9.0", run_id=run.run_id)
    deployment = market.deployments.create("own", provider="byoc")
    hook = market.webhooks.create("https://hooks.example.com/mp", ["run.finished"])
    market.connections.set("runpod", "rpa_" + "A" * 40)
    market.data.pull("current", output="round")
    row = {"symbol": "EURUSD", "timeframe": "1h", "decision": "BUY", "confidence": 0.5, "model_version": "1"}
    yield {
        "m": market,
        "run": run,
        "model": model,
        "deployment": deployment,
        "hook": hook,
        "message": market.webhooks.test(hook.id),
        "server": market.keys.create("server"),
        "frame": pd.DataFrame([{**row, "timestamp": pd.Timestamp("2026-01-05", tz="UTC")}]),
        "key": "rpa_" + "A" * 40,
        "keep": str,
        "make_request": make_request,
        "make_registration": make_registration,
    }
    plt.close("all")

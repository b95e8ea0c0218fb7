"""What the composition root hands on to jobs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from mp_kit.server.providers.base import LaunchOrder
from mp_kit.server.providers.local import _environment
from mp_kit.server.settings import SECRET_NAMES, load
from mp_kit.server.wiring import _addresses

ENV = {"MP_DATABASE_URL": "postgresql://x", **dict.fromkeys(SECRET_NAMES, "long enough for a secret")}
OWN = {"HF_ENDPOINT": "https://hub.example", "WANDB_BASE_URL": "https://wandb.example"}


@pytest.mark.parametrize("names", [[], ["HF_ENDPOINT"], ["WANDB_BASE_URL"], ["HF_ENDPOINT", "WANDB_BASE_URL"]])
def test_pods_learn_of_services_that_are_not_the_public_ones(names: list[str], tmp_path: Path):
    """Only of those."""
    told = {name: OWN[name] for name in names}
    assert told == _addresses(load(tmp_path, {**ENV, **told}))


def test_local_jobs_learn_where_services_are_and_get_no_key_of_the_operator(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """The operator's own keys are not the vendor's."""
    for name in ("HF_TOKEN", "WANDB_API_KEY", "RUNPOD_API_KEY", "MP_MASTER_KEY"):
        monkeypatch.setenv(name, "the operator's")
    for name, url in OWN.items():
        monkeypatch.setenv(name, url)
    order = LaunchOrder("run_1", 1, "ven_1", {"HF_TOKEN": "the vendor's"}, datetime(2030, 1, 1, tzinfo=UTC))
    given = _environment(order, tmp_path)
    assert OWN == {name: given[name] for name in OWN}
    assert ("the vendor's", False) == (given["HF_TOKEN"], "the operator's" in given.values())

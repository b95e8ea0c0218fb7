"""The round that a deployment is asked with: a model of days gets no bars of hours."""

from __future__ import annotations

from types import SimpleNamespace as Thing
from typing import Any

import pytest

from mp_kit.cli.fitting import fitting_round
from mp_kit.errors import InvalidInputError

DEPLOYMENT: Any = Thing(name="served", model_id="mod_1", version_id="ver_2")


def market(*, rounds: dict[str, str], current: str, trained: str | None = "rnd_days") -> Any:
    """Rounds by id with the length of their bars; a model of two versions, of which the older one is served."""
    manifests = rounds | {"current": rounds[current]}
    run = Thing(round_id=trained) if trained else None
    versions = [Thing(version_id="ver_3", run=Thing(round_id="rnd_other")), Thing(version_id="ver_2", run=run)]
    return Thing(
        models=Thing(lineage=lambda _model: Thing(versions=versions)),
        rounds=Thing(
            manifest=lambda name: Thing(timeframe=manifests[name]),
            list=lambda _limit: [Thing(round_id=name) for name in rounds],
        ),
    )


HOURS_NOW = {"rnd_hours": "1h", "rnd_newer_days": "1d", "rnd_days": "1d"}


def test_current_round_that_fits():
    """It stays what it was called."""
    assert "current" == fitting_round(market(rounds=HOURS_NOW, current="rnd_days"), DEPLOYMENT, "current")


def test_current_round_of_other_bars():
    """The newest one that fits is taken."""
    assert "rnd_newer_days" == fitting_round(market(rounds=HOURS_NOW, current="rnd_hours"), DEPLOYMENT, "current")


def test_named_round_of_other_bars():
    """Whoever names one hears why not."""
    with pytest.raises(InvalidInputError, match="bars of 1d, and round rnd_hours has bars of 1h"):
        fitting_round(market(rounds=HOURS_NOW, current="rnd_days"), DEPLOYMENT, "rnd_hours")


def test_no_round_fits_any_more():
    """The model's own was retired: it can be read, and is not offered."""
    there = market(rounds=HOURS_NOW, current="rnd_hours")
    there.rounds.list = lambda _limit: [Thing(round_id="rnd_hours")]
    with pytest.raises(InvalidInputError, match="no round has such bars now"):
        fitting_round(there, DEPLOYMENT, "current")


@pytest.mark.parametrize("model", [None, "mod_1"], ids=["no model", "a model without a run"])
def test_nobody_knows_what_it_was_trained_on(model: str | None):
    """Then what was wanted is taken."""
    deployment: Any = Thing(name="served", model_id=model, version_id="ver_2")
    assert "rnd_hours" == fitting_round(
        market(rounds=HOURS_NOW, current="rnd_days", trained=None), deployment, "rnd_hours"
    )

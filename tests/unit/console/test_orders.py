"""Reading the form of a run: pure, without a page."""

from __future__ import annotations

import pytest

from mp_kit.server.console.vendor.orders import FIELDS, read
from mp_kit.server.console.vendor.training import curves

FORM = {"round_id": "rnd_1", "task": "signal", "provider": "byoc"}


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [("model_type", "mlp", "mlp"), ("epochs", "3", 3), ("lr", "1e-3", 0.001), ("seed", "True", True)],
)
def test_values_become_what_they_look_like(name: str, typed: str, value: object):
    """As the command line reads them."""
    order = read(FORM | {"hyperparams": f"\r\n {name} = {typed} \r\n"})
    assert order.request is not None
    assert {name: value} == order.request.hyperparams


@pytest.mark.parametrize("typed", ["nan", "inf", "-inf", "fast"])
def test_what_is_no_finite_number_is_text(typed: str):
    """The trainer refuses it where it wants a number."""
    assert f"lr = {typed!r}" in read(FORM | {"hyperparams": f"lr={typed}"}).errors["hyperparams"]


def test_nothing_typed_is_kept_and_refused():
    """A form without any field has an error at each that is needed, and no exception."""
    order = read({})
    assert {"round_id", "task", "provider"} == set(order.errors)
    assert dict.fromkeys(FIELDS, "") == dict(order.typed)


@pytest.mark.parametrize("task", ["signal", "consensus", "optimizer"])
def test_each_task_judges_its_own_hyperparameters(task: str):
    """An unknown name is refused with those that are known."""
    order = read(FORM | {"task": task, "hyperparams": "ephocs=3"})
    assert "is not known here. Use some of" in order.errors["hyperparams"]


def test_budget_and_tracking_are_read():
    """Bounds as numbers, tracking with its project."""
    order = read(FORM | {"max_hours": "1.5", "max_cost_usd": " 4 ", "wandb": "on", "wandb_project": "fx"})
    assert order.request is not None
    assert (1.5, 4.0) == (order.request.budget.max_hours, order.request.budget.max_cost_usd)
    assert (True, "fx") == (order.request.wandb.enabled, order.request.wandb.project)


def test_curves_take_finite_numbers_by_step():
    """One line per number; a single point, infinities and flags make none."""
    told = [{"step": 1, "loss": 2, "flag": True, "wild": float("inf")}, {"step": 2, "loss": 1.5, "once": 7}]
    assert [("loss", [2.0, 1.5])] == [(name, [point.value for point in points]) for name, points in curves(told)]

"""What `%%mp train` reads: options and hyperparameters, and what is neither."""

from __future__ import annotations

import pytest
from IPython.core.error import UsageError

from mp_kit.cli.completion import complete
from mp_kit.cli.orders import OPTIONS, read_order


def test_order_of_line_and_cell():
    """Options by name wherever they stand; all else is a hyperparameter."""
    cell = "# mine\nepochs: 20\nlr = 0.001  # slow\nmax_cost: 2\nround: 20260101\nname: 'a: #1'\ndeep: true\n"
    order = read_order(["--task", "signal", "--max-hours=1", "--hp", "depth=3", "--no-watch"], cell)
    assert {"task": "signal", "max_hours": 1, "max_cost_usd": 2, "round": "20260101"} == order.options
    assert {"depth": 3, "epochs": 20, "lr": 0.001, "name": "a: #1", "deep": True} == order.hyperparams
    assert not order.watch
    assert "epochs=20" in str(order)


def test_block_of_hyperparams_takes_any_name():
    """Also the name of an option."""
    order = read_order([], "gpu: L4\nhyperparams:\n  max_costs: 3\n  gpu: 1\n\ncpu: 4\n")
    assert ({"gpu": "L4", "cpu": 4}, {"max_costs": 3, "gpu": 1}) == (order.options, order.hyperparams)


def test_order_without_a_bound_says_so():
    """Money is nothing to be silent about."""
    assert "no bound of yours" in str(read_order([], "epochs: 1"))
    assert "no bound of yours" not in str(read_order(["--max-hours", "1"], ""))


@pytest.mark.parametrize(
    ("words", "cell", "said"),
    [
        ([], "max_cost_uds: 2", "Did you mean max_cost_usd"),
        ([], "budget: 2", "no option"),
        ([], "hyperparam:\n  lr: 1", "Did you mean hyperparams|no value"),
        ([], "epochs", "no `name: value`"),
        ([], "epochs:", "has no value"),
        ([], "epochs: 1\nepochs: 2", "twice"),
        ([], "  epochs: 1", "indented"),
        ([], "hyperparams: {lr: 1}", "lines of their own"),
        (["--max-huors", "1"], "", "does not know '--max-huors'"),
        (["epochs=1"], "", "does not know 'epochs=1'"),
        (["--gpu"], "", "wants a value"),
        (["--gpu", "L4"], "gpu: A100", "twice"),
    ],
)
def test_what_cannot_be_read(words: list[str], cell: str, said: str):
    """Refused before anything is ordered, with the place."""
    with pytest.raises(UsageError, match=said):
        read_order(words, cell)


@pytest.mark.parametrize(
    ("words", "cell", "there"),
    [
        (["da"], False, ["data"]),
        (["data", "pu"], False, ["pull"]),
        (["data", "pull", "--out"], False, ["--output"]),
        (["data", "pull", "--output", "x", "--out"], False, []),
        (["nothing", ""], False, []),
        (["--v"], False, ["--version"]),
        ([""], True, ["train"]),
        (["train", "--max-h"], True, ["--max-hours"]),
        (["signals", "push", "--dr"], False, ["--dry-run"]),
    ],
)
def test_completion(words: list[str], cell: bool, there: list[str]):
    """Out of the commands themselves."""
    assert there == complete(words, cell=cell)


def test_options_are_those_of_start():
    """A new argument of `m.train.start` must be known here."""
    import inspect

    from mp_kit.client.training import Training

    known = set(inspect.signature(Training.start).parameters) - {"self", "hyperparams"}
    assert known == set(OPTIONS)

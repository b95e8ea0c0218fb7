"""The whole optimizer as one ONNX graph: recent returns and present weights in, weights out.

The graph is ``portfolio.decide`` again, node for node, with the learned numbers as constants, in float64.
"""

from __future__ import annotations

import numpy as np

from mp_kit.trainer.graphs import Graph
from mp_kit.trainer.portfolio import ITERATIONS, TINY, Rules

__all__ = ["HELD", "OUTPUTS", "RETURNS", "allocation_document"]

RETURNS = "returns"
HELD = "previous"
OUTPUTS = ("weights", "expected_return", "expected_volatility")
"""Weights of shape (1, n); return and volatility per year, shape (1, 1)."""

_FAR = 1e9
_DOUBLE = 11
_FLOAT = 1


def allocation_document(symbols: int, lookback: int, shrinkage: float, rules: Rules) -> bytes:
    """Writes the graph.

    Args:
        symbols: Columns of ``returns`` and ``previous``.
        lookback: Rows of ``returns``.
        shrinkage: How far means are shrunk, 0 to 1.
        rules: The constraints.
    """
    graph = _Doubles()
    returns, held = (graph.add("Cast", name, to=_DOUBLE) for name in (RETURNS, HELD))
    means, covariance = _moments(graph, returns, symbols, lookback)
    variances = graph.total(graph.mul(covariance, graph.value(np.eye(symbols))), 0)
    prior = graph.mul(graph.add("Sqrt", variances), graph.value(shrinkage * _per_bar(rules)))
    expected = graph.add("Add", graph.mul(means, graph.value(1 - shrinkage)), prior)
    weights = _solved(graph, expected, covariance, held, rules)
    volatility = _volatility(graph, weights, covariance, rules)
    if rules.volatility_target:
        ratio = graph.div(graph.value(rules.volatility_target), graph.add("Max", volatility, graph.value(TINY)))
        weights = graph.mul(weights, graph.add("Min", ratio, graph.value(1.0)))
        volatility = _volatility(graph, weights, covariance, rules)
    earned = graph.mul(graph.total(graph.mul(weights, expected), 1), graph.value(rules.bars_per_year))
    for name, source in zip(OUTPUTS, (weights, earned, volatility), strict=True):
        graph.add("Cast", source, name=name, to=_FLOAT)
    shapes = {OUTPUTS[0]: [1, symbols], OUTPUTS[1]: [1, 1], OUTPUTS[2]: [1, 1]}
    return graph.document("optimizer", {RETURNS: [lookback, symbols], HELD: [1, symbols]}, shapes)


class _Doubles(Graph):
    """A graph whose constants are float64."""

    def value(self, value: object) -> str:
        return self.constant(value, np.float64)

    def mul(self, left: str, right: str) -> str:
        return self.add("Mul", left, right)

    def div(self, left: str, right: str) -> str:
        return self.add("Div", left, right)

    def minus(self, left: str, right: str) -> str:
        return self.add("Sub", left, right)

    def total(self, what: str, axis: int | None) -> str:
        """The sum along an axis, which stays with length 1; along all of them where it is None."""
        if axis is None:
            return self.add("ReduceSum", what, keepdims=1)
        return self.add("ReduceSum", what, self.constant([axis], np.int64), keepdims=1)


def _per_bar(rules: Rules) -> float:
    return rules.prior_sharpe / float(np.sqrt(rules.bars_per_year))


def _moments(graph: _Doubles, returns: str, symbols: int, lookback: int) -> tuple[str, str]:
    """``portfolio.ledoit_wolf``: means (1, n) and covariance (n, n)."""
    bars, n = graph.value(lookback), graph.value(symbols)
    means = graph.div(graph.total(returns, 0), bars)
    centred = graph.minus(returns, means)
    sample = graph.div(graph.add("MatMul", graph.add("Transpose", centred, perm=[1, 0]), centred), bars)
    eye = graph.value(np.eye(symbols))
    scale = graph.div(graph.total(graph.mul(sample, eye), None), n)
    square = graph.total(graph.mul(sample, sample), None)
    distance = graph.minus(square, graph.mul(n, graph.mul(scale, scale)))
    lengths = graph.total(graph.mul(centred, centred), 1)
    fourth = graph.div(graph.total(graph.mul(lengths, lengths), None), bars)
    noise = graph.div(graph.minus(fourth, square), bars)
    ratio = graph.div(noise, graph.add("Max", distance, graph.value(TINY)))
    shrinkage = graph.add("Clip", ratio, graph.value(0.0), graph.value(1.0))
    kept = graph.mul(graph.minus(graph.value(1.0), shrinkage), sample)
    return means, graph.add("Add", kept, graph.mul(graph.mul(shrinkage, scale), eye))


def _solved(graph: _Doubles, expected: str, covariance: str, held: str, rules: Rules) -> str:
    """``portfolio.solve``: a loop over projected steps with momentum."""
    trace = graph.total(graph.mul(covariance, graph.add("EyeLike", covariance, dtype=_DOUBLE)), None)
    size = graph.add("Cast", graph.add("Shape", covariance, end=1), to=_DOUBLE)
    scale = graph.add("Add", graph.div(trace, size), graph.value(TINY))
    risk = graph.div(graph.mul(covariance, graph.value(rules.risk_aversion)), scale)
    penalty = graph.value(rules.turnover_penalty)
    hessian = graph.add("Add", risk, graph.mul(graph.add("EyeLike", covariance, dtype=_DOUBLE), penalty))
    slope = graph.add("Add", graph.div(expected, scale), graph.mul(held, penalty))
    rows = graph.total(graph.add("Abs", hessian), 1)
    step = graph.div(graph.value(1.0), graph.add("ReduceMax", rows, keepdims=1))
    body = _body(hessian, slope, step, rules.max_weight)
    trips = graph.constant(ITERATIONS, np.int64)
    [weights, _] = graph.add_many("Loop", [trips, "", held, held], ["solved", "last_moved"], body=body)
    return weights


def _body(hessian: str, slope: str, step: str, cap: float) -> object:
    """One step: from (number, go on, weights, moved) to (go on, weights, moved)."""
    from onnx import TensorProto, helper

    graph = _Doubles("in_loop_")
    gradient = graph.minus(graph.add("MatMul", "moved_in", hessian), slope)
    tried = graph.minus("moved_in", graph.mul(step, gradient))
    new = _projected(graph, tried, cap)
    number = graph.add("Cast", "number", to=_DOUBLE)
    part = graph.div(number, graph.add("Add", number, graph.value(3.0)))
    moved = graph.add("Add", new, graph.mul(part, graph.minus(new, "weights_in")))
    for source, name in ((new, "weights_out"), (moved, "moved_out"), ("go_on_in", "go_on_out")):
        graph.add("Identity", source, name=name)
    double = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, None) for name in _STATES]
    number_in = helper.make_tensor_value_info("number", TensorProto.INT64, [])
    go_on = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("go_on_in", "go_on_out")]
    return graph.body([number_in, go_on[0], *double[:2]], [go_on[1], *double[2:]])


_STATES = ("weights_in", "moved_in", "weights_out", "moved_out")


def _projected(graph: _Doubles, values: str, cap: float) -> str:
    """``portfolio.project`` for one row: the ends of the straight pieces are rows, the symbols columns."""
    zero, one, far, high = (graph.value(number) for number in (0.0, 1.0, _FAR, cap))
    start = graph.value([[0.0]])
    flat = graph.add("Concat", start, values, graph.minus(values, high), axis=1)
    ends = graph.add("Transpose", graph.add("Max", flat, zero), perm=[1, 0])
    sums = graph.total(graph.add("Clip", graph.minus(values, ends), zero, high), 1)
    above, below = graph.add("GreaterOrEqual", sums, one), graph.add("LessOrEqual", sums, one)
    low = graph.add("ReduceMax", graph.add("Where", above, ends, zero), keepdims=1)
    upper = graph.add("ReduceMin", graph.add("Where", below, ends, far), keepdims=1)
    most = graph.add("ReduceMin", graph.add("Where", above, sums, far), keepdims=1)
    least = graph.add("ReduceMax", graph.add("Where", below, sums, zero), keepdims=1)
    gap = graph.add("Max", graph.minus(most, least), graph.value(TINY))
    part = graph.div(graph.minus(most, one), gap)
    threshold = graph.add("Add", low, graph.mul(part, graph.minus(upper, low)))
    return graph.add("Clip", graph.minus(values, threshold), zero, high)


def _volatility(graph: _Doubles, weights: str, covariance: str, rules: Rules) -> str:
    """Per year, shape (1, 1)."""
    variance = graph.total(graph.mul(graph.add("MatMul", weights, covariance), weights), 1)
    return graph.add("Sqrt", graph.mul(variance, graph.value(rules.bars_per_year)))

"""Signal models of torch: a network over one bar's features, and a GRU over the last bars' (extra ``torch``).

1. float32 everywhere: TF32 and autotuning are off, and torch must use deterministic algorithms or refuse.
2. One seed on one machine gives the same weights. On the CPU that holds for one thread, which torch is limited to.
3. The graph is written by hand from the weights: torch's own exporter and its dependencies are not needed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mp_kit.trainer.data import Windows
from mp_kit.trainer.graphs import Graph
from mp_kit.trainer.models import WEIGHT_DECAY, Hyperparams

__all__ = ["Network", "device_name", "train_network"]

INPUT = "features"
OUTPUT = "probabilities"
_FLAT = 1e-12


def device_name() -> str:
    """``cuda`` where there is a GPU, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def _logits(module: Any, windows: Any) -> Any:
    """Shape (n, window, features) in, (n, classes) out: by the GRU's last state, or by the window's last row."""
    if "gru" in module:
        _, states = module["gru"](windows)
        return module["head"](states[-1])
    return module["layers"](windows[:, -1])


def _module(params: Hyperparams, width: int, classes: int) -> Any:
    """A GRU whose last state speaks (Cho et al., EMNLP 2014), or a perceptron with two hidden layers."""
    nn = torch.nn
    if params.model_type == "gru":
        parts = {"gru": nn.GRU(width, params.hidden, batch_first=True), "head": nn.Linear(params.hidden, classes)}
    else:
        first, second = nn.Linear(width, params.hidden), nn.Linear(params.hidden, params.hidden)
        parts = {"layers": nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Linear(params.hidden, classes))}
    return nn.ModuleDict(parts)


@dataclass
class Network:
    """A network on its way.

    Attributes:
        module: The network, which takes scaled windows.
        mean: Of the training rows' features, shape (k,).
        scale: Their standard deviation; 1 where they do not vary.
        classes: The directions, ascending.
        window: Bars that it reads; 1 for the perceptron.
    """

    module: Any
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    classes: NDArray[np.int64]
    window: int

    def given(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """The windows as the graph wants them: without their axis where there is one row in each."""
        return np.ascontiguousarray(windows if "gru" in self.module else windows[:, -1])

    def probabilities(self, windows: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
        """Shape (n, window, features) in, (n, classes) out."""
        device = next(self.module.parameters()).device
        with torch.no_grad():
            rows = torch.from_numpy((windows - self.mean) / self.scale).to(device)
            answer: NDArray[np.floating[Any]] = torch.softmax(_logits(self.module, rows), dim=1).cpu().numpy()
        return answer

    def onnx(self, width: int) -> bytes:
        """The network as a graph over ``width`` features."""
        graph = Graph()
        scaled = graph.add("Div", graph.add("Sub", INPUT, graph.constant(self.mean)), graph.constant(self.scale))
        weights = {name: value.detach().cpu().numpy() for name, value in self.module.state_dict().items()}
        if "gru" in self.module:
            shape: list[int | None] = [None, self.window, width]
            last = _gru(graph, scaled, weights)
            logits = _linear(graph, last, weights, "head")
        else:
            shape, logits = [None, width], _layers(graph, scaled, weights)
        graph.add("Softmax", logits, name=OUTPUT, axis=1)
        return graph.document("signal", {INPUT: shape}, {OUTPUT: [None, len(self.classes)]})


def train_network(training: Windows, params: Hyperparams) -> Iterator[tuple[int, float, Network]]:
    """Trains with Adam on the cross entropy; yields after each epoch.

    Args:
        training: The training rows.
        params: What to train, and how long.

    Yields:
        The epoch from 1, the mean training loss in nats, and the network as it is then.
    """
    _be_deterministic(params.seed)
    network, device = _start(training, params), torch.device(device_name())
    network.module.to(device)
    columns = torch.from_numpy(np.searchsorted(network.classes, training.direction)).to(device)
    adam = torch.optim.Adam(network.module.parameters(), lr=params.lr, weight_decay=WEIGHT_DECAY)
    random = np.random.default_rng(params.seed)
    for epoch in range(1, params.epochs + 1):
        order, total = random.permutation(training.rows), 0.0
        for start in range(0, training.rows, params.batch_size):
            at = order[start : start + params.batch_size]
            rows = torch.from_numpy((training.take(at) - network.mean) / network.scale).to(device)
            loss = torch.nn.functional.cross_entropy(
                _logits(network.module, rows), columns[torch.from_numpy(at).to(device)]
            )
            adam.zero_grad()
            loss.backward()
            adam.step()
            total += float(loss.detach()) * len(at)
        yield epoch, total / training.rows, network


def _be_deterministic(seed: int) -> None:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is only deterministic with a fixed workspace
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(mode=True)
    torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def _start(training: Windows, params: Hyperparams) -> Network:
    rows = training.matrix[training.ends].astype(np.float64)
    scale = rows.std(axis=0)
    classes = np.unique(training.direction)
    return Network(
        _module(params, rows.shape[1], len(classes)),
        rows.mean(axis=0).astype(np.float32),
        np.where(scale > _FLAT, scale, 1.0).astype(np.float32),
        classes,
        params.window,
    )


def _linear(graph: Graph, rows: str, weights: dict[str, Any], name: str) -> str:
    matrix, bias = graph.constant(weights[f"{name}.weight"]), graph.constant(weights[f"{name}.bias"])
    return graph.add("Gemm", rows, matrix, bias, transB=1)


def _layers(graph: Graph, rows: str, weights: dict[str, Any]) -> str:
    for number in (0, 2):  # the odd ones are ReLUs
        rows = graph.add("Relu", _linear(graph, rows, weights, f"layers.{number}"))
    return _linear(graph, rows, weights, "layers.4")


def _gru(graph: Graph, windows: str, weights: dict[str, Any]) -> str:
    """ONNX keeps the gates as update, reset, new; torch as reset, update, new. Both reset after the product."""
    inner, outer, first, second = (
        _reordered(weights[f"gru.{name}_l0"]) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    steps = graph.add("Transpose", windows, perm=[1, 0, 2])
    constants = [graph.constant(each[None]) for each in (inner, outer, np.concatenate([first, second]))]
    hidden = outer.shape[1]
    [_, state] = graph.add_many("GRU", [steps, *constants], ["", "state"], hidden_size=hidden, linear_before_reset=1)
    return graph.add("Squeeze", state, graph.constant([0], np.int64))


def _reordered(gates: NDArray[np.float32]) -> NDArray[np.float32]:
    reset, update, new = np.split(gates, 3)
    return np.concatenate([update, reset, new])

"""A trained classifier as ONNX, checked against the original: no pickle ever leaves a job.

The graph takes ``features`` (float32, rows x features, or rows x window x features) and gives ``probabilities``
(float32, rows x classes).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mp_kit.errors import IntegrityError
from mp_kit.trainer.graphs import OPSET, open_session
from mp_kit.trainer.models import SignalModel

__all__ = ["INPUT", "OUTPUT", "export_checked", "to_onnx_bytes"]

INPUT = "features"
OUTPUT = "probabilities"
TOLERANCE = 1e-4
"""Largest difference of a probability that passes as float32 rounding."""


def export_checked(model: SignalModel, path: Path, windows: NDArray[np.float32]) -> float:
    """Writes the ONNX file and compares its answers with the model's own.

    Args:
        model: A fitted model.
        path: Where to write.
        windows: Rows to compare on, shape (n, window, k).

    Returns:
        The largest absolute difference of a probability.

    Raises:
        IntegrityError: It is above ``TOLERANCE``; nothing is written.
    """
    document = model.onnx(windows.shape[2])
    answers = open_session(document).run([OUTPUT], {INPUT: model.given(windows)})[0]
    difference = float(np.max(np.abs(answers - model.probabilities(windows))))
    if not difference <= TOLERANCE:
        raise IntegrityError(f"The ONNX export differs from the model by {difference:.2e}, above {TOLERANCE:.0e}.")
    path.write_bytes(document)
    return difference


def to_onnx_bytes(model: Any, width: int) -> bytes:
    """The model as a serialized ONNX graph over ``width`` features."""
    if hasattr(model, "steps"):
        return _from_pipeline(model, width)
    return _from_trees(model, width)


def _from_pipeline(model: Any, width: int) -> bytes:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    graph = convert_sklearn(
        model,
        "signal",
        initial_types=[(INPUT, FloatTensorType([None, width]))],
        final_types=[("label", None), (OUTPUT, None)],
        options={id(model): {"zipmap": False}},
        target_opset=OPSET,
    )
    return bytes(graph.SerializeToString())


def _from_trees(model: Any, width: int) -> bytes:
    """Boosted trees by hand: the converter of skl2onnx 1.20 cannot write scikit-learn 1.9's."""
    from onnx import TensorProto, helper

    ensemble = _ensemble(model)
    n_classes = len(model.classes_)
    binary = {"post_transform": "NONE"}
    nodes = [helper.make_node("TreeEnsembleRegressor", [INPUT], ["raw"], domain="ai.onnx.ml", **ensemble, **binary)]
    last = "raw"
    initial = []
    if ensemble["n_targets"] == 1:  # two classes are one score: its negative is the other's half of a softmax
        initial.append(helper.make_tensor("signs", TensorProto.FLOAT, [1, 2], [0.0, 1.0]))
        nodes.append(helper.make_node("MatMul", ["raw", "signs"], ["pair"]))
        last = "pair"
    nodes.append(helper.make_node("Softmax", [last], [OUTPUT], axis=1))
    graph = helper.make_graph(
        nodes,
        "signal",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None, n_classes])],
        initial,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", 3)]
    document = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="mp-kit")
    return bytes(document.SerializeToString())


def _ensemble(model: Any) -> dict[str, Any]:
    """The attributes of a TreeEnsembleRegressor: one entry per node, over all trees of all classes."""
    trees = [(target, tree.nodes) for stage in model._predictors for target, tree in enumerate(stage)]  # noqa: SLF001 - scikit-learn shows its trees nowhere else
    nodes = np.concatenate([entries for _, entries in trees])
    sizes = [len(entries) for _, entries in trees]
    tree_ids = np.repeat(np.arange(len(trees)), sizes)
    node_ids = np.concatenate([np.arange(size) for size in sizes])
    targets = np.repeat([target for target, _ in trees], sizes)
    leaf = nodes["is_leaf"].astype(bool)
    return {
        "n_targets": len(model._predictors[0]),  # noqa: SLF001 - same
        "base_values": model._baseline_prediction.ravel().tolist(),  # noqa: SLF001 - same
        "nodes_treeids": tree_ids.tolist(),
        "nodes_nodeids": node_ids.tolist(),
        "nodes_modes": np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
        "nodes_featureids": np.where(leaf, 0, nodes["feature_idx"]).tolist(),
        "nodes_values": np.where(leaf, 0.0, _float32_below(nodes["num_threshold"])).tolist(),
        "nodes_truenodeids": np.where(leaf, 0, nodes["left"]).tolist(),
        "nodes_falsenodeids": np.where(leaf, 0, nodes["right"]).tolist(),
        "target_treeids": tree_ids[leaf].tolist(),
        "target_nodeids": node_ids[leaf].tolist(),
        "target_ids": targets[leaf].tolist(),
        "target_weights": nodes["value"][leaf].tolist(),
    }


def _float32_below(thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    """The largest float32 not above each threshold: for float32 inputs it splits exactly alike."""
    rounded = thresholds.astype(np.float32)
    below = np.where(rounded > thresholds, np.nextafter(rounded, np.float32(-np.inf)), rounded)
    return below.astype(np.float64)

"""ONNX graphs written node by node, for models that no converter knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["Graph", "open_session"]

OPSET = 17
_IR = 8


class Graph:
    """A graph under construction; every node's output gets a name of its own.

    Args:
        prefix: Begins all names: those in the body of a loop must differ from those around it.
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._number = 0

    def add(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """Appends a node with one output and returns the output's name."""
        [made] = self.add_many(kind, inputs, [name or self._fresh(kind)], **attributes)
        return made

    def add_many(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> Sequence[str]:
        """Appends a node with named outputs; an empty name is an output that nobody reads."""
        from onnx import helper

        self._nodes.append(helper.make_node(kind, list(inputs), list(outputs), **attributes))
        return outputs

    def constant(self, value: Any, dtype: type[np.generic] = np.float32) -> str:
        """Stores a constant and returns its name."""
        from onnx import numpy_helper

        name = self._fresh("constant")
        self._constants.append(numpy_helper.from_array(np.array(value, dtype=dtype), name))
        return name

    def body(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
        """The nodes so far as the body of a ``Loop``."""
        from onnx import helper

        return helper.make_graph(self._nodes, "body", list(inputs), list(outputs), self._constants)

    def document(
        self, name: str, inputs: Mapping[str, Sequence[int | str | None]], outputs: Mapping[str, Sequence[Any]]
    ) -> bytes:
        """The whole model; inputs and outputs are float32, a dimension without a number is free."""
        from onnx import TensorProto, helper

        ends = [
            [helper.make_tensor_value_info(key, TensorProto.FLOAT, list(shape)) for key, shape in part.items()]
            for part in (inputs, outputs)
        ]
        graph = helper.make_graph(self._nodes, name, ends[0], ends[1], self._constants)
        made = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR, producer_name="mp-kit"
        )
        return bytes(made.SerializeToString())

    def _fresh(self, kind: str) -> str:
        self._number += 1
        return f"{self._prefix}{kind.lower()}_{self._number}"


def open_session(document: bytes) -> Any:
    """An onnxruntime session on one thread: sums then have one order, and answers one value."""
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = 1
    return InferenceSession(document, options, providers=["CPUExecutionProvider"])

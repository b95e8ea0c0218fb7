"""A trained signal model at work: folder in, decisions and confidences out.

1. The model is used only if its bytes are those that its card names, and its width is that of the card's features.
2. Columns are taken by name, in the card's order; a missing one is an error, an extra one is ignored.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from mp_kit.errors import IntegrityError, InvalidInputError, MissingExtraError
from mp_kit.trainer.data import to_matrix

__all__ = ["Predictions", "Predictor"]


class Predictions(NamedTuple):
    """Answers, row by row.

    Attributes:
        decisions: ``BUY``, ``SELL`` or ``HOLD``.
        confidences: Probability of the decision, 0 to 1.
    """

    decisions: list[str]
    confidences: NDArray[np.float64]


class Predictor:
    """A loaded model; build it with :meth:`load`.

    Args:
        session: The ONNX session.
        card: The model card.
    """

    def __init__(self, session: Any, card: dict[str, Any]) -> None:
        self._session = session
        self.card = card
        self.features: list[str] = card["features"]
        self._decisions = np.array(card["decisions"])

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Loads ``model.onnx`` and ``model_card.json``.

        Args:
            folder: Where both lie.

        Raises:
            InvalidInputError: A file is missing, or the card is none.
            IntegrityError: The model is not the one that the card describes.
            MissingExtraError: onnxruntime is not installed.
        """
        try:
            from onnxruntime import InferenceSession
        except ImportError:
            raise MissingExtraError.for_extra("train", "Predicting") from None
        card = _card(Path(folder) / "model_card.json")
        document = _bytes(Path(folder) / card["onnx"]["file"])
        if hashlib.sha256(document).hexdigest() != card["onnx"]["sha256"]:
            raise IntegrityError(f"{card['onnx']['file']} in {folder} is not the model that its card describes.")
        session = InferenceSession(document, providers=["CPUExecutionProvider"])
        width = session.get_inputs()[0].shape[1]
        if width != len(card["features"]):
            raise IntegrityError(f"The model takes {width} features, its card lists {len(card['features'])}.")
        return cls(session, card)

    def predict(self, table: pa.Table | pd.DataFrame) -> Predictions:
        """Decides for each row.

        Args:
            table: Rows with the card's feature columns, finite.

        Raises:
            InvalidInputError: A feature is missing, or not finite in some row; the message says which and where.
        """
        probabilities = self.probabilities(table)
        best = np.argmax(probabilities, axis=1)
        confidences = probabilities[np.arange(len(best)), best]
        return Predictions([str(each) for each in self._decisions[best]], confidences)

    def probabilities(self, table: pa.Table | pd.DataFrame) -> NDArray[np.float64]:
        """Probabilities per row, shape (rows, classes), columns in the order of the card's ``decisions``."""
        matrix = self._matrix(table)
        (answers,) = self._session.run(["probabilities"], {"features": matrix})
        return np.clip(np.asarray(answers, dtype=np.float64), 0.0, 1.0)

    def _matrix(self, table: pa.Table | pd.DataFrame) -> NDArray[np.float32]:
        names = table.column_names if isinstance(table, pa.Table) else list(table.columns)
        missing = [name for name in self.features if name not in names]
        if missing:
            raise InvalidInputError(
                f"The table lacks {len(missing)} of the model's features: {', '.join(missing[:10])}.",
                hint="Compute them with mp_kit.market.indicators, as the round did.",
            )
        if isinstance(table, pd.DataFrame):
            matrix = table[self.features].to_numpy(dtype=np.float32)
        else:
            matrix = to_matrix(table, self.features)
        self._check_finite(matrix)
        return np.ascontiguousarray(matrix)

    def _check_finite(self, matrix: NDArray[np.float32]) -> None:
        bad = np.argwhere(~np.isfinite(matrix))
        if len(bad):
            row, column = bad[0]
            raise InvalidInputError(
                f"{self.features[column]} is not finite in row {row} ({len(np.unique(bad[:, 0]))} such rows).",
                hint="Leave the warm-up rows out: features need their whole window.",
            )


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InvalidInputError(f"There is no {path.name} in {path.parent}.") from None


def _card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(_bytes(path))
        wanted = [card[key] for key in ("features", "decisions", "onnx")]
    except (ValueError, KeyError, TypeError):
        raise InvalidInputError(f"{path} is no model card.") from None
    if not all(wanted):
        raise InvalidInputError(f"{path} is no model card: a part of it is empty.")
    return dict(card)

"""A trained model at work: folder in; decisions and confidences, or weights, out.

1. The model is used only if its bytes are those that its card names, and its width is that of the card's features.
2. Columns are taken by name, in the card's order; a missing one is an error, an extra one is ignored.
3. What a model of one task cannot answer, it refuses by name: a Predictor is loaded for any of the three.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from mp_kit.contracts.consensus import Allocation, OptimizerWrite
from mp_kit.errors import IntegrityError, InvalidInputError, MissingExtraError
from mp_kit.trainer.data import to_matrix
from mp_kit.trainer.graphs import open_session

__all__ = ["Allocations", "Predictions", "Predictor"]


class Predictions(NamedTuple):
    """Answers, row by row.

    Attributes:
        decisions: ``BUY``, ``SELL`` or ``HOLD``.
        confidences: Probability of the decision, 0 to 1.
    """

    decisions: list[str]
    confidences: NDArray[np.float64]


class Allocations(NamedTuple):
    """What to hold.

    Attributes:
        weights: By symbol, 0 to 1; what they lack to 1 is cash.
        expected_return: Per year, as the model expects.
        expected_volatility: Per year.
    """

    weights: dict[str, float]
    expected_return: float
    expected_volatility: float

    def to_write(self, *, model_version: str, timeframe: str, timestamp: datetime) -> OptimizerWrite:
        """As the wire wants it.

        Args:
            model_version: Of the model that is deployed.
            timeframe: Of the bars.
            timestamp: An aware instant.
        """
        risky = self.expected_volatility > 0
        return OptimizerWrite.model_validate(
            {
                "allocations": [Allocation(symbol=symbol, weight=weight) for symbol, weight in self.weights.items()],
                "expected_return": self.expected_return,
                "expected_volatility": self.expected_volatility,
                "sharpe_ratio": self.expected_return / self.expected_volatility if risky else None,
                "model_version": model_version,
                "timeframe": timeframe,
                "timestamp": timestamp,
            }
        )


class Predictor:
    """A loaded model; build it with :meth:`load`.

    Args:
        session: The ONNX session.
        card: The model card.
    """

    def __init__(self, session: Any, card: dict[str, Any]) -> None:
        self._session = session
        self.card = card
        self.task: str = card["task"]
        self.features: list[str] = card["features"]
        self._window = int(card.get("window_bars", 1))
        self._decisions = np.array(card.get("decisions", []))

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
        if find_spec("onnxruntime") is None:
            raise MissingExtraError.for_extra("train", "Predicting")
        card = _card(Path(folder) / "model_card.json")
        document = _bytes(Path(folder) / card["onnx"]["file"])
        if hashlib.sha256(document).hexdigest() != card["onnx"]["sha256"]:
            raise IntegrityError(f"{card['onnx']['file']} in {folder} is not the model that its card describes.")
        session = open_session(document)
        width = session.get_inputs()[0].shape[-1]
        if width != len(card["features"]):
            raise IntegrityError(f"The model takes {width} features, its card lists {len(card['features'])}.")
        return cls(session, card)

    def predict(self, table: pa.Table | pd.DataFrame) -> Predictions:
        """Decides for each row; a model with a window decides from its first whole window on.

        Args:
            table: A signal model takes the card's feature columns, finite; with a window, one symbol's bars in order.
                A consensus takes a column per voice, -1 (SELL) to 1 (BUY), where null is no opinion; the columns of
                built-in experts may be left out where the features are there that they read.

        Raises:
            InvalidInputError: A feature is missing, or not finite in some row, or this model allocates; the message
                says which and where.
        """
        probabilities = self.probabilities(table)
        best = np.argmax(probabilities, axis=1)
        confidences = probabilities[np.arange(len(best)), best]
        return Predictions([str(each) for each in self._decisions[best]], confidences)

    def probabilities(self, table: pa.Table | pd.DataFrame) -> NDArray[np.float64]:
        """Probability of each of the card's decisions, shape (rows, decisions).

        Raises:
            InvalidInputError: As :meth:`predict`.
        """
        self._must(self.task != "optimizer", "allocate")
        rows = self._scores(table) if self.task == "consensus" else self._windows(self._matrix(table))
        [answer] = self._session.run(["probabilities"], {"features": rows})
        return np.asarray(answer, dtype=np.float64)

    def allocate(self, closes: pa.Table | pd.DataFrame, previous: Mapping[str, float] | None = None) -> Allocations:
        """Decides what to hold.

        Args:
            closes: A column of closes per symbol of the card, the newest bar last; one more row than the card's
                ``lookback`` is used.
            previous: What is held, as weights by symbol; nothing where it is left out.

        Raises:
            InvalidInputError: A symbol or rows are missing, a close is not above 0, or this model decides.
        """
        self._must(self.task == "optimizer", "predict")
        lookback = int(self.card["lookback"])
        table = closes if isinstance(closes, pd.DataFrame) else closes.to_pandas()
        self._require(list(table.columns), "Give a column of closes for each.")
        prices = table[self.features].to_numpy(dtype=np.float64)[-lookback - 1 :]
        if len(prices) <= lookback or not (np.isfinite(prices) & (prices > 0)).all():
            raise InvalidInputError(f"The model needs {lookback + 1} rows of closes above 0; there are {len(prices)}.")
        held = np.array([[(previous or {}).get(symbol, 0.0) for symbol in self.features]], dtype=np.float32)
        given = {"returns": (prices[1:] / prices[:-1] - 1).astype(np.float32), "previous": held}
        names = ["weights", "expected_return", "expected_volatility"]
        weights, earned, volatility = self._session.run(names, given)
        shares = [float(min(max(weight, 0.0), 1.0)) for weight in weights[0]]
        return Allocations(dict(zip(self.features, shares, strict=True)), float(earned[0, 0]), float(volatility[0, 0]))

    def _must(self, fits: bool, verb: str) -> None:
        if not fits:
            raise InvalidInputError(f"This is a model for the task {self.task!r}: use Predictor.{verb}.")

    def _require(self, columns: list[str], hint: str) -> None:
        missing = [name for name in self.features if name not in columns]
        if missing:
            raise InvalidInputError(
                f"The table lacks {len(missing)} of the model's features: {', '.join(missing[:10])}.", hint=hint
            )

    def _matrix(self, table: pa.Table | pd.DataFrame) -> NDArray[np.float32]:
        self._require(_names(table), "Compute them with mp_kit.market.indicators, as the round did.")
        if isinstance(table, pd.DataFrame):
            matrix = table[self.features].to_numpy(dtype=np.float32)
        else:
            matrix = to_matrix(table, self.features)
        self._check_finite(matrix)
        return np.ascontiguousarray(matrix)

    def _scores(self, table: pa.Table | pd.DataFrame) -> NDArray[np.float32]:
        """A consensus' columns: those of the table, and those of experts that it does not have."""
        from mp_kit.trainer.experts import EXPERTS, score

        frame = table if isinstance(table, pd.DataFrame) else table.to_pandas()
        own = [e for e in EXPERTS if e.name in self.card["experts"] and e.name not in frame.columns]
        able = [expert for expert in own if set(expert.features) <= set(frame.columns)]
        values = {name: frame[name].to_numpy(dtype=np.float64) for expert in able for name in expert.features}
        said = score(able, values)
        voices = {expert.name: said[:, at] for at, expert in enumerate(able)}
        self._require([*frame.columns, *voices], "Give a column per voice, or the features that experts read.")
        columns = [voices[name] if name in voices else frame[name].fillna(0.0) for name in self.features]
        scores = np.stack([np.asarray(column, dtype=np.float32) for column in columns], axis=1)
        self._check_finite(scores)
        return scores

    def _windows(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        if len(self._session.get_inputs()[0].shape) == 2:  # noqa: PLR2004 - rows x features: no window
            return matrix
        if len(matrix) < self._window:
            raise InvalidInputError(f"The model reads windows of {self._window} rows; there are {len(matrix)}.")
        views = np.lib.stride_tricks.sliding_window_view(matrix, self._window, axis=0)
        return np.ascontiguousarray(views.transpose(0, 2, 1))

    def _check_finite(self, matrix: NDArray[np.float32]) -> None:
        bad = np.argwhere(~np.isfinite(matrix))
        if len(bad):
            row, column = bad[0]
            raise InvalidInputError(
                f"{self.features[column]} is not finite in row {row} ({len(np.unique(bad[:, 0]))} such rows).",
                hint="Leave the warm-up rows out: features need their whole window.",
            )


def _names(table: pa.Table | pd.DataFrame) -> list[str]:
    return list(table.column_names) if isinstance(table, pa.Table) else list(table.columns)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InvalidInputError(f"There is no {path.name} in {path.parent}.") from None


def _card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(_bytes(path))
        wanted = [card[key] for key in ("features", "task", "onnx", _KEYS[card["task"]])]
    except (ValueError, KeyError, TypeError):
        raise InvalidInputError(f"{path} is no model card.") from None
    if not all(wanted):
        raise InvalidInputError(f"{path} is no model card: a part of it is empty.")
    return dict(card)


_KEYS = {"signal": "decisions", "consensus": "decisions", "optimizer": "lookback"}
"""What a card must say besides, by task."""

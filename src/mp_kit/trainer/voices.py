"""The voices of a consensus over a round's rows: built-in experts, and signals that lie beside the round's files.

1. A voice's score is sign(decision) times confidence; no signal for a bar is 0, as HOLD is.
2. A Parquet file ``signals-*.parquet`` in the job's data folder holds signals as the wire writes them: ``symbol``,
   ``decision``, ``confidence``, ``event_time`` (else ``timestamp``), and whose they are: ``model_id``, else
   ``deployment_id``, else the file's own name. They meet the round's rows by symbol and instant, exactly.
3. Whether a foreign signal was known at its bar cannot be seen here: one made by a model that had seen the validation
   rows looks better than it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mp_kit.errors import InvalidInputError
from mp_kit.market.bars import times_of
from mp_kit.trainer.data import CLASSES, symbol_of
from mp_kit.trainer.experts import Expert, needed, score

__all__ = ["SIGNALS", "Signals", "VoiceSplit", "load_signals", "load_voices"]

SIGNALS = "signals"
"""The role of files with signals."""

_SIGN = {"BUY": 1.0, "SELL": -1.0, "HOLD": 0.0}
_KEYS = ["symbol", "time"]


@dataclass(frozen=True)
class VoiceSplit:
    """One role's rows, as the voices see them.

    Attributes:
        scores: Shape (n, voices), float32, -1 to 1.
        direction: Shape (n,), values of ``CLASSES``.
        returns: Shape (n,), the realised log return over the label's horizon.
        times: Shape (n,), bar opens in microseconds.
        dropped: Rows without a label.
    """

    scores: NDArray[np.float32]
    direction: NDArray[np.int64]
    returns: NDArray[np.float64]
    times: NDArray[np.int64]
    dropped: int


@dataclass(frozen=True)
class Signals:
    """Foreign voices.

    Attributes:
        names: Of the voices, sorted.
        table: One row per symbol and instant, one column per voice.
    """

    names: tuple[str, ...]
    table: pd.DataFrame


def load_signals(files: Sequence[Path]) -> Signals:
    """Reads files of signals.

    Raises:
        InvalidInputError: A file lacks a column, has an unknown decision or a confidence out of 0 to 1, or says two
            things about one bar.
    """
    if not files:
        return Signals((), pd.DataFrame({"symbol": pd.Series(dtype=str), "time": pd.Series(dtype="int64")}))
    rows = pd.concat([_read(path) for path in files], ignore_index=True)
    if rows.duplicated([*_KEYS, "voice"]).any():
        first = rows[rows.duplicated([*_KEYS, "voice"])].iloc[0]
        raise InvalidInputError(f"{first['voice']} has two signals about one bar of {first['symbol']}.")
    wide = rows.pivot_table(index=_KEYS, columns="voice", values="score").reset_index()
    return Signals(tuple(sorted(set(rows["voice"]))), wide)


def load_voices(paths: Sequence[Path], experts: Sequence[Expert], signals: Signals) -> VoiceSplit:
    """Reads one role's files and lets every voice speak about every row.

    Args:
        paths: Parquet files of one role.
        experts: The built-in voices, whose features the files have.
        signals: The foreign ones.

    Raises:
        InvalidInputError: A column is missing, or no row has a label.
    """
    parts = [_voices_of(path, experts, signals) for path in paths]
    scores, direction, returns, times = (np.concatenate([part[at] for part in parts]) for at in range(4))
    good = np.isin(direction, CLASSES) & np.isfinite(returns)
    if not good.any():
        raise InvalidInputError(f"{', '.join(path.name for path in paths)}: no row has a label.")
    return VoiceSplit(scores[good], direction[good], returns[good], times[good], int((~good).sum()))


def _voices_of(
    path: Path, experts: Sequence[Expert], signals: Signals
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    columns = [*needed(experts), "label_direction", "label_return", "timestamp"]
    missing = [name for name in columns if name not in pq.read_schema(path).names]
    if missing:
        raise InvalidInputError(f"{path.name} has no column {', '.join(missing)}.")
    table = pq.read_table(path, columns=columns)
    times = times_of(table)
    own = score(experts, {name: table[name].to_numpy().astype(np.float64) for name in needed(experts)})
    foreign = _foreign(signals, symbol_of(path), times)
    direction = table["label_direction"].to_numpy().astype(np.int64)
    returns = table["label_return"].to_numpy().astype(np.float64)
    return np.hstack([own.reshape(len(times), -1), foreign]), direction, returns, times


def _foreign(signals: Signals, symbol: str, times: NDArray[np.int64]) -> NDArray[np.float32]:
    if not signals.names:
        return np.empty((len(times), 0), dtype=np.float32)
    ours = signals.table[signals.table["symbol"] == symbol].set_index("time")
    return ours.reindex(times)[list(signals.names)].fillna(0.0).to_numpy(dtype=np.float32)


def _read(path: Path) -> pd.DataFrame:
    rows = pq.read_table(path).to_pandas()
    when = "event_time" if "event_time" in rows else "timestamp"
    missing = [name for name in ("symbol", "decision", "confidence", when) if name not in rows]
    if missing:
        raise InvalidInputError(f"{path.name} has no column {', '.join(missing)}; signals need it.")
    whose = next((name for name in ("model_id", "deployment_id") if name in rows), None)
    sign, confidence = rows["decision"].map(_SIGN), rows["confidence"].astype(float)
    if sign.isna().any() or not confidence.between(0, 1).all():
        raise InvalidInputError(f"{path.name}: decisions must be BUY, SELL or HOLD, confidences from 0 to 1.")
    stem = path.stem.removeprefix(f"{SIGNALS}-")
    return pd.DataFrame(
        {
            "symbol": rows["symbol"].astype(str),
            "time": pd.to_datetime(rows[when], utc=True).dt.as_unit("us").astype("int64"),
            "voice": rows[whose].astype(str) if whose else stem,
            "score": sign * confidence,
        }
    )

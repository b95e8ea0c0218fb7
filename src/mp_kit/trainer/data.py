"""The round's files inside a job: fetched, checked, and split into what a model sees and what it must say.

1. Not a byte is used before its SHA-256 is what the manifest says.
2. Features are all columns except the bars' own and the labels; their order is that of the first file.
3. Rows with an unknown label, or with a feature in their window that is not finite, are left out and counted.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mp_kit.client.opener import TransportOpener, Urllib3Opener
from mp_kit.client.partial import Wanted
from mp_kit.client.transfer import Transfer
from mp_kit.client.urls import Signed, UrlBook
from mp_kit.errors import IntegrityError, InvalidInputError, TransferError
from mp_kit.market.parquet import METADATA_KEY
from mp_kit.trainer.api import insist
from mp_kit.trainer.environment import DataFile

__all__ = [
    "Windows",
    "feature_names",
    "fetch",
    "load_windows",
    "role_of",
    "sort_files",
    "symbol_of",
]

NOT_FEATURES = frozenset({"timestamp", "symbol", "open", "high", "low", "close", "volume"})
CLASSES = (-1, 0, 1)
"""SELL, HOLD, BUY as ``label_direction`` says them."""

Renew = Callable[[Sequence[str]], Mapping[str, str]]
"""Fresh URLs by name, for names."""

_PIECE = 1 << 20
_PATIENCE_SECONDS = 300.0
_FORBIDDEN = 403
_SERVER_FAULT = 500


def role_of(name: str) -> str:
    """A file's role: its name up to the first dash."""
    return name.partition("-")[0]


def sort_files(files: Sequence[Path]) -> dict[str, list[Path]]:
    """The files by role, sorted by name: the order of arrival must not decide a result.

    Raises:
        InvalidInputError: There is no ``train`` or no ``validation`` file.
    """
    roles: dict[str, list[Path]] = {"train": [], "validation": []}
    for path in sorted(files, key=lambda path: path.name):
        roles.setdefault(role_of(path.name), []).append(path)
    for role in ("train", "validation"):
        if not roles[role]:
            raise InvalidInputError(
                f"The round gave no file named {role}-*.parquet, so there is nothing to {role} on.",
                hint="Use a round that has training and validation files.",
            )
    return roles


def symbol_of(path: Path) -> str:
    """A file's symbol: of its metadata, else of its name."""
    facts = (pq.read_schema(path).metadata or {}).get(METADATA_KEY)
    return str(json.loads(facts)["symbol"]) if facts else path.stem.partition("-")[2]


def fetch(
    files: Sequence[DataFile],
    folder: Path,
    *,
    renew: Renew | None = None,
    transport: httpx.BaseTransport | None = None,
) -> list[Path]:
    """Downloads files; those that are there with the right bytes stay.

    Files whose length and hash are known go through the client's own transfer (ranges in parallel, resumed,
    re-signed); a bare URL is streamed.

    Args:
        files: What to fetch.
        folder: Where to.
        renew: Gets fresh URLs for names, once the given ones are refused.
        transport: What carries the requests; the network by default.

    Returns:
        Their paths, in the order of ``files``.

    Raises:
        IntegrityError: The bytes of a file are not those of the round.
        MarketplaceError: A file could not be fetched; the message says which and why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = [file for file in files if file.sha256 and file.size_bytes is not None]
    _transfer(known, folder, renew, transport)
    bare = [file for file in files if file not in known]
    until = time.monotonic() + _PATIENCE_SECONDS
    with httpx.Client(timeout=httpx.Timeout(30.0, connect=5.0), follow_redirects=True, transport=transport) as client:
        for file in bare:
            insist(lambda file=file: _fetch(client, file, folder), until=until)  # type: ignore[misc]
    return [_target(file, folder) for file in files]


def _transfer(
    files: Sequence[DataFile], folder: Path, renew: Renew | None, transport: httpx.BaseTransport | None
) -> None:
    if not files:
        return
    given: Mapping[str, str] = {file.name: file.url for file in files}
    once = iter([given])

    def sign() -> Signed:
        urls = next(once, None)
        return Signed(urls or (renew(list(given)) if renew else given))

    wanted = [Wanted(file.name, file.size_bytes or 0, file.sha256 or "", _target(file, folder)) for file in files]
    opener = TransportOpener(transport) if transport else Urllib3Opener()
    try:
        Transfer(opener, UrlBook(sign)).run(wanted)
    finally:
        opener.close()


def _target(file: DataFile, folder: Path) -> Path:
    return folder / Path(file.name).name


def _fetch(client: httpx.Client, file: DataFile, folder: Path) -> Path:
    target = _target(file, folder)
    if file.sha256 and target.exists() and _sha256(target) == file.sha256:
        return target
    aside = target.with_name(f".{target.name}.part")
    got = _download(client, file, aside)
    if file.sha256 and got != file.sha256:
        aside.unlink()
        raise IntegrityError(f"{file.name} has SHA-256 {got}, the round says {file.sha256}. It was not used.")
    aside.replace(target)
    return target


def _download(client: httpx.Client, file: DataFile, target: Path) -> str:
    digest = hashlib.sha256()
    try:
        with client.stream("GET", file.url) as answer, target.open("wb") as handle:
            _check_status(answer, file.name)
            for piece in answer.iter_bytes(_PIECE):
                digest.update(piece)
                handle.write(piece)
    except httpx.HTTPError as error:
        raise TransferError(f"{file.name} could not be fetched: {type(error).__name__}.") from None
    return digest.hexdigest()


def _check_status(answer: httpx.Response, name: str) -> None:
    if answer.is_success:
        return
    if answer.status_code >= _SERVER_FAULT:
        raise TransferError(f"{name} could not be fetched: HTTP {answer.status_code}.")
    hint = "Its signed URL has expired; start a new run." if answer.status_code == _FORBIDDEN else None
    raise InvalidInputError(f"{name} could not be fetched: HTTP {answer.status_code}.", hint=hint)


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def feature_names(schema: pa.Schema) -> list[str]:
    """The numeric columns that a model may look at, in the file's order."""
    return [
        field.name
        for field in schema
        if field.name not in NOT_FEATURES
        and not field.name.startswith("label_")
        and (pa.types.is_floating(field.type) or pa.types.is_integer(field.type))
    ]


@dataclass(frozen=True)
class Windows:
    """One role's rows, each with the rows that came before it in its own file.

    Attributes:
        matrix: Shape (rows of all files, k), float32; not all finite.
        ends: Shape (n,): positions in ``matrix`` of the rows that have a whole, finite window and a label.
        direction: Shape (n,), values of ``CLASSES``.
        returns: Shape (n,), the realised log return over the label's horizon.
        window: Rows in a window, the labelled one included.
        dropped: Rows without a label or a whole window.
    """

    matrix: NDArray[np.float32]
    ends: NDArray[np.int64]
    direction: NDArray[np.int64]
    returns: NDArray[np.float64]
    window: int
    dropped: int

    @property
    def rows(self) -> int:
        """How many windows there are."""
        return len(self.ends)

    def take(self, at: NDArray[np.int64] | slice) -> NDArray[np.float32]:
        """Windows by their numbers, shape (len(at), window, k), oldest row first."""
        rows: NDArray[np.float32] = self.matrix[self.ends[at, None] + np.arange(1 - self.window, 1)]
        return rows


def load_windows(paths: Sequence[Path], features: Sequence[str], window: int) -> Windows:
    """Reads one role's files as windows; none reaches from one file into another.

    Args:
        paths: Parquet files of one role, each one symbol's rows in the order of time.
        features: The columns to use, in this order.
        window: Rows in a window; 1 for models that look at one row.

    Raises:
        InvalidInputError: A column is missing, or no usable row is left.
    """
    columns = [*features, "label_direction", "label_return"]
    tables = [_read(path, columns) for path in paths]
    whole = pa.concat_tables(tables)
    matrix = to_matrix(whole, features)
    direction = whole["label_direction"].to_numpy().astype(np.int64)
    returns = whole["label_return"].to_numpy().astype(np.float64)
    first = np.concatenate([np.arange(table.num_rows) >= window - 1 for table in tables])
    faults = np.cumsum(np.concatenate([np.zeros(window), ~np.isfinite(matrix).all(axis=1)]))
    good = first & (faults[window:] == faults[:-window]) & np.isin(direction, CLASSES) & np.isfinite(returns)
    ends = np.flatnonzero(good)
    if not ends.size:
        names = ", ".join(path.name for path in paths)
        raise InvalidInputError(f"{names}: no row has a label and {window} rows of finite features.")
    return Windows(matrix, ends, direction[ends], returns[ends], window, int((~good).sum()))


def to_matrix(table: pa.Table, features: Sequence[str]) -> NDArray[np.float32]:
    """The features as one float32 matrix, shape (rows, features); null becomes NaN."""
    matrix = np.empty((table.num_rows, len(features)), dtype=np.float32)
    for at, name in enumerate(features):
        matrix[:, at] = pc.cast(table[name], pa.float32()).to_numpy()
    return matrix


def _read(path: Path, columns: Sequence[str]) -> pa.Table:
    missing = [name for name in columns if name not in pq.read_schema(path).names]
    if missing:
        raise InvalidInputError(f"{path.name} has no column {', '.join(missing)}.")
    return pq.read_table(path, columns=list(columns))

"""Data of rounds: pulled to a folder, or loaded as a table; every byte checked against the signed manifest."""

from __future__ import annotations

import builtins
import difflib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mp_kit.client.cache import Cache
from mp_kit.client.desk import Desk
from mp_kit.client.display import progress as reporter
from mp_kit.client.http import Api, Call, read
from mp_kit.client.invalid import check_keywords
from mp_kit.client.offline import MANIFEST_NAME, SIGNATURE_NAME, Verified, verify_folder
from mp_kit.client.opener import Opener
from mp_kit.client.partial import Wanted, disk_errors
from mp_kit.client.progress import OnProgress
from mp_kit.client.results import Shown, size
from mp_kit.client.rounds import Rounds, SignedManifest
from mp_kit.client.transfer import THREADS, Fetched, Transfer
from mp_kit.client.urls import Signed, UrlBook
from mp_kit.contracts.common import CURRENT
from mp_kit.contracts.rounds import FileRole, Manifest, ManifestFile, SignedUrls, SignedUrlsRequest
from mp_kit.errors import InvalidInputError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from mp_kit.client.instants import When
    from mp_kit.client.scan import Scanned, Scanner


BATCH_ROWS = 65_536


@dataclass(frozen=True, repr=False)
class PullResult(Shown):
    """What a pull brought.

    Args:
        path: The folder.
        round_id: The round.
        files: The files in it.
        bytes: Their bytes together.
        fetched_bytes: Those that were fetched; the others lay there already.
        seconds: How long it took.
        verified: Each file's sha256 equals the signed manifest's.
    """

    path: Path
    round_id: str
    files: list[Path] = field(repr=False)
    bytes: int
    fetched_bytes: int
    seconds: float
    verified: bool

    def _title(self) -> str:
        return f"Pulled {self.round_id}"

    def _facts(self) -> Mapping[str, Any]:
        return {
            "path": self.path,
            "files": f"{len(self.files)}, {size(self.bytes)}",
            "fetched": f"{size(self.fetched_bytes)} in {self.seconds:.1f} s",
            "verified": "each file against the signed manifest" if self.verified else "no",
        }


class Data(Desk):
    """The rounds' data.

    Example:
        >>> m.data.pull("current", output="round")
        >>> m.data.load("train", symbols=["EURUSD"], columns=["timestamp", "close"])
    """

    def __init__(self, api: Api, rounds: Rounds, opener: Callable[[], Opener]) -> None:
        self._api = api
        self._rounds = rounds
        self._opener = opener

    def __repr__(self) -> str:
        return f"Data of {self._api.base_url}: pull(round), load(role), arrow(role), scan(role), verify(folder)"

    def pull(
        self,
        round: str = CURRENT,  # noqa: A002 - the vendor's word, and the command's option
        output: str | Path | None = None,
        *,
        files: Sequence[str] | None = None,
        symbols: Sequence[str] | None = None,
        roles: Sequence[str] | None = None,
        progress: bool | OnProgress = True,
        cache: bool = False,
    ) -> PullResult:
        """Fetches a round's files into a folder; those that lie there already, proved by hash, are not fetched again.

        A pull that was killed goes on where it stopped. What is fetched is what the marketplace holds now; with
        ``cache`` files come through the cache that rounds share, and are read-only hard links to it where the disk is
        the same.

        Args:
            round: Round id, or ``"current"``.
            output: The folder; ``data/<round id>`` by default.
            files: Names of files; all by default.
            symbols: Only these symbols.
            roles: Only these roles (``train``, ``validation``, ``test``, ``features``).
            progress: False for none, or a callable ``(done_bytes, total_bytes, file)``.
            cache: Take from the cache what lies there, proved by hash, and keep there what is fetched.

        Raises:
            IntegrityError: A signature or a hash does not hold; nothing of that file is kept.
            TransferError: The disk is full, or a server serves something else than promised.

        Example:
            >>> m.data.pull("current", output="round", symbols=["EURUSD"])
        """
        signed = self._rounds.signed_manifest(round)
        chosen = select(signed.manifest, files=files, symbols=symbols, roles=roles)
        folder = Path(output) if output is not None else Path("data") / signed.manifest.round_id
        wanted = [Wanted(file.name, file.size_bytes, file.sha256, folder / file.name) for file in chosen]
        with disk_errors("The folder", folder, 0):
            folder.mkdir(parents=True, exist_ok=True)
        fetched = (self._through if cache else self._fetch)(signed.manifest.round_id, wanted, progress)
        _keep_manifest(folder, signed)
        return PullResult(
            path=folder,
            round_id=signed.manifest.round_id,
            files=[item.target for item in wanted],
            bytes=sum(item.size_bytes for item in wanted),
            fetched_bytes=fetched.bytes,
            seconds=fetched.seconds,
            verified=True,
        )

    def arrow(
        self,
        role: str = FileRole.TRAIN.value,
        *,
        columns: Sequence[str] | None = None,
        symbols: Sequence[str] | None = None,
        start: When | None = None,
        end: When | None = None,
        round: str = CURRENT,  # noqa: A002 - the vendor's word, and the command's option
        progress: bool | OnProgress = True,
    ) -> pa.Table:
        """A role's rows as one Arrow table, symbols one after the other; what is fetched is kept in the local cache.

        With ``columns``, ``start`` or ``end`` only the needed parts of the files are fetched, as by :meth:`scan`.

        Args:
            role: ``train``, ``validation``, ``test`` or ``features``.
            columns: Only these columns.
            symbols: Only these symbols.
            start: First instant (included): aware datetime or RFC 3339 text; a bare date is midnight UTC.
            end: Last instant (excluded), likewise.
            round: Round id, or ``"current"``.
            progress: As for :meth:`pull`.

        Raises:
            InvalidInputError: An unknown role, symbol or column; the message names the nearest.

        Example:
            >>> m.data.arrow("train", columns=["timestamp", "close"]).num_rows
        """
        from mp_kit.client.footers import Choice
        from mp_kit.client.frames import read_tables

        choice = Choice(columns, start, end)
        if choice.is_all:
            pairs = self._local(role, symbols, round, progress)
            return read_tables(pairs, columns=columns, start=start, end=end)
        return self.scan(
            role, columns=columns, symbols=symbols, start=start, end=end, round=round, progress=progress
        ).table

    def scan(
        self,
        role: str = FileRole.TRAIN.value,
        *,
        columns: Sequence[str] | None = None,
        symbols: Sequence[str] | None = None,
        start: When | None = None,
        end: When | None = None,
        round: str = CURRENT,  # noqa: A002 - the vendor's word, and the command's option
        progress: bool | OnProgress = True,
    ) -> Scanned:
        """As :meth:`arrow`, and says what it cost: fetches only the row groups and columns that are needed.

        Every byte that is used is proved against the signed manifest; what is not needed is not asked for. Of a round
        whose manifest has no digests of parts, files are fetched whole, and the result says so.

        Example:
            >>> found = m.data.scan("train", columns=["timestamp", "close"], start="2024-01-01")
            >>> found.table.num_rows, found.fetched_bytes, found.to_pandas()

        Args:
            role: ``train``, ``validation``, ``test`` or ``features``.
            columns: Only these columns, in this order.
            symbols: Only these symbols.
            start: First instant (included): aware datetime or RFC 3339 text; a bare date is midnight UTC.
            end: Last instant (excluded), likewise.
            round: Round id, or ``"current"``.
            progress: As for :meth:`pull`.

        Raises:
            InvalidInputError: An unknown role, symbol or column; the message names the nearest, and those there are.
            IntegrityError: Bytes are not the promised ones; names file, row group and column.
            TransferError: The disk is full, or the server serves something else than promised.
        """
        from mp_kit.client.footers import Choice

        manifest = self._rounds.manifest(round)
        chosen = select(manifest, symbols=symbols, roles=[role])
        with self._scanner(manifest.round_id, chosen, progress) as scanner:
            return scanner.scan(manifest.round_id, chosen, Choice(columns, start, end))

    def batches(
        self,
        role: str = FileRole.TRAIN.value,
        *,
        columns: Sequence[str] | None = None,
        symbols: Sequence[str] | None = None,
        start: When | None = None,
        end: When | None = None,
        round: str = CURRENT,  # noqa: A002 - the vendor's word, and the command's option
        rows: int = BATCH_ROWS,
        progress: bool | OnProgress = True,
    ) -> Iterator[pa.RecordBatch]:
        """As :meth:`arrow`, in batches of at most ``rows`` rows; only one file at a time is in memory.

        Raises:
            InvalidInputError: Also when ``rows`` is not positive.

        Example:
            >>> sum(batch.num_rows for batch in m.data.batches("train"))
        """
        from mp_kit.client.footers import Choice
        from mp_kit.client.frames import read_tables

        if rows < 1:
            raise InvalidInputError(f"Batches of {rows} rows hold nothing.", hint="Pass rows=1 or more.")
        choice = Choice(columns, start, end)
        if choice.is_all:
            for pair in self._local(role, symbols, round, progress):
                yield from read_tables([pair], columns=None, start=None, end=None).to_batches(max_chunksize=rows)
            return
        manifest = self._rounds.manifest(round)
        chosen = select(manifest, symbols=symbols, roles=[role])
        with self._scanner(manifest.round_id, chosen, progress) as scanner:
            for file in chosen:
                yield from scanner.scan(manifest.round_id, [file], choice).table.to_batches(max_chunksize=rows)

    def polars(self, role: str = FileRole.TRAIN.value, **how: Any) -> Any:
        """As :meth:`arrow`, as a polars frame.

        Raises:
            MissingExtraError: polars is not installed.

        Example:
            >>> m.data.polars("train", start="2026-01-06")
        """
        from mp_kit.client.frames import as_polars

        check_keywords("m.data.polars()", how, self.arrow)
        return as_polars(self.arrow(role, **how))

    def _local(
        self, role: str, symbols: Sequence[str] | None, round_id: str, progress: bool | OnProgress
    ) -> builtins.list[tuple[ManifestFile, Path]]:
        """A role's files and where they lie in the cache, proved."""
        manifest = self._rounds.manifest(round_id)
        chosen = select(manifest, symbols=symbols, roles=[role])
        cache = Cache()
        wanted = [Wanted(f.name, f.size_bytes, f.sha256, cache.path(f.sha256)) for f in chosen]
        self._fetch(manifest.round_id, wanted, progress)
        return [(file, item.target) for file, item in zip(chosen, wanted, strict=True)]

    def load(self, role: str = FileRole.TRAIN.value, **how: Any) -> pd.DataFrame:
        """As :meth:`arrow`, as a pandas frame.

        Example:
            >>> m.data.load("train", symbols=["EURUSD"]).tail()
        """
        check_keywords("m.data.load()", how, self.arrow)
        frame: pd.DataFrame = self.arrow(role, **how).to_pandas()
        return frame

    def verify(self, folder: str | Path) -> Verified:
        """Verifies a pulled folder offline, with the pinned keys.

        Raises:
            IntegrityError: The signature or a file is not right.

        Example:
            >>> m.data.verify("round")
        """
        return verify_folder(Path(folder), self._rounds.pinned())

    def _through(self, round_id: str, wanted: Sequence[Wanted], progress: bool | OnProgress) -> Fetched:
        """Fetches into the cache what is neither in the folder nor in the cache, then links it into the folder."""
        cache = Cache()
        with ThreadPoolExecutor(THREADS) as pool:
            there = list(pool.map(lambda file: file.is_there, wanted))
        missing = [file for file, found in zip(wanted, there, strict=True) if not found]
        if not missing:
            return Fetched([], [file.name for file in wanted], 0, 0.0)
        fetched = self._fetch(round_id, [cache.wanted(file) for file in missing], progress)
        for file in missing:
            cache.place(file)
        return fetched

    def _fetch(self, round_id: str, wanted: Sequence[Wanted], progress: bool | OnProgress) -> Fetched:
        unique = list({item.target: item for item in wanted}.values())
        with self._transfer("Pulling", round_id, [item.name for item in unique], progress) as (transfer, _):
            return transfer.run(unique)

    @contextmanager
    def _scanner(self, round_id: str, files: Sequence[ManifestFile], progress: bool | OnProgress) -> Iterator[Scanner]:
        from mp_kit.client.scan import Scanner

        with self._transfer("Scanning", round_id, [file.name for file in files], progress) as (transfer, report):
            yield Scanner(transfer, Cache(), report)

    @contextmanager
    def _transfer(
        self, title: str, round_id: str, names: builtins.list[str], progress: bool | OnProgress
    ) -> Iterator[tuple[Transfer, OnProgress | None]]:
        opener = self._opener()
        try:
            with reporter(title, wanted=progress) as report:
                yield Transfer(opener, UrlBook(lambda: self._sign(round_id, names)), on_progress=report), report
        finally:
            opener.close()

    def _sign(self, round_id: str, names: builtins.list[str]) -> Signed:
        where = "/api/datasets/signed-urls"
        body = SignedUrlsRequest(round_id=round_id, files=names).model_dump()
        found = read(SignedUrls, self._api.send(Call("POST", where, json=body, repeatable=True)), where)
        return Signed({item.name: item.url for item in found.urls}, found.ttl_seconds)


def select(
    manifest: Manifest,
    *,
    files: Sequence[str] | None = None,
    symbols: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
) -> builtins.list[ManifestFile]:
    """The manifest's files that fit all conditions.

    Raises:
        InvalidInputError: A name that the round doesn't have, or nothing is left.
    """
    _known("file", files, [file.name for file in manifest.files], manifest.round_id)
    _known("symbol", symbols, manifest.symbols, manifest.round_id)
    _known("role", roles, sorted({file.type.value for file in manifest.files}), manifest.round_id)
    chosen = [
        file
        for file in manifest.files
        if (files is None or file.name in files)
        and (symbols is None or file.symbol in symbols)
        and (roles is None or file.type.value in roles)
    ]
    if not chosen:
        raise InvalidInputError(f"No file of round {manifest.round_id} fits all of these conditions.")
    return chosen


def _known(what: str, asked: Sequence[str] | None, there: Sequence[str], round_id: str) -> None:
    if isinstance(asked, str):
        raise InvalidInputError(f"The {what}s are one string, {asked!r}; pass a list: [{asked!r}].")
    for name in asked or ():
        if name not in there:
            near = difflib.get_close_matches(name, there, 1, 0.7)
            shown = ", ".join(there[:12]) + (" …" if len(there) > 12 else "")  # noqa: PLR2004 - what fits a line
            raise InvalidInputError(
                f"Round {round_id} has no {what} {name!r}.",
                hint=f"Did you mean {near[0]!r}?" if near else f"It has: {shown}.",
            )


def _keep_manifest(folder: Path, signed: SignedManifest) -> None:
    for name, payload in (
        (MANIFEST_NAME, signed.payload),
        (SIGNATURE_NAME, signed.signature.model_dump_json(indent=2).encode() + b"\n"),
    ):
        temporary = folder / f".{name}.{os.getpid()}.part"
        with disk_errors(name, folder, len(payload)):
            temporary.write_bytes(payload)
            temporary.replace(folder / name)

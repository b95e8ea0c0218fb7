"""From bars to a published round: the steps of the flow ``publish-round``, each of which may be run again.

1. Every symbol is checked before any file is built, and every file is built before any is stored.
2. Checked bars wait in the round's own temporary folder, so that memory is bounded by the symbols in work. What is
   handed from step to step (also from machine to machine) are facts and paths, never bars.
3. A file that the object store has already is not stored again; a failure in between publishes nothing.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import ConfigDict, Field

from mp_kit.contracts import FileRole, Footer, ManifestFile, Name, RowGroup
from mp_kit.errors import BarsError, NotFoundError
from mp_kit.market.bars import Bars
from mp_kit.market.build import RoundSpec, SymbolFiles, build_symbol, plan_round, prepare
from mp_kit.market.indicators import FEATURES
from mp_kit.market.parquet import Written
from mp_kit.market.pricing import check_priced_after
from mp_kit.market.quality import Checked, QualityReport
from mp_kit.market.sources import FilesSource, Source, Survey, open_source
from mp_kit.market.splits import Cuts
from mp_kit.market.timeframes import Timeframe
from mp_kit.server.forms import in_order
from mp_kit.server.services import rounds
from mp_kit.server.services.rounds import Draft
from mp_kit.server.services.workspace import workspace
from mp_kit.server.storage import ObjectStore, content_key
from mp_kit.server.store.engine import Tx
from mp_kit.signing import Signer
from mp_kit.version import __version__

__all__ = [
    "WORKERS",
    "Inspected",
    "Publication",
    "RoundOrder",
    "build",
    "inspect",
    "plan",
    "publish",
    "run",
    "source_of",
    "store_files",
    "survey",
]


WORKERS = 2
"""Symbols in work at once: memory holds so many of them."""

_SURVEY = "survey.json"


class RoundOrder(RoundSpec):
    """Which round to publish."""

    model_config = ConfigDict(
        json_schema_extra=in_order("source", "symbols", "timeframe", "name", "description", "make_current")
    )

    source: str = Field("ecb", min_length=1, description="`ecb`, or a file, folder, glob or URL of OHLCV bars.")
    symbols: list[str] | None = Field(None, description="Only these; all that the source has where left out.")
    priced_after: int | None = Field(
        None,
        gt=0,
        description="Seconds from a bar's stamp to the instant of its close, the earliest in a year, for files whose "
        "daily bars close before the date ends; the bar's length where left out.",
    )
    name: Name | None = Field(None, description="A name for people; made of source and timeframe where left out.")
    description: str = Field("", max_length=2000, description="A sentence for people.")
    make_current: bool = Field(default=True, description="Whether it becomes the current round.")


@dataclass(frozen=True)
class Inspected:
    """One symbol that passed the check.

    Args:
        symbol: Whose bars.
        timeframe: Of the round.
        path: Its checked bars, aside on disk.
        report: What the check found in the source's bars.
    """

    symbol: str
    timeframe: Timeframe
    path: Path
    report: QualityReport

    def bars(self) -> Bars:
        """The checked bars, mapped from disk: pages are read as they are used."""
        with pa.memory_map(str(self.path)) as file:
            return Bars(self.symbol, self.timeframe, pa.ipc.open_file(file).read_all())


@dataclass(frozen=True)
class Publication:
    """What became of an order.

    Args:
        round_id: The round.
        created: False when the same input had been published before.
        made_current: It is current now and was not before.
        restored: It was retired before, and is not any more.
        replaced: The round that was current until now, where another one is.
        input_bars: Bars read from the source, all symbols.
        rows: Rows per role, all symbols.
        splits: The instants that divide the round, as in its manifest.
        stored: Files that the object store did not have yet.
    """

    round_id: str
    created: bool
    made_current: bool
    input_bars: int
    rows: dict[str, int]
    splits: dict[str, Any]
    stored: int
    restored: bool = False
    replaced: str | None = None


def sentence(done: Mapping[str, Any]) -> str:
    """What became of an order, out of a :class:`Publication`'s fields."""
    said = [f"Round {done['round_id']} " + ("was published" if done["created"] else "was there already")]
    if done.get("restored"):
        said.append("is no longer retired")
    if done["made_current"]:
        said.append("is current now" + (f" in place of {done['replaced']}" if done.get("replaced") else ""))
    if not done["created"] and not done["made_current"]:
        said.append("nothing changed")
    return ", ".join(said) + "."


def source_of(order: RoundOrder, folder: Path | None = None) -> Source:
    """The source that an order names; resampling is left to the round.

    Args:
        order: Names it.
        folder: Where :func:`survey` looked it over already; nothing is listed again then.
    """
    found = folder / _SURVEY if folder is not None else None
    known = Survey(**json.loads(found.read_text())) if found is not None and found.exists() else None
    return open_source(order.source, symbols=order.symbols, survey=known, priced_after=order.priced_after)


def survey(order: RoundOrder, folder: Path) -> list[str]:
    """Lists the source once, and divides files of several symbols, so that no file is read once per symbol.

    Args:
        order: Names the source.
        folder: The publication's own; what was found stays there for :func:`inspect`.

    Returns:
        The symbols, sorted.

    Raises:
        BarsError: There is no such source, or it lacks a symbol.
    """
    source = source_of(order)
    if isinstance(source, FilesSource):
        found = source.survey(folder / "parts")
        (folder / _SURVEY).write_text(json.dumps(asdict(found)))
    return source.symbols()


def inspect(order: RoundOrder, symbol: str, folder: Path) -> Inspected:
    """Checks one symbol and lays its bars aside.

    Raises:
        BarsError: The bars are faulty or too few; the message names the symbol.
    """
    checked = prepare(source_of(order, folder), symbol, order)
    path = folder / f"bars-{symbol.replace('/', '-').replace(':', '-')}.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, checked.bars.table.schema) as writer:
        writer.write_table(checked.bars.table)
    facts = Inspected(symbol, checked.bars.timeframe, path, checked.report)
    del checked
    pa.default_memory_pool().release_unused()  # else the pool keeps a symbol's memory that the building needs
    return facts


def plan(order: RoundOrder, inspected: Sequence[Inspected]) -> Cuts:
    """Chooses the cuts for all symbols.

    Raises:
        BarsError: No symbol, too few bars, symbols of different timeframes, or a price that is outside of its bar.
    """
    frames = sorted({one.timeframe for one in inspected})
    if len(frames) > 1:
        raise BarsError(
            f"The source's symbols have different timeframes: {', '.join(frames)}.",
            hint="Name the round's timeframe; shorter bars are resampled to it.",
        )
    if frames:
        check_priced_after(source_of(order).priced_after, frames[0])
    return plan_round({one.symbol: one.bars().times() for one in inspected}, order)


def build(order: RoundOrder, inspected: Inspected, cuts: Cuts, folder: Path) -> SymbolFiles:
    """Computes and writes one symbol's files, and lets the disk begin with them while the next symbol is built.

    Raises:
        BarsError: A role would have no row.
    """
    built = build_symbol(Checked(inspected.bars(), inspected.report), cuts, order, folder / "files")
    for written in (*built.files.values(), built.held_back):
        _begin_to_flush(written.path)
    return built


def store_files(store: ObjectStore, files: SymbolFiles) -> int:
    """Puts one symbol's files into the object store; returns how many it did not have yet."""
    return sum(_store(store, written) for written in (*files.files.values(), files.held_back))


def publish(
    tx: Tx,
    signer: Signer,
    order: RoundOrder,
    inspected: Sequence[Inspected],
    built: Sequence[SymbolFiles],
    cuts: Cuts,
    *,
    stored: int,
    actor: str,
) -> Publication:
    """Publishes what was built and stored.

    Args:
        tx: One transaction.
        signer: Signs the manifest.
        order: What was asked for.
        inspected: All symbols.
        built: Their files, which the object store holds.
        cuts: From :func:`plan`.
        stored: Sum over :func:`store_files`, for the record.
        actor: Who publishes, for the audit log.
    """
    draft = _draft(order, inspected, built, cuts)
    done = rounds.publish(tx, signer, draft, actor=actor, current=order.make_current)
    return Publication(
        round_id=done.round_id,
        created=done.created,
        made_current=done.made_current,
        input_bars=draft.metadata["input_bars"],
        rows=draft.metadata["rows"],
        splits=dict(draft.manifest["splits"]),
        stored=stored,
        restored=done.restored,
        replaced=done.replaced,
    )


def run(
    begin: Callable[[], AbstractContextManager[Tx]],
    store: ObjectStore,
    signer: Signer,
    order: RoundOrder,
    *,
    actor: str,
    workers: int = WORKERS,
) -> Publication:
    """All steps in this process, symbols side by side in threads, without Prefect.

    Args:
        begin: Opens the one transaction of the publication.
        store: Where the files go.
        signer: Signs the manifest.
        order: What to publish.
        actor: Who publishes, for the audit log.
        workers: Symbols in work at once: so many fill the memory.
    """
    with workspace() as folder, ThreadPoolExecutor(workers) as pool:
        inspected = list(pool.map(lambda symbol: inspect(order, symbol, folder), survey(order, folder)))
        cuts = plan(order, inspected)
        built = list(pool.map(lambda one: build(order, one, cuts, folder), inspected))
        stored = sum(pool.map(lambda files: store_files(store, files), built))
        with begin() as tx:
            return publish(tx, signer, order, inspected, built, cuts, stored=stored, actor=actor)


def _begin_to_flush(path: Path) -> None:
    """Starts writing a file's pages to disk and does not wait: the store's sync will find little to do."""
    if hasattr(os, "posix_fadvise"):  # Linux; elsewhere the sync does all of it
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _store(store: ObjectStore, written: Written) -> bool:
    key = content_key(written.sha256)
    try:
        if store.stat(key).size_bytes == written.size_bytes:
            return False
    except NotFoundError:
        pass  # then it is stored below
    store.put_file(key, written.path)
    return True


def _draft(order: RoundOrder, inspected: Sequence[Inspected], built: Sequence[SymbolFiles], cuts: Cuts) -> Draft:
    files = [_file(one.symbol, role, written) for one in built for role, written in sorted(one.files.items())]
    symbols = sorted(one.symbol for one in inspected)
    timeframe = inspected[0].timeframe
    opened = source_of(order)
    source = opened.describe()
    return Draft(
        manifest={
            "name": order.name or f"{source['kind']} {timeframe}",
            "description": order.description,
            "timeframe": timeframe,
            "symbols": symbols,
            "horizon": order.horizon,
            "embargo": order.embargo,
            **({} if opened.priced_after is None else {"priced_after": opened.priced_after}),
            "source": {**source, "symbols": symbols},
            "splits": _splits(order, cuts, files),
            "features": [asdict(feature) for feature in FEATURES],
            "code_version": __version__,
        },
        files=files,
        held_back=[_file(one.symbol, "test", one.held_back) for one in built],
        metadata=_metadata(inspected, built, files),
    )


def _splits(order: RoundOrder, cuts: Cuts, files: Sequence[ManifestFile]) -> dict[str, Any]:
    """The cuts, each role's first and last row over all symbols, and the embargo that lies between them."""
    found: dict[str, Any] = {**cuts.to_json(), "embargo_bars": order.embargo}
    for role in sorted({file.type.value for file in files}):
        mine = [file for file in files if file.type.value == role]
        found[f"{role}_start"] = _instant(min(file.min_time for file in mine if file.min_time is not None))
        found[f"{role}_end"] = _instant(max(file.max_time for file in mine if file.max_time is not None))
    return found


def _metadata(
    inspected: Iterable[Inspected], built: Iterable[SymbolFiles], files: Iterable[ManifestFile]
) -> dict[str, Any]:
    reports = {one.symbol: one.report.to_json() for one in inspected}
    rows: Counter[str] = Counter()
    for file in files:
        rows[file.type.value] += file.rows
    input_bars = sum(report["input_rows"] for report in reports.values())
    return {
        "input_bars": input_bars,
        "rows": dict(rows),
        "quality": reports,
        "directions": {one.symbol: one.directions for one in built},
        "leakage": {one.symbol: one.leakage.to_json() for one in built if one.leakage is not None},
    }


def _file(symbol: str, role: str, written: Written) -> ManifestFile:
    groups = [RowGroup.model_validate(asdict(group)) for group in written.row_groups]
    starts: list[Any] = [group.min_time for group in groups if group.min_time is not None]
    ends: list[Any] = [group.max_time for group in groups if group.max_time is not None]
    return ManifestFile(
        name=written.path.name,
        type=FileRole(role),
        symbol=symbol,
        size_bytes=written.size_bytes,
        sha256=written.sha256,
        rows=written.rows,
        columns=written.columns,
        min_time=min(starts, default=None),
        max_time=max(ends, default=None),
        row_groups=groups,
        footer=Footer.model_validate(asdict(written.footer)),
    )


def _instant(value: datetime) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ")

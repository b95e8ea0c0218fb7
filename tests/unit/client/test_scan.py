"""Parts of remote files: only what is needed crosses the wire, and nothing that is not proved is used."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from misbehaving import Handler, Store, once, serve

from mp_kit.client.cache import Cache
from mp_kit.client.footers import Choice, Projection
from mp_kit.client.frames import read_tables
from mp_kit.client.http import Patience
from mp_kit.client.opener import Opener, TransportOpener, Urllib3Opener
from mp_kit.client.parts import Held
from mp_kit.client.scan import NO_DIGESTS, NO_RANGES, Scanned, Scanner
from mp_kit.client.transfer import Transfer
from mp_kit.client.urls import Signed, UrlBook
from mp_kit.contracts.rounds import Footer, ManifestFile, RowGroup
from mp_kit.errors import ForbiddenError, IntegrityError, InvalidInputError, TransferError
from mp_kit.market.rowgroups import bounds, describe

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
ROWS, GROUP = 1000, 200
COLUMNS = ["timestamp", "open", "high", "low", "close", "volume"]


def table_of(seed: int, rows: int = ROWS) -> pa.Table:
    """Hourly rows, some without a volume."""
    random = np.random.default_rng(seed)
    times = pa.array([BEGAN + timedelta(hours=hour) for hour in range(rows)], pa.timestamp("us", tz="UTC"))
    prices = {name: random.normal(size=rows).astype("f4") for name in COLUMNS[1:-1]}
    volume = random.integers(0, 5, rows)
    return pa.table({"timestamp": times, **prices, "volume": pa.array(volume, mask=volume == 0)})


def published(table: pa.Table, symbol: str = "EURUSD", **how: Any) -> tuple[bytes, ManifestFile]:
    """A file and what a manifest says of it."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **{"row_group_size": GROUP} | how)
    found = describe(sink.getvalue())
    entry = ManifestFile(
        name=f"train-{symbol}.parquet",
        type="train",
        symbol=symbol,
        size_bytes=found.size_bytes,
        sha256=found.sha256,
        rows=found.rows,
        columns={field.name: str(field.type) for field in table.schema},
        row_groups=[RowGroup.model_validate(asdict(group)) for group in found.row_groups],
        footer=Footer.model_validate(asdict(found.footer)),
    )
    return sink.getvalue().to_pybytes(), entry


CONTENT, FILE = published(table_of(1))


@pytest.fixture
def store() -> Iterator[Store]:
    """Serves the file."""
    with serve() as running:
        running.content = CONTENT
        yield running


def scan(store: Store, choice: Choice, file: ManifestFile = FILE, **how: Any) -> Scanned:
    """Scans the store's one file."""
    sign = how.pop("sign", lambda: Signed({file.name: store.url}))
    return through(Urllib3Opener(), sign, choice, [file], how.pop("cache", None) or Cache())


def through(opener: Opener, sign: Any, choice: Choice, files: list[ManifestFile], cache: Cache) -> Scanned:
    """Scans files by an opener."""
    try:
        transfer = Transfer(opener, UrlBook(sign), patience=Patience(attempts=3), sleep=lambda _: None)
        return Scanner(transfer, cache).scan("round_1", files, choice)
    finally:
        opener.close()


def place(column: str, group: int) -> tuple[int, int]:
    """First byte and end of a column chunk."""
    metadata = pq.read_metadata(pa.BufferReader(CONTENT))
    return bounds(metadata.row_group(group).column(COLUMNS.index(column)))


def asked(store: Store) -> list[tuple[int, int]]:
    """Ranges that were asked for, ends excluded."""
    found = [text.removeprefix("bytes=").split("-") for text in store.asked]
    return [(int(first), int(last) + 1) for first, last in found]


def flip(content: bytes, position: int) -> bytes:
    """One bit is another."""
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


@pytest.mark.parametrize("where", [0, -1])
def test_scan_flipped_byte_in_a_wanted_chunk_is_told(store: Store, where: int):
    """By file, row group and column; nothing of it is kept."""
    start, end = place("close", 3)
    store.content = flip(CONTENT, (start, end - 1)[where])
    cache = Cache()
    with pytest.raises(IntegrityError, match=r"train-EURUSD\.parquet, row group 3, column 'close': expected sha256"):
        scan(store, Choice(["close"]), cache=cache)
    assert {FILE.footer.sha256} == {one.sha256 for one in cache.list()}


def test_scan_flipped_byte_in_an_unwanted_chunk_is_never_fetched(store: Store):
    """Not noticed, because no byte of any other column is asked for: bytes counted at the server."""
    start, _ = place("close", 3)
    store.content = flip(CONTENT, start)
    found = scan(store, Choice(["open", "volume"]))
    assert table_of(1).select(["open", "volume"]) == found.table
    wanted = [place(column, group) for column in ("open", "volume") for group in range(5)]
    wanted.append((len(CONTENT) - FILE.footer.length, len(CONTENT)))
    positions = {at for first, end in asked(store) for at in range(first, end)}
    assert {at for first, end in wanted for at in range(first, end)} == positions
    assert len(positions) == found.fetched_bytes == sum(end - first for first, end in asked(store))


def test_scan_neighbouring_chunks_come_by_one_request(store: Store):
    """Two columns side by side in five row groups, and the footer."""
    found = scan(store, Choice(["open", "high"]))
    assert (6, 6) == (store.hits, found.requests)
    assert place("open", 0)[0], place("high", 0)[1] in asked(store)


@pytest.mark.parametrize("position", [-1, -9, -FILE.footer.length])
def test_scan_lying_footer_is_told(store: Store, position: int):
    """Before anything is read where it says."""
    store.content = flip(CONTENT, len(CONTENT) + position)
    with pytest.raises(IntegrityError, match=r"train-EURUSD\.parquet, its footer: expected sha256"):
        scan(store, Choice(["close"]))
    assert 1 == store.hits


def test_scan_footer_of_other_row_groups_is_told(store: Store):
    """A footer that hashes right and tells another number of rows than the manifest."""
    groups = [FILE.row_groups[0].model_copy(update={"rows": 199}), *FILE.row_groups[1:]]
    lying = FILE.model_copy(update={"row_groups": groups, "rows": 999})
    with pytest.raises(IntegrityError, match=r"row groups of \[200, 200, 200, 200, 200\] rows"):
        scan(store, Choice(["close"]), lying)


def test_scan_column_without_a_digest_is_told(store: Store):
    """The footer has it, the manifest does not promise it."""
    group = FILE.row_groups[2]
    chunks = {name: digest for name, digest in group.chunks.items() if name != "close"}
    groups = [*FILE.row_groups[:2], group.model_copy(update={"chunks": chunks}), *FILE.row_groups[3:]]
    with pytest.raises(IntegrityError, match="row group 2, column 'close'"):
        scan(store, Choice(["close"]), FILE.model_copy(update={"row_groups": groups}))


def test_scan_footer_outside_the_file_is_told(store: Store):
    """No request is sent for it."""
    footer = Footer(length=FILE.size_bytes + 1, sha256="0" * 64)
    with pytest.raises(IntegrityError, match="outside the file"):
        scan(store, Choice(["close"]), FILE.model_copy(update={"footer": footer}))
    assert 0 == store.hits


def test_footer_that_is_none_is_told():
    """Bytes that hash right and are no Parquet."""
    with pytest.raises(IntegrityError, match="its footer can't be read"):
        Projection(FILE, b"no footer\x09\x00\x00\x00PAR1", Choice())


def test_scan_chunk_that_is_none_is_told():
    """Bytes that hash right and are no column."""
    projection = Projection(FILE, CONTENT[-FILE.footer.length :], Choice(["close"]))
    with pytest.raises(IntegrityError, match="its columns can't be read"):
        projection.table({part.start: bytes(part.end - part.start) for part in projection.parts()})


def test_held_refuses_what_nobody_proved():
    """Before, between, across and after the parts."""
    held = Held("x.parquet", 100, {10: b"0123456789", 40: b"abc"})
    assert 12 == held.seek(12)
    assert (b"234", 15, 100) == (held.read(3), held.tell(), held.seek(0, 2))
    for begin, count in ((0, 4), (5, 10), (18, 3), (30, 1), (42, 2), (99, 1), (10, -1)):
        held.seek(begin)
        with pytest.raises(IntegrityError, match=f"bytes at {begin} were to be used"):
            held.read(count)


def test_scan_server_that_ignores_ranges_gives_the_whole_file(store: Store):
    """It is fetched whole, proved by its own hash, and the result says so."""

    def ignore(handler: Handler) -> bool:
        del handler.headers["Range"]
        return False

    store.misdeed = ignore
    found = scan(store, Choice(["close"]))
    assert table_of(1).select(["close"]) == found.table
    assert {FILE.name: NO_RANGES} == dict(found.whole)
    assert "ignores ranges" in repr(found)


def test_scan_server_that_ignores_ranges_and_lies_is_told(store: Store):
    """The whole file's hash does not hold either."""
    store.content = flip(CONTENT, 5000)
    store.misdeed = lambda handler: handler.headers.__delitem__("Range")
    with pytest.raises(IntegrityError, match="expected sha256"):
        scan(store, Choice(["close"]))


def change_after_the_footer(store: Store, content: bytes) -> None:
    """The first answer is the old file's, all others are the new one's."""

    def act(handler: Handler) -> None:
        handler.honest()
        store.content, store.etag = content, '"two"'

    store.misdeed = once(act)


def test_scan_file_changed_between_requests_is_told(store: Store):
    """If-Range makes the server answer with the whole, and that is another file than promised."""
    change_after_the_footer(store, published(table_of(2))[0])
    with pytest.raises((IntegrityError, TransferError), match=r"train-EURUSD\.parquet"):
        scan(store, Choice(["close"]))


def test_scan_file_put_again_between_requests_is_good(store: Store):
    """Another ETag over the same bytes: fetched whole, as its hash proves."""
    change_after_the_footer(store, CONTENT)
    found = scan(store, Choice(["close"]))
    assert (table_of(1).select(["close"]), NO_RANGES) == (found.table, found.whole[FILE.name])


def test_scan_old_manifest_goes_whole_and_says_so(store: Store):
    """As rounds before 1.1 have it: no digests of parts."""
    groups = [group.model_copy(update={"chunks": {}}) for group in FILE.row_groups]
    for old in ({"row_groups": groups, "footer": None}, {"row_groups": [], "footer": None}, {"row_groups": groups}):
        cache = Cache(Path(tempfile.mkdtemp()))
        found = scan(
            store, Choice(["close"], start=BEGAN + timedelta(hours=990)), FILE.model_copy(update=old), cache=cache
        )
        assert (["close"], 10) == (found.table.column_names, found.table.num_rows)
        assert ({FILE.name: NO_DIGESTS}, len(CONTENT)) == (dict(found.whole), found.fetched_bytes)
    assert "no digests of parts" in repr(found)


def test_scan_empty_selection_fetches_a_footer(store: Store):
    """No rows, with their columns and types."""
    found = scan(store, Choice(["close", "timestamp", "symbol"], start="2030-01-01"))
    expected = table_of(1).schema
    assert (0, ["close", "timestamp", "symbol"]) == (found.table.num_rows, found.table.column_names)
    assert expected.field("timestamp").type == found.table.schema.field("timestamp").type
    assert FILE.footer.length == found.fetched_bytes


def test_scan_file_without_rows(store: Store):
    """An empty file is a footer."""
    store.content, empty = published(table_of(1, rows=0))
    found = scan(store, Choice(["close"]), empty)
    assert (0, ["close"], {}) == (found.table.num_rows, found.table.column_names, dict(found.whole))


def test_scan_unknown_column_names_those_there_are(store: Store):
    """Before anything is fetched."""
    with pytest.raises(InvalidInputError, match="no column 'closed'") as caught:
        scan(store, Choice(["closed"]))
    assert ("Did you mean 'close'? It has: " + ", ".join(COLUMNS) + ".", 0) == (caught.value.hint, store.hits)


def test_scan_time_without_a_time_column_is_told(store: Store):
    """As loading says it."""
    store.content, file = published(table_of(1).drop(["timestamp"]))
    with pytest.raises(InvalidInputError, match="no time column"):
        scan(store, Choice(["close"], start="2026-01-02"), file)


def test_scan_reads_the_time_only_where_a_row_group_lies_across(store: Store):
    """Rows 150 to 649: groups 0 to 3, of which 0 and 3 are cut."""
    found = scan(store, Choice(["close"], BEGAN + timedelta(hours=150), BEGAN + timedelta(hours=650)))
    assert table_of(1).select(["close"]).slice(150, 500) == found.table
    times = [place("timestamp", group) in asked(store) for group in range(5)]
    closes = [place("close", group) in asked(store) for group in range(5)]
    assert ([True, False, False, True, False], [True, True, True, True, False]) == (times, closes)


def test_scan_of_symbols_alone_reads_no_column(store: Store):
    """How many rows there are stands in the manifest."""
    found = scan(store, Choice(["symbol"]))
    assert (["EURUSD"] * ROWS, FILE.footer.length) == (found.table["symbol"].to_pylist(), found.fetched_bytes)


def test_scan_broken_off_range_goes_on_where_it_stopped(store: Store):
    """No byte twice."""
    store.misdeed = once(lambda handler: handler.honest(cut=100))
    found = scan(store, Choice())
    assert table_of(1) == found.table.drop(["symbol"])
    assert len(CONTENT) - 4 == found.fetched_bytes  # all but the magic that the file begins with


def test_scan_refused_url_is_signed_again(store: Store):
    """A store's 403 is answered by another URL; one that refuses each is told."""
    signed: list[str] = []

    def sign() -> Signed:
        signed.append(store.url)
        return Signed({FILE.name: f"{store.url}?{len(signed)}"})

    store.misdeed = once(lambda handler: handler.plain(403, b"expired"))
    assert ROWS == scan(store, Choice(["close"]), sign=sign).table.num_rows
    assert 2 == len(signed)
    store.misdeed = lambda handler: not handler.plain(403, b"no")
    with pytest.raises(ForbiddenError):
        scan(store, Choice(["open"]), sign=sign)


def test_scan_again_fetches_nothing(store: Store):
    """What was fetched is in the cache, and proved before it is used; more columns fetch the difference."""
    cache, choice = Cache(), Choice(["close", "timestamp"])
    first, again = scan(store, choice, cache=cache), scan(store, choice, cache=cache)
    assert (first.table, 0, 0) == (again.table, again.fetched_bytes, again.requests)
    for one in cache.list():
        one.path.write_bytes(b"spoiled")
    assert first.fetched_bytes == scan(store, choice, cache=cache).fetched_bytes
    wider = scan(store, Choice(["close", "timestamp", "open"]), cache=cache)
    assert sum(end - start for start, end in (place("open", group) for group in range(5))) == wider.fetched_bytes


def test_scan_takes_whole_files_from_the_cache(store: Store):
    """One that was pulled before is read there."""
    cache = Cache()
    cache.keep(FILE.sha256, CONTENT)
    found = scan(store, Choice(["close"]), cache=cache)
    assert (table_of(1).select(["close"]), 0, {}) == (found.table, found.fetched_bytes, dict(found.whole))


SEVERAL = {symbol: published(table_of(seed, 700 + seed), symbol) for seed, symbol in enumerate(("A", "B", "C"))}
INSTANTS = st.none() | st.integers(-50, 800).map(lambda hour: BEGAN + timedelta(hours=hour))


def serve_several(request: httpx.Request) -> httpx.Response:
    """Answers ranges of the three files."""
    content = SEVERAL[request.url.path.strip("/")][0]
    first, last = (int(part) for part in request.headers["Range"].removeprefix("bytes=").split("-"))
    headers = {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
    return httpx.Response(206, content=content[first : last + 1], headers=headers)


@settings(max_examples=40)  # each opens files and threads
@given(
    columns=st.none() | st.lists(st.sampled_from([*COLUMNS, "symbol"]), min_size=1, unique=True),
    symbols=st.lists(st.sampled_from(sorted(SEVERAL)), min_size=1, unique=True).map(sorted),
    start=INSTANTS,
    end=INSTANTS,
)
def test_scan_equals_whole_files_filtered(
    columns: list[str] | None, symbols: list[str], start: datetime | None, end: datetime | None
):
    """Whatever is chosen: the same table, types included, as reading whole files and filtering them."""
    urls = {f"train-{symbol}.parquet": f"http://store/{symbol}" for symbol in symbols}
    files = [SEVERAL[symbol][1] for symbol in symbols]
    opener = TransportOpener(httpx.MockTransport(serve_several))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = through(opener, lambda: Signed(urls), Choice(columns, start, end), files, Cache(folder / "cache"))
        for symbol in symbols:
            (folder / symbol).write_bytes(SEVERAL[symbol][0])
        pairs = [(SEVERAL[symbol][1], folder / symbol) for symbol in symbols]
        expected = read_tables(pairs, columns=columns, start=start, end=end)
    assert expected.schema == found.table.schema
    assert expected == found.table
    assert found.fetched_bytes <= found.bytes

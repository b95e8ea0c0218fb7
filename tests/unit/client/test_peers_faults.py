"""What peers got wrong, by the number of the fact sheet on peers (section 2, A and B); each against a bad server."""

from __future__ import annotations

import errno
import inspect
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest
from misbehaving import CONTENT, SHA, SIZE, Handler, Store, once, serve

from mp_kit.client.data import Data
from mp_kit.client.http import Patience
from mp_kit.client.marketplace import Marketplace
from mp_kit.client.opener import Urllib3Opener
from mp_kit.client.partial import Wanted
from mp_kit.client.transfer import Fetched, Transfer
from mp_kit.client.urls import FRESH_SHARE, Signed, UrlBook
from mp_kit.errors import IntegrityError, MarketplaceError, TransferError
from mp_kit.testing import FakeMarketplace

OTHER = bytes(byte ^ 255 for byte in CONTENT)
SECOND = "bytes=1000-1999"
PULL = """
import sys
from pathlib import Path
from mp_kit.client.opener import Urllib3Opener
from mp_kit.client.partial import Wanted
from mp_kit.client.transfer import Transfer
from mp_kit.client.urls import Signed, UrlBook
from mp_kit.errors import TransferError
url, sha, size, folder, *files = sys.argv[1:]
size, folder = int(size), Path(folder)

def fill(done, total, file):
    if done == size < total:
        with (folder / "filler").open("wb", buffering=0) as filler:
            try:
                while filler.write(bytes(4096)):
                    pass
            except OSError:
                pass

book = UrlBook(lambda: Signed(dict.fromkeys(files, url)))
try:
    done = Transfer(Urllib3Opener(), book, threads=1, range_bytes=1000, on_progress=fill).run(
        [Wanted(name, size, sha, folder / name) for name in files]
    )
    said = f"{done.resumed} resumed"
    left = []
except TransferError as error:
    said, left = error.message, sorted(path.name for path in folder.iterdir())
print(said, left)
"""


@pytest.fixture
def store() -> Iterator[Store]:
    with serve() as running:
        yield running


def fetch(store: Store, target: Path, **how: object) -> Fetched:
    """Transfers the one file in ranges of 1000 bytes, by one thread unless told otherwise."""
    book = how.pop("book", None) or UrlBook(lambda: Signed({"a.bin": store.url}))
    opener = Urllib3Opener(stall_seconds=how.pop("stall", 5.0))
    options = {"patience": Patience(attempts=3), "sleep": lambda _: None, "range_bytes": 1000, "threads": 1} | how
    try:
        return Transfer(opener, book, **options).run([Wanted("a.bin", SIZE, SHA, target)])
    finally:
        opener.close()


def leave_a_partial(store: Store, target: Path) -> None:
    """A first pull that dies after one range."""
    left = iter(range(1))
    store.misdeed = lambda handler: next(left, None) is None and (handler.plain(503, b"") or True)
    with pytest.raises(MarketplaceError):
        fetch(store, target, patience=Patience(attempts=1))
    store.misdeed = None
    store.asked.clear()


@contextmanager
def pull_process(url: str, folder: Path, *more: str, before: Sequence[str] = ()) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that pulls a.bin, and more files; when a.bin is there it fills the disk if there are more."""
    command = [*before, sys.executable, "-c", PULL, url, SHA, str(SIZE), str(folder), "a.bin", *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_01_file_changed_between_attempts(store: Store, tmp_path: Path):
    """An old head never gets a new tail: the other version has another ETag, and its hash is not the promised one."""
    leave_a_partial(store, tmp_path / "a.bin")
    store.content, store.etag = OTHER, '"two"'
    with pytest.raises(IntegrityError):
        fetch(store, tmp_path / "a.bin")
    assert [SECOND, "whole"] == store.asked
    assert [] == names(tmp_path)


def test_01_file_changed_under_the_same_etag(store: Store, tmp_path: Path):
    """Nor when the server gives both versions one ETag: the hash of the whole tells."""
    leave_a_partial(store, tmp_path / "a.bin")
    store.content = OTHER
    with pytest.raises(IntegrityError):
        fetch(store, tmp_path / "a.bin")
    assert [] == names(tmp_path)


def test_02_range_ignored_on_resume(store: Store, tmp_path: Path):
    """A 200 to a resumed range is not appended: the file comes whole and has its own length."""
    leave_a_partial(store, tmp_path / "a.bin")
    store.misdeed = lambda handler: handler.headers.__delitem__("Range") or False
    fetch(store, tmp_path / "a.bin")
    assert CONTENT == (tmp_path / "a.bin").read_bytes()
    assert ["a.bin"] == names(tmp_path)


@pytest.mark.parametrize("status", [403, 500])
def test_03_error_body_on_resume(store: Store, tmp_path: Path, status: int):
    """The body of an error does not overwrite the good partial: the next pull still goes on from it."""
    leave_a_partial(store, tmp_path / "a.bin")
    store.misdeed = lambda handler: handler.plain(status, b"<Error/>" * 200) or True
    with pytest.raises(MarketplaceError):
        fetch(store, tmp_path / "a.bin")
    store.misdeed = None
    assert 1000 == fetch(store, tmp_path / "a.bin").resumed
    assert CONTENT == (tmp_path / "a.bin").read_bytes()


def test_04_resume(store: Store, tmp_path: Path):
    """A second pull asks for what is missing and for nothing else."""
    leave_a_partial(store, tmp_path / "a.bin")
    fetch(store, tmp_path / "a.bin")
    assert (SECOND, 4) == (store.asked[0], len(store.asked))


def test_05_newer_local_file_is_not_skipped(store: Store, tmp_path: Path):
    """Neither a date in the future nor the right size make a file complete."""
    (tmp_path / "a.bin").write_bytes(OTHER)
    os.utime(tmp_path / "a.bin", (4e9, 4e9))
    fetch(store, tmp_path / "a.bin")
    assert CONTENT == (tmp_path / "a.bin").read_bytes()


def test_06_broken_bodies_are_tried_again(store: Store, tmp_path: Path):
    """Each first answer is cut short; several threads still bring the file home."""
    cut: set[str] = set()
    lock = threading.Lock()

    def break_off(handler: Handler) -> bool:
        with lock:
            start = handler.headers["Range"].split("-")[0]
            fresh = start not in cut and int(start.removeprefix("bytes=")) % 1000 == 0
            cut.add(start)
        return fresh and (handler.honest(cut=300) or True)

    store.misdeed = break_off
    fetch(store, tmp_path / "a.bin", threads=3)
    assert (CONTENT, 10) == ((tmp_path / "a.bin").read_bytes(), store.hits)


def test_07_stalled_body_is_given_up(store: Store, tmp_path: Path):
    """A silent connection is replaced; what had arrived by it is kept."""
    silence = threading.Event()

    def stall(handler: Handler) -> None:
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes 0-999/{SIZE}")
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(CONTENT[:500])
        handler.wfile.flush()
        silence.wait(10)
        handler.close_connection = True

    store.misdeed = once(stall)
    fetch(store, tmp_path / "a.bin", stall=0.2)
    silence.set()
    assert ("bytes=500-999", CONTENT) == (store.asked[1], (tmp_path / "a.bin").read_bytes())


def test_08_leftover_partial_heals_itself(store: Store, tmp_path: Path):
    """416 on a resumed range: the partial goes, the file comes whole, once."""
    leave_a_partial(store, tmp_path / "a.bin")
    store.misdeed = once(lambda handler: handler.plain(416, b""))
    fetch(store, tmp_path / "a.bin")
    assert ([SECOND, "whole"], ["a.bin"]) == (store.asked, names(tmp_path))


def test_09_two_processes_at_once_share_nothing(store: Store, tmp_path: Path):
    """While one process is in the middle another one begins and ends; it takes nothing of the first one's partial."""
    reached, go_on = threading.Event(), threading.Event()

    def hold_second(handler: Handler) -> bool:
        if handler.headers["Range"] == SECOND and not reached.is_set():
            reached.set()
            go_on.wait(20)
        return False

    store.misdeed = hold_second
    with pull_process(store.url, tmp_path) as first:
        assert reached.wait(20)
        store.asked.clear()
        with pull_process(store.url, tmp_path) as second:
            assert (b"0 resumed []\n", 5) == (second.communicate(timeout=20)[0], len(store.asked))
        go_on.set()
        assert b"0 resumed []\n" == first.communicate(timeout=20)[0]
    assert (CONTENT, ["a.bin"]) == ((tmp_path / "a.bin").read_bytes(), names(tmp_path))


def test_10_where_data_lands_is_chosen_and_told(market: Marketplace, tmp_path: Path):
    """``output`` is the folder and ``files`` are files in the round; the result has the path."""
    pulled = market.data.pull(output=tmp_path / "here", files=["train-EURUSD.parquet"], progress=False)
    assert (tmp_path / "here", [tmp_path / "here/train-EURUSD.parquet"]) == (pulled.path, pulled.files)
    assert str(tmp_path / "here") in repr(pulled)


@pytest.mark.parametrize("jump", [0.0, -1e6, 1e6])
def test_11_urls_are_renewed_before_they_end_whatever_the_wall_clock_says(jump: float, monkeypatch: pytest.MonkeyPatch):
    """Age is measured by a clock that never jumps: two machines' clocks may differ by more than a URL lives."""
    now, signed = [0.0], []
    monkeypatch.setattr("time.time", lambda: 1.7e9 + jump)

    def sign() -> Signed:
        signed.append(now[0])
        return Signed({"a.bin": f"u{len(signed)}"}, 900)

    book = UrlBook(sign, clock=lambda: now[0])
    found = []
    for now[0] in (0.0, 900 * FRESH_SHARE - 1, 900 * FRESH_SHARE, 900.0):
        found.append(book.url("a.bin"))
    assert ["u1", "u1", "u2", "u2"] == found


def test_12_renewed_urls_are_of_the_pinned_round(market: Marketplace, fake: FakeMarketplace, tmp_path: Path):
    """``current`` is resolved once, before the first URL."""
    bodies: list[bytes] = []
    handle = fake.transport.handler
    fake.transport.handler = lambda request: bodies.append(request.content) or handle(request)
    market.data.pull("current", tmp_path, progress=False)
    assert [fake.shelf.manifest.round_id] == [json.loads(b)["round_id"] for b in bodies if b"round_id" in b]


def test_13_batches_bound_the_memory(market: Marketplace):
    """Rows come in pieces, the same as the table's."""
    batches = list(market.data.batches("train", rows=10, columns=["timestamp", "close"]))
    assert (10, 64) == (max(batch.num_rows for batch in batches), sum(batch.num_rows for batch in batches))
    assert market.data.arrow("train", columns=["timestamp", "close"]) == pa.Table.from_batches(batches)


@pytest.mark.parametrize("verb", [Data.arrow, Data.pull])
def test_14_filters_are_in_the_signature(verb: object):
    """Who presses Tab sees them."""
    asked = {"symbols"} | ({"columns", "start", "end"} if verb is Data.arrow else {"files", "roles"})
    assert asked <= set(inspect.signature(verb).parameters)


def test_15_arrow_is_the_base_with_a_column_subset(market: Marketplace):
    """An Arrow table, with the columns that were asked for in their order."""
    table = market.data.arrow("train", columns=["close", "timestamp"])
    assert (pa.Table, ["close", "timestamp"]) == (type(table), table.column_names)


def test_disk_that_fills_up_on_the_way(store: Store, tmp_path: Path):
    """A real one, of 64 KiB memory: told in words, the finished file stays, the other gives its room back."""
    mount = f'mount -t tmpfs -o size=64k none "{tmp_path}" && exec "$@"'
    private = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*private, "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("no private mounts here: unshare --user --mount is refused")
    with pull_process(store.url, tmp_path, "b.bin", before=private) as pull:
        said = pull.communicate(timeout=20)[0].decode()
    assert f"b.bin: the disk is full; 4,500 bytes are needed in {tmp_path}. ['a.bin', 'filler']\n" == said


def test_disk_full_on_resume(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The refusal is told in words, and the room is given back."""
    leave_a_partial(store, tmp_path / "a.bin")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(TransferError, match="the disk is full"):
        fetch(store, tmp_path / "a.bin")
    assert [] == names(tmp_path)

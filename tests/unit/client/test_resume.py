"""A transfer that died goes on where it stopped; bytes are counted at the server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from misbehaving import CONTENT, SHA, SIZE, Handler, Store, serve

from mp_kit.client.http import Patience
from mp_kit.client.journal import JOURNAL, PART
from mp_kit.client.opener import Urllib3Opener
from mp_kit.client.partial import Wanted
from mp_kit.client.transfer import Fetched, Transfer
from mp_kit.client.urls import Signed, UrlBook
from mp_kit.errors import MarketplaceError

RANGE = 1000
PULL = """
import sys
from pathlib import Path
from mp_kit.client.opener import Urllib3Opener
from mp_kit.client.partial import Wanted
from mp_kit.client.transfer import Transfer
from mp_kit.client.urls import Signed, UrlBook
url, target, sha, size = sys.argv[1:]
wanted = Wanted("a.bin", int(size), sha, Path(target))
Transfer(Urllib3Opener(), UrlBook(lambda: Signed({"a.bin": url})), threads=1, range_bytes=1000).run([wanted])
"""


@pytest.fixture
def store() -> Iterator[Store]:
    with serve() as running:
        yield running


def fetch(store: Store, target: Path, *, sha: str = SHA, attempts: int = 1) -> Fetched:
    """Transfers the one file by one thread."""
    opener = Urllib3Opener(stall_seconds=5.0)
    book = UrlBook(lambda: Signed({"a.bin": store.url}))
    how = {"threads": 1, "range_bytes": RANGE, "patience": Patience(attempts=attempts), "sleep": lambda _: None}
    try:
        return Transfer(opener, book, **how).run([Wanted("a.bin", SIZE, sha, target)])
    finally:
        opener.close()


def down_after(count: int) -> object:
    """Serves so many requests, then answers 503."""
    left = iter(range(count))

    def misdeed(handler: Handler) -> bool:
        return next(left, None) is None and (handler.plain(503, b"") or True)

    return misdeed


def interrupted(store: Store, target: Path, ranges: int = 2) -> None:
    """Leaves a partial of so many ranges, and forgets what was asked."""
    store.misdeed = down_after(ranges)
    with pytest.raises(MarketplaceError):
        fetch(store, target)
    store.misdeed = None
    store.asked.clear()


def names(folder: Path) -> list[str]:
    return sorted(path.suffix for path in folder.iterdir())


def test_resume_server_down_leaves_a_partial_and_its_journal(store: Store, tmp_path: Path):
    """What arrived stays, beside its proof; the file itself does not appear."""
    interrupted(store, tmp_path / "a.bin")
    assert [JOURNAL, PART] == names(tmp_path)


def test_resume_asks_only_for_what_is_missing(store: Store, tmp_path: Path):
    """Two of five ranges are there; the rest is bound to the same ETag and nothing is left over."""
    conditions: list[str | None] = []
    interrupted(store, tmp_path / "a.bin")
    store.misdeed = lambda handler: conditions.append(handler.headers.get("If-Range")) or False
    done = fetch(store, tmp_path / "a.bin")
    assert CONTENT == (tmp_path / "a.bin").read_bytes()
    assert ["bytes=2000-2999", "bytes=3000-3999", "bytes=4000-4499"] == store.asked
    assert {'"one"'} == set(conditions)
    assert (2500, 2000, ["a.bin"]) == (done.bytes, done.resumed, [path.name for path in tmp_path.iterdir()])


def test_resume_over_a_restarted_server(tmp_path: Path):
    """The server is gone in the middle; another one at another port serves the same content."""
    with serve() as first:
        interrupted(first, tmp_path / "a.bin", ranges=3)
    with serve() as second:
        fetch(second, tmp_path / "a.bin")
        assert ["bytes=3000-3999", "bytes=4000-4499"] == second.asked
    assert CONTENT == (tmp_path / "a.bin").read_bytes()


def test_resume_after_kill_9(store: Store, tmp_path: Path):
    """A process is killed in its third range; no byte of the first two is fetched again."""
    reached, go_on = tmp_path / "reached", tmp_path / "go-on"

    def hold(handler: Handler) -> bool:
        if handler.headers.get("Range") == "bytes=2000-2999":
            reached.touch()
            deadline = time.monotonic() + 20
            while not go_on.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
        return False

    store.misdeed = hold
    folder = tmp_path / "into"
    folder.mkdir()
    command = [sys.executable, "-c", PULL, store.url, str(folder / "a.bin"), SHA, str(SIZE)]
    with subprocess.Popen(command) as process:
        deadline = time.monotonic() + 20
        while not reached.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    go_on.touch()
    assert (-signal.SIGKILL, [JOURNAL, PART]) == (process.returncode, names(folder))
    store.misdeed = None
    store.asked.clear()
    done = fetch(store, folder / "a.bin")
    assert ["bytes=2000-2999", "bytes=3000-3999", "bytes=4000-4499"] == store.asked
    assert (2000, CONTENT) == (done.resumed, (folder / "a.bin").read_bytes())
    assert ["a.bin"] == [path.name for path in folder.iterdir()]


def test_resume_changed_bytes_on_disk_are_fetched_again(store: Store, tmp_path: Path):
    """The journal is not believed: a range whose bytes changed on disk counts as missing."""
    interrupted(store, tmp_path / "a.bin")
    part = next(path for path in tmp_path.iterdir() if path.suffix == PART)
    with part.open("r+b") as stream:
        stream.write(bytes([CONTENT[0] ^ 1]))
    done = fetch(store, tmp_path / "a.bin")
    assert ("bytes=0-999", 1000) == (store.asked[0], done.resumed)
    assert CONTENT == (tmp_path / "a.bin").read_bytes()


@pytest.mark.parametrize(
    "damage", ["", "nonsense\n", '{"sha256": 1}\n', '{"size": 4500, "sha256": "00", "etag": null}\n']
)
def test_resume_unfit_journal_starts_afresh(store: Store, tmp_path: Path, damage: str):
    """Empty, unreadable or another content's: nothing of it is used."""
    interrupted(store, tmp_path / "a.bin")
    journal = next(path for path in tmp_path.iterdir() if path.suffix == JOURNAL)
    journal.write_text(damage)
    done = fetch(store, tmp_path / "a.bin")
    assert (0, SIZE, 5) == (done.resumed, done.bytes, len(store.asked))
    assert CONTENT == (tmp_path / "a.bin").read_bytes()


def test_resume_half_a_line_is_left_out(store: Store, tmp_path: Path):
    """Killed while writing the journal: the lines before count."""
    interrupted(store, tmp_path / "a.bin")
    journal = next(path for path in tmp_path.iterdir() if path.suffix == JOURNAL)
    with journal.open("a") as stream:
        stream.write('{"start": 2000, "en')
    assert 2000 == fetch(store, tmp_path / "a.bin").resumed


def test_resume_of_a_lying_journal_ends_well(store: Store, tmp_path: Path):
    """Another content's range with its right hash: the file's own hash tells, and it is fetched whole."""
    interrupted(store, tmp_path / "a.bin", ranges=1)
    part = next(path for path in tmp_path.iterdir() if path.suffix == PART)
    with part.open("r+b") as stream:
        stream.write(bytes(RANGE))
    journal = part.with_suffix(JOURNAL)
    head, line = journal.read_text().splitlines()
    zeros = "541b3e9daa09b20bf85fa273e5cbd3e80185aa4ec298e765db87742b70138a53"
    journal.write_text(f"{head}\n{json.dumps(json.loads(line) | {'sha256': zeros})}\n")
    done = fetch(store, tmp_path / "a.bin")
    assert (CONTENT, "whole", SIZE) == ((tmp_path / "a.bin").read_bytes(), store.asked[-1], done.bytes)


def test_resume_complete_partial_asks_for_nothing(store: Store, tmp_path: Path):
    """Killed between the last range and the rename."""
    interrupted(store, tmp_path / "a.bin", ranges=4)
    journal = next(path for path in tmp_path.iterdir() if path.suffix == JOURNAL)
    part = journal.with_suffix(PART)
    part.write_bytes(CONTENT)
    line = json.dumps({"start": 0, "end": SIZE, "sha256": SHA})
    journal.write_text(journal.read_text().splitlines()[0] + "\n" + line + "\n")
    done = fetch(store, tmp_path / "a.bin")
    assert ([], SIZE, ["a.bin"]) == (store.asked, done.resumed, [path.name for path in tmp_path.iterdir()])


def test_resume_another_machines_partial_waits_an_hour(store: Store, tmp_path: Path):
    """Locks of another host tell nothing; its partial is left alone while it may be alive."""
    interrupted(store, tmp_path / "a.bin")
    for path in list(tmp_path.iterdir()):
        host = path.name.split(".")[3].split("-")[0]
        path.rename(path.with_name(path.name.replace(host, "0" * 8)))
    assert 0 == fetch(store, tmp_path / "a.bin").resumed
    assert [".bin", JOURNAL, PART] == names(tmp_path)
    (tmp_path / "a.bin").unlink()
    for path in tmp_path.iterdir():
        os.utime(path, (0, 0))
    assert 2000 == fetch(store, tmp_path / "a.bin").resumed
    assert ["a.bin"] == [path.name for path in tmp_path.iterdir()]

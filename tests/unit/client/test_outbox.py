"""The outbox: nothing is lost, nothing is doubled, and what is wrong with its file is told."""

from __future__ import annotations

import multiprocessing
import os
import signal as signals_of_the_system
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from mp_kit.client.outbox import Letter, Outbox, Refused
from mp_kit.errors import SetupError


def letter(number: int, size: int = 10) -> Letter:
    return Letter(body=b"[%d]" % number + b" " * size, rows=1, key=f"k{number}")


def drain(box: Outbox) -> list[bytes]:
    found = []
    while (parcel := box.next()) is not None:
        found.append(parcel.body.strip())
        box.settle(parcel, "{}")
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox" / "box.sqlite"


@pytest.mark.parametrize("in_memory", [True, False])
def test_put_next_settle(path: Path, *, in_memory: bool):
    """Oldest first; a settled parcel is gone."""
    box = Outbox(None if in_memory else path)
    box.put([letter(1), letter(2)])
    box.put([letter(3)])
    assert [b"[1]", b"[2]", b"[3]"] == drain(box)
    assert [] == box.waiting()


def test_only_its_owner_reads_it(path: Path):
    """The file, its WAL and the folder."""
    box = Outbox(path)
    box.put([letter(1)])
    with box.sender():
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert {0o600} == set(modes.values())
    assert {"box.sqlite", "box.sqlite-wal", "box.sqlite-shm", "box.lock"} == set(modes)
    assert 0o700 == stat.S_IMODE(path.parent.stat().st_mode)


def test_what_was_put_is_there_for_the_next_process(path: Path):
    """Without closing."""
    Outbox(path).put([letter(1)])
    assert [b"[1]"] == drain(Outbox(path))


def test_full_outbox_refuses_whole_pushes(path: Path):
    """With what to do; what waits stays."""
    box = Outbox(path, limit_bytes=100)
    box.put([letter(1, size=60)])
    with pytest.raises(SetupError, match="full") as caught:
        box.put([letter(2), letter(3, size=60)])
    assert "mp signals flush" in caught.value.hint
    assert [b"[1]"] == drain(box)
    assert 1 == len(box.put([letter(2, size=60)]))


def test_answer_is_for_the_process_that_put(path: Path):
    """Given once; the one that sent needs none."""
    mine, other = Outbox(path), Outbox(path)
    numbers = mine.put([letter(1), letter(2)])
    for settling, answer in ((other, "a"), (mine, "b")):
        parcel = mine.next()
        assert parcel is not None
        settling.settle(parcel, answer)
    assert ["a", None, None] == [mine.answer(numbers[0]), mine.answer(numbers[0]), mine.answer(numbers[1])]


def test_refused_is_kept_apart(path: Path):
    """With its reason, until it is forgotten."""
    box = Outbox(path)
    box.put([letter(1)])
    parcel = box.next()
    assert parcel is not None
    box.settle(parcel, "{}", [Refused(1.0, "conflict", "BUY stands", {"symbol": "EURUSD"})])
    assert [("conflict", "BUY stands", {"symbol": "EURUSD"})] == [one[1:] for one in Outbox(path).refused()]
    box.forget_refused()
    assert [] == box.refused()


def test_one_sender_at_a_time(path: Path):
    """Among threads of a process and among processes; the second is told, not kept waiting."""
    one, two = Outbox(path), Outbox(path)
    with one.sender() as first, one.sender() as again, two.sender() as second:
        assert (True, False, False) == (first, again, second)
    with two.sender() as later:
        assert later


def test_failed_put_leaves_nothing(path: Path):
    """All letters of a push or none."""
    box = Outbox(path)
    nothing: Any = None
    broken = Letter(body=b"[2]", rows=1, key=nothing)
    with pytest.raises(SetupError):
        box.put([letter(1), broken])
    assert [] == box.waiting()
    assert 1 == len(box.put([letter(2)]))


NO_FILES = {
    "text": b"this is no database, but long enough to be looked at as one" * 20,
    "cut": b"SQLite format 3\0" + b"\xff" * 84,
}


@pytest.mark.parametrize("name", NO_FILES)
def test_damaged_file_is_told_and_left_as_it_is(path: Path, name: str):
    """Nobody repairs by deleting."""
    path.parent.mkdir()
    path.write_bytes(NO_FILES[name])
    with pytest.raises(SetupError, match="damaged") as caught:
        Outbox(path).put([letter(1)])
    assert str(path) in caught.value.message
    assert "aside" in caught.value.hint
    assert NO_FILES[name] == path.read_bytes()


def test_damaged_page_is_told(path: Path):
    """In the middle of a file that opens."""
    box = Outbox(path)
    box.put([letter(n, size=5000) for n in range(20)])
    box.close()
    spoiled = bytearray(path.read_bytes())
    spoiled[4096 * 1 : 4096 * 8] = os.urandom(4096 * 7)
    path.write_bytes(spoiled)
    with pytest.raises(SetupError, match="damaged"):
        drain(Outbox(path))


def test_locked_file_is_told(path: Path):
    """After the time that another writer gets."""
    box = Outbox(path, busy_seconds=0.05)
    box.put([letter(1)])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(SetupError, match="another process holds it"):
        box.put([letter(2)])
    other.execute("COMMIT")
    other.close()
    box.put([letter(3)])
    assert [b"[1]", b"[3]"] == drain(box)


def test_full_disk_is_told_and_loses_nothing(path: Path):
    """SQLite's own bound on its size stands for the disk's."""
    box = Outbox(path)
    box.put([letter(1)])
    db = box._connection()
    db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0] + 2}")
    with pytest.raises(SetupError, match="disk is full"):
        box.put([letter(2, size=100_000)])
    assert [b"[1]"] == drain(box)


def test_folder_that_cannot_be_made_is_told(tmp_path: Path):
    """With the variable that moves it."""
    (tmp_path / "file").touch()
    with pytest.raises(SetupError) as caught:
        Outbox(tmp_path / "file" / "box.sqlite").put([letter(1)])
    assert "XDG_STATE_HOME" in caught.value.hint


def test_newer_file_is_refused(path: Path):
    """An older mp-kit must not guess what a newer one wrote."""
    box = Outbox(path)
    box.put([letter(1)])
    box._connection().execute("PRAGMA user_version = 99")
    box.close()
    with pytest.raises(SetupError, match="newer"):
        Outbox(path).waiting()


def test_child_of_a_fork_opens_its_own(path: Path):
    """A handle of SQLite must not cross a fork."""
    box = Outbox(path)
    box.put([letter(1)])
    child = multiprocessing.get_context("fork").Process(target=box.put, args=([letter(2)],))
    child.start()
    child.join(20)
    assert 0 == child.exitcode
    assert [b"[1]", b"[2]"] == drain(box)


def test_threads_share_one(path: Path):
    """No letter is lost among them."""
    box = Outbox(path)

    def put(ten: int) -> None:
        for number in range(ten * 10, ten * 10 + 10):
            box.put([letter(number)])

    threads = [threading.Thread(target=put, args=(ten,)) for ten in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {b"[%d]" % n for n in range(60)} == set(drain(box))


def _meet(path: Path, start: Any, number: int) -> None:
    start.wait()
    Outbox(path).put([letter(number)])


def test_processes_make_the_file_together(path: Path):
    """All at once on a fresh folder."""
    context = multiprocessing.get_context("fork")
    start = context.Event()
    children = [context.Process(target=_meet, args=(path, start, number)) for number in range(6)]
    for child in children:
        child.start()
    start.set()
    for child in children:
        child.join(30)
    assert [0] * 6 == [child.exitcode for child in children]
    assert {b"[%d]" % n for n in range(6)} == set(drain(Outbox(path)))


PUTTER = """
import sys
from pathlib import Path
from mp_kit.client.outbox import Letter, Outbox
box = Outbox(Path(sys.argv[1]))
start = int(sys.argv[2])
for n in range(start, start + 100000):
    box.put([Letter(b"[%d]" % n, 1, f"k{n}")])
    print(n, flush=True)
"""


def test_killed_putter_loses_nothing_that_it_was_told(path: Path):
    """Kill -9 at any instant: what put returned for is there, in order, once."""
    told: list[int] = []
    for round_ in range(5):
        argv = [sys.executable, "-c", PUTTER, str(path), str(round_ * 100_000)]
        child = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        told.append(int(child.stdout.readline()))
        time.sleep(0.013 * round_)
        child.send_signal(signals_of_the_system.SIGKILL)
        told += [int(line) for line in child.stdout.read().splitlines()]
        child.wait()
        child.stdout.close()
    found = [int(body[1:-1]) for body in drain(Outbox(path))]
    assert sorted(set(found)) == found
    assert set(told) <= set(found)
    assert len(found) - len(told) <= 5

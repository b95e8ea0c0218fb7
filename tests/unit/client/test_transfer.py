"""The real urllib3 path against a small server that misbehaves on demand."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from misbehaving import CONTENT, SHA, SIZE, Handler, Store, once, serve

from mp_kit.client.http import Patience
from mp_kit.client.opener import Urllib3Opener
from mp_kit.client.partial import Wanted
from mp_kit.client.transfer import Fetched, Floor, Transfer
from mp_kit.client.urls import Signed, UrlBook
from mp_kit.errors import (
    ForbiddenError,
    IntegrityError,
    InvalidInputError,
    NetworkError,
    TimeoutExceededError,
    TransferError,
    UnavailableError,
)

RANGE = 1000


@pytest.fixture
def store() -> Iterator[Store]:
    with serve() as running:
        yield running


def fetch(store: Store, target: Path, **how: object) -> Fetched:
    """Transfers the one file."""
    signs = how.pop("sign", lambda: Signed({"a.bin": store.url}))
    opener = Urllib3Opener(stall_seconds=how.pop("stall", 5.0))
    options = {"patience": Patience(attempts=3), "sleep": lambda _: None, "range_bytes": RANGE, "threads": 3} | how
    wanted = Wanted("a.bin", SIZE, SHA, target)
    try:
        return Transfer(opener, UrlBook(signs), **options).run([wanted])
    finally:
        opener.close()


def only(target: Path) -> list[str]:
    """What lies in the folder."""
    return sorted(path.name for path in target.parent.iterdir())


def test_transfer_ranges_arrive_whole(store: Store, tmp_path: Path):
    """Five ranges make the file, and progress ends at its size."""
    seen: list[tuple[int, int, str]] = []
    done = fetch(store, tmp_path / "a.bin", on_progress=lambda *what: seen.append(what))
    assert CONTENT == (tmp_path / "a.bin").read_bytes()
    assert (["a.bin"], [], SIZE) == (done.fetched, done.kept, done.bytes)
    assert 5 == store.hits
    assert (SIZE, SIZE, "a.bin") == seen[-1]
    assert ["a.bin"] == only(tmp_path / "a.bin")


def test_transfer_present_file_is_not_fetched_again(store: Store, tmp_path: Path):
    """Completeness is the hash."""
    (tmp_path / "a.bin").write_bytes(CONTENT)
    done = fetch(store, tmp_path / "a.bin")
    assert (["a.bin"], 0, 0) == (done.kept, done.bytes, store.hits)


def test_transfer_same_size_other_bytes_is_fetched_again(store: Store, tmp_path: Path):
    """Neither size nor mtime prove a file."""
    (tmp_path / "a.bin").write_bytes(bytes(SIZE))
    fetch(store, tmp_path / "a.bin")
    assert CONTENT == (tmp_path / "a.bin").read_bytes()


def test_transfer_range_ignored_is_fetched_whole(store: Store, tmp_path: Path):
    """A 200 in answer to a range never lands at an offset; the file comes whole in a second pass."""
    seen: list[int] = []

    def ignore(handler: Handler) -> bool:
        del handler.headers["Range"]
        return False

    store.misdeed = ignore
    fetch(store, tmp_path / "a.bin", on_progress=lambda done, _total, _file: seen.append(done))
    assert CONTENT == (tmp_path / "a.bin").read_bytes()
    assert "whole" == store.asked[-1]
    assert (SIZE, SIZE) == (seen[-1], max(seen))


def test_transfer_refused_body_never_reaches_disk(store: Store, tmp_path: Path):
    """A 403 body stays out, URLs are renewed, and at the end the refusal is told."""
    signed: list[int] = []

    def sign() -> Signed:
        signed.append(1)
        return Signed({"a.bin": f"{store.url}?n={len(signed)}"})

    store.misdeed = lambda handler: handler.plain(403, b"<Error>AccessDenied</Error>" * 90) or True
    with pytest.raises(ForbiddenError):
        fetch(store, tmp_path / "a.bin", sign=sign, threads=1)
    assert 3 == len(signed)
    assert [] == only(tmp_path / "a.bin")


def test_transfer_expired_url_is_renewed(store: Store, tmp_path: Path):
    """The first URL is refused, the second one is good."""
    signed: list[int] = []

    def sign() -> Signed:
        signed.append(1)
        return Signed({"a.bin": f"{store.url}?n={len(signed)}"})

    def refuse_first(handler: Handler) -> bool:
        return "n=1" in handler.path and (handler.plain(403, b"expired") or True)

    store.misdeed = refuse_first
    fetch(store, tmp_path / "a.bin", sign=sign)
    assert CONTENT == (tmp_path / "a.bin").read_bytes()
    assert 2 == len(signed)


def test_transfer_truncated_body_goes_on_where_it_stopped(store: Store, tmp_path: Path):
    """The rest is asked for, not the whole range again."""
    store.misdeed = once(lambda handler: handler.honest(cut=400))
    fetch(store, tmp_path / "a.bin", threads=1)
    assert CONTENT == (tmp_path / "a.bin").read_bytes()
    assert ["bytes=0-999", "bytes=600-999"] == store.asked[:2]


def test_transfer_always_truncated_gives_up(store: Store, tmp_path: Path):
    """Bounded patience: a body that never comes ends in an error and leaves nothing."""
    store.misdeed = lambda handler: handler.honest(cut=len(range(*handler.bounds()))) or True
    with pytest.raises(Exception, match=r"broke|early"):
        fetch(store, tmp_path / "a.bin", threads=1)
    assert 3 == store.hits
    assert [] == only(tmp_path / "a.bin")


def test_transfer_without_ranges_that_always_breaks_gives_up(store: Store, tmp_path: Path):
    """Where each attempt begins anew, what it brought before it broke is no progress."""

    def two_thirds(handler: Handler) -> bool:
        del handler.headers["Range"]
        handler.honest(cut=SIZE // 3)
        return True

    store.misdeed = two_thirds
    with pytest.raises(Exception, match=r"broke|early"):
        fetch(store, tmp_path / "a.bin", threads=1)
    assert store.hits <= 2 * 3
    assert [] == only(tmp_path / "a.bin")


def test_transfer_changed_etag_is_fetched_afresh(store: Store, tmp_path: Path):
    """Bytes of two versions are never mixed: after a change the file comes whole."""
    store.misdeed = once(lambda handler: handler.honest(etag='"zero"'))
    fetch(store, tmp_path / "a.bin", threads=1)
    assert CONTENT == (tmp_path / "a.bin").read_bytes()
    assert ["bytes=0-999", "bytes=1000-1999", "whole"] == store.asked


def test_transfer_flipped_byte_leaves_no_file(store: Store, tmp_path: Path):
    """The error names file, expected and found hash; nothing is kept."""
    store.content = bytes([CONTENT[0] ^ 1]) + CONTENT[1:]
    with pytest.raises(IntegrityError) as caught:
        fetch(store, tmp_path / "a.bin")
    found = hashlib.sha256(store.content).hexdigest()
    assert f"a.bin: expected sha256 {SHA}, got {found}." == caught.value.message
    assert [] == only(tmp_path / "a.bin")


def test_transfer_wrong_content_range_is_refused(store: Store, tmp_path: Path):
    """206 with other bounds than asked for is worth nothing."""
    store.misdeed = lambda handler: handler.honest(shift=1) or True
    with pytest.raises(TransferError, match="asked for bytes 0-999 of 4500, got 1-1000 of 4500"):
        fetch(store, tmp_path / "a.bin", threads=1)
    assert [] == only(tmp_path / "a.bin")


def test_transfer_stalled_body_is_tried_again(store: Store, tmp_path: Path):
    """A connection that goes silent is given up and replaced."""
    silence = threading.Event()

    def stall(handler: Handler) -> None:
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes 0-999/{SIZE}")
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(CONTENT[:300])
        handler.wfile.flush()
        silence.wait(10)
        handler.close_connection = True

    store.misdeed = once(stall)
    fetch(store, tmp_path / "a.bin", threads=1, stall=0.2)
    silence.set()
    assert CONTENT == (tmp_path / "a.bin").read_bytes()
    assert "bytes=300-999" == store.asked[1]


def test_transfer_trickle_below_the_floor_is_given_up(store: Store, tmp_path: Path):
    """Bytes keep coming, but too few: the watchdog ends it though no read ever times out."""
    stop = threading.Event()

    def trickle(handler: Handler) -> bool:
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes 0-999/{SIZE}")
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        for byte in CONTENT[:1000]:
            if stop.wait(0.005):
                break
            try:
                handler.wfile.write(bytes([byte]))
                handler.wfile.flush()
            except OSError:
                break
        handler.close_connection = True
        return True

    store.misdeed = trickle
    floor = Floor(bytes_per_second=1e6, window_seconds=0.05)
    with pytest.raises(TimeoutExceededError, match=r"only \d+ bytes came"):
        fetch(store, tmp_path / "a.bin", threads=1, floor=floor, patience=Patience(attempts=1))
    stop.set()
    assert [] == only(tmp_path / "a.bin")


def test_transfer_server_error_is_tried_again(store: Store, tmp_path: Path):
    """A 500 with a body is no data."""
    store.misdeed = once(lambda handler: handler.plain(500, b"oops"))
    fetch(store, tmp_path / "a.bin")
    assert CONTENT == (tmp_path / "a.bin").read_bytes()


def test_transfer_unsatisfiable_range_heals_itself(store: Store, tmp_path: Path):
    """416 once: the file is fetched whole."""
    store.misdeed = once(lambda handler: handler.plain(416, b""))
    fetch(store, tmp_path / "a.bin")
    assert CONTENT == (tmp_path / "a.bin").read_bytes()


def test_transfer_disk_full_says_so(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The disk's refusal is told as such, at once, and leaves nothing."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(TransferError, match="the disk is full; 4,500 bytes are needed"):
        fetch(store, tmp_path / "a.bin", threads=1)
    assert 1 == store.hits
    assert [] == only(tmp_path / "a.bin")


def test_transfer_without_room_asks_for_nothing(store: Store, tmp_path: Path):
    """Too little room is noticed before a byte is fetched."""
    wanted = Wanted("a.bin", 1 << 60, SHA, tmp_path / "a.bin")
    opener = Urllib3Opener()
    with pytest.raises(TransferError, match="The disk is full"):
        Transfer(opener, UrlBook(lambda: Signed({"a.bin": store.url}))).run([wanted])
    opener.close()
    assert 0 == store.hits


def test_transfer_unwritable_folder_is_named(store: Store, tmp_path: Path):
    """A file in the way of the folder."""
    (tmp_path / "taken").write_text("x")
    with pytest.raises(TransferError, match="cannot be written"):
        fetch(store, tmp_path / "taken" / "a.bin")


def test_transfer_two_files_in_one_place_is_refused(tmp_path: Path):
    """Two names for one target would overwrite each other."""
    wanted = Wanted("a.bin", 1, SHA, tmp_path / "same")
    opener = Urllib3Opener()
    with pytest.raises(InvalidInputError):
        Transfer(opener, UrlBook(lambda: Signed({}))).run([wanted, Wanted("b.bin", 1, SHA, tmp_path / "same")])
    opener.close()


def test_transfer_empty_file(store: Store, tmp_path: Path):
    """No bytes are a file too."""
    store.content = b""
    opener = Urllib3Opener()
    wanted = Wanted("a.bin", 0, hashlib.sha256(b"").hexdigest(), tmp_path / "deep" / "a.bin")
    Transfer(opener, UrlBook(lambda: Signed({"a.bin": store.url}))).run([wanted])
    opener.close()
    assert b"" == wanted.target.read_bytes()


def test_transfer_many_threads_at_once(store: Store, tmp_path: Path):
    """Two transfers into one folder at the same time don't disturb each other."""
    threads = [threading.Thread(target=fetch, args=(store, tmp_path / "a.bin")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert CONTENT == (tmp_path / "a.bin").read_bytes()
    assert ["a.bin"] == only(tmp_path / "a.bin")


def test_transfer_goes_through_the_proxy(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Files take the same way as API calls; the proxy's password goes to the proxy only."""
    seen: list[tuple[str, str | None]] = []

    def note(handler: Handler) -> bool:
        seen.append((handler.path, handler.headers.get("Proxy-Authorization")))
        return False

    store.misdeed = note
    host = store.url.removeprefix("http://").removesuffix("/file")
    monkeypatch.setenv("http_proxy", f"http://user:pa%20ss@{host}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    fetch(store, tmp_path / "a.bin", sign=lambda: Signed({"a.bin": "http://store.test/file"}))
    assert {("http://store.test/file", "Basic dXNlcjpwYSBzcw==")} == set(seen)
    assert CONTENT == (tmp_path / "a.bin").read_bytes()


def test_transfer_nobody_there_is_a_network_error(tmp_path: Path):
    """The message names the host, not the signed URL."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/file?signature=secret"
        with pytest.raises(NetworkError) as caught:
            fetch(Store(url=url), tmp_path / "a.bin")
    assert "signature" not in caught.value.message
    assert [] == only(tmp_path / "a.bin")


def test_transfer_store_that_asks_for_an_hour_is_given_up(store: Store, tmp_path: Path):
    """Nobody waits that long inside a pull."""

    def later(handler: Handler) -> bool:
        handler.send_response(503)
        handler.send_header("Retry-After", "3600")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    slept: list[float] = []
    store.misdeed = later
    with pytest.raises(UnavailableError):
        fetch(store, tmp_path / "a.bin", threads=1, sleep=slept.append)
    assert ([], 1) == (slept, store.hits)

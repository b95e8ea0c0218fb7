"""Objects in and out of every store."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import radosgw

from mp_kit.errors import IntegrityError, InvalidInputError, NotFoundError, SetupError, UnavailableError
from mp_kit.server.processes import free_port
from mp_kit.server.storage import content_key, place_of
from mp_kit.server.storage.s3 import S3Store

PAYLOAD = random.Random(3).randbytes(100_003)
DIGEST = hashlib.sha256(PAYLOAD).hexdigest()


@pytest.mark.parametrize("verb", ["stat", "open", "digest"])
def test_absent_object_is_not_found(shelf: Any, verb: str):
    """The same error from every store."""
    with pytest.raises(NotFoundError):
        getattr(shelf.store, verb)("none/at/all")


def test_copy_of_an_absent_object_is_not_found(shelf: Any):
    """Nothing appears."""
    with pytest.raises(NotFoundError):
        shelf.store.copy("none", "copied")
    with pytest.raises(NotFoundError):
        shelf.store.stat("copied")


@pytest.mark.parametrize("key", ["../x", "/x", "a//b", "a/../b", "", "a b", ".hidden"])
def test_bad_key_is_refused(shelf: Any, key: str):
    """Nothing is walked out of, in any store."""
    for verb in (shelf.store.stat, shelf.store.open, shelf.store.delete):
        with pytest.raises(InvalidInputError, match="no key"):
            verb(key)
    with pytest.raises(InvalidInputError, match="no key"):
        shelf.store.put_bytes(key, b"x")


def test_put_of_an_absent_file_stores_nothing(shelf: Any, tmp_path: Path):
    """The operating system's own error, and no object."""
    with pytest.raises(FileNotFoundError):
        shelf.store.put_file("from/nowhere", tmp_path / "none")
    with pytest.raises(NotFoundError):
        shelf.store.stat("from/nowhere")


def test_put_stat_open_delete(shelf: Any, tmp_path: Path):
    """What goes in comes out; a second delete is harmless."""
    (tmp_path / "file").write_bytes(PAYLOAD)
    put = [shelf.store.put_file("a/file", tmp_path / "file"), shelf.store.put_bytes("a/bytes", PAYLOAD)]
    assert [len(PAYLOAD)] * 2 == [info.size_bytes for info in put]
    for info in put:
        assert info == shelf.store.stat(info.key)
        assert DIGEST == shelf.store.digest(info.key)
        with shelf.store.open(info.key) as file:
            file.seek(100_000)
            assert PAYLOAD[100_000:] == file.read()
        for _ in range(2):
            shelf.store.delete(info.key)
        with pytest.raises(NotFoundError):
            shelf.store.stat(info.key)


def test_put_replaces_and_the_etag_tells(shelf: Any):
    """Other bytes under an ordinary key: another ETag."""
    first, second = shelf.store.put_bytes("r", b"one"), shelf.store.put_bytes("r", b"two")
    assert first.etag != second.etag
    assert b"two" == shelf.read("r")


def test_empty_object(shelf: Any):
    """No bytes are bytes, too."""
    assert 0 == shelf.store.put_bytes("empty", b"").size_bytes
    assert b"" == shelf.read("empty")


def test_copy_within_the_store(shelf: Any):
    """The source stays, and may go: the copy is its own."""
    shelf.store.put_bytes("source", PAYLOAD)
    assert len(PAYLOAD) == shelf.store.copy("source", "deep/er/target").size_bytes
    shelf.store.delete("source")
    assert PAYLOAD == shelf.read("deep/er/target")


def test_content_is_put_once(s3_shelf: Any, tmp_path: Path):
    """A second put of the same content sends nothing: the object keeps its date and its bytes."""
    (tmp_path / "file").write_bytes(PAYLOAD)
    key = content_key(DIGEST)
    name = s3_shelf.store.put_bytes(key, PAYLOAD)
    calls: list[str] = []
    store = s3_shelf.store
    send, store._fs.put_file = store._fs.put_file, lambda *_args, **_how: calls.append("sent")
    again = store.put_file(key, tmp_path / "file")
    store._fs.put_file = send
    assert ([], name) == (calls, again)


def test_content_that_is_not_what_its_key_says_is_refused(s3_shelf: Any, tmp_path: Path):
    """By bytes or by file, before anything is sent."""
    (tmp_path / "file").write_bytes(PAYLOAD + b"!")
    key = content_key(hashlib.sha256(b"other").hexdigest())
    with pytest.raises(IntegrityError):
        s3_shelf.store.put_file(key, tmp_path / "file")
    with pytest.raises(IntegrityError):
        s3_shelf.store.put_bytes(key, PAYLOAD)
    with pytest.raises(NotFoundError):
        s3_shelf.store.stat(key)


def test_content_that_the_server_took_damaged_is_removed(s3_shelf: Any):
    """What lies there is read back: bytes that changed on the way do not stay under a key that promises others."""
    store, payload = s3_shelf.store, b"sent like this"
    key = content_key(hashlib.sha256(payload).hexdigest())
    send = store._fs.pipe_file
    store._fs.pipe_file = lambda path, value: send(path, value[:-1] + b"?")
    with pytest.raises(IntegrityError, match="other bytes"):
        store.put_bytes(key, payload)
    store._fs.pipe_file = send
    with pytest.raises(NotFoundError):
        store.stat(key)


def test_content_cut_short_is_put_again(s3_shelf: Any):
    """Another size under a content's key is no content."""
    payload = b"whole content"
    key = content_key(hashlib.sha256(payload).hexdigest())
    s3_shelf.store._fs.pipe_file(s3_shelf.store._path(key), payload[:4])
    assert len(payload) == s3_shelf.store.put_bytes(key, payload).size_bytes
    assert payload == s3_shelf.read(key)


def test_large_file_goes_up_in_parts(s3_shelf: Any, tmp_path: Path):
    """Three parts, told by the ETag's ending; the bytes are whole and verified."""
    part = 5 << 20
    payload = random.Random(1).randbytes(2 * part + 17)
    (tmp_path / "large").write_bytes(payload)
    store = S3Store(s3_shelf.store._place, part_bytes=part)
    info = store.put_file(content_key(hashlib.sha256(payload).hexdigest()), tmp_path / "large")
    assert (len(payload), True) == (info.size_bytes, info.etag.endswith('-3"'))
    copied = store.copy(info.key, "copied/large")
    assert hashlib.sha256(payload).hexdigest() == store.digest(copied.key)


BAD_ACCESS = {
    "bucket": ({"bucket": "no-such-bucket"}, "no bucket no-such-bucket"),
    "secret": ({"secret_key": "quite-wrong-secret"}, "refuses its credentials"),
    "key": ({"access_key": "NOSUCHKEYATALL"}, "refuses its credentials"),
}


@pytest.mark.parametrize("what", BAD_ACCESS)
@pytest.mark.parametrize("verb", ["stat", "open", "put", "file", "delete", "copy"])
def test_wrong_access_is_a_setup_error(gateway: radosgw.Gateway, what: str, verb: str, tmp_path: Path):
    """It says which of both it is, and shows no secret."""
    (tmp_path / "file").write_bytes(b"x")
    changes, said = BAD_ACCESS[what]
    store = S3Store(replace(place_of("s3://mp-tests/x", gateway.env), **changes))
    doing = {
        "put": lambda: store.put_bytes("a", b"x"),
        "file": lambda: store.put_file("a", tmp_path / "file"),
        "copy": lambda: store.copy("a", "b"),
    }
    with pytest.raises(SetupError, match=said) as caught:
        doing.get(verb, lambda: getattr(store, verb)("a"))()
    shown = f"{caught.value!r} {caught.value.hint} {store!r}"
    assert [] == [secret for secret in (gateway.secret_key, "quite-wrong-secret") if secret in shown]


def test_unreachable_server_is_unavailable(gateway: radosgw.Gateway):
    """Nobody listens there: trying again later may help."""
    place = replace(place_of("s3://mp-tests", gateway.env), endpoint=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(UnavailableError, match="did not answer"):
        S3Store(place).stat("a")


def test_walk_sees_what_was_put(shelf: Any):
    """In a folder and in a bucket: keys and sizes of what lies under a marketplace's own folders."""
    for key in ("runs/r/m.onnx", "staged/y"):
        shelf.store.put_bytes(key, b"1234")
    found = {info.key: info for info in shelf.store.walk()}
    assert {"runs/r/m.onnx": 4, "staged/y": 4} == {
        key: info.size_bytes for key, info in found.items() if key in {"runs/r/m.onnx", "staged/y"}
    }
    assert all(not key.rpartition("/")[2].startswith(".") for key in found)

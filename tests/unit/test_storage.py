"""The local store: nothing walks out, objects appear whole, signed URLs are for one thing."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mp_kit.errors import ForbiddenError, IntegrityError, InvalidInputError, NotFoundError, SetupError
from mp_kit.server.storage import LocalStore, UploadBound, check_key, content_key, open_store

URL_KEY = "do-not-show-me-0123456789"
NOW = datetime(2026, 1, 2, tzinfo=UTC)
END = NOW + timedelta(minutes=15)
BYTES = b"some bytes"
BOUND = UploadBound(len(BYTES), hashlib.sha256(BYTES).hexdigest())


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """A store in a folder that is not there yet."""
    return LocalStore(tmp_path / "objects", base_url="http://127.0.0.1:3010", url_key=URL_KEY)


def everything(folder: Path) -> list[str]:
    """Every file under a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def asked(url: str) -> tuple[str, dict[str, str]]:
    """Key and query of a signed URL, as the edge gets them."""
    parts = urlsplit(url)
    return unquote(parts.path).removeprefix("/files/"), dict(parse_qsl(parts.query))


BAD_KEYS = {
    "empty": "",
    "parent": "..",
    "parent inside": "a/../b",
    "parent at the end": "a/..",
    "two dots in a name": "a..b",
    "absolute": "/etc/passwd",
    "two slashes": "a//b",
    "slash at the end": "a/",
    "here": "./a",
    "hidden": ".a",
    "hidden inside": "a/.b",
    "backslash": "a\\b",
    "encoded": "a%2f..",
    "space": "a b",
    "line's end": "a\n",
    "NUL": "a\x00b",
    "not ASCII": "ä",
    "tilde": "~root/a",
}


@pytest.mark.parametrize("key", BAD_KEYS.values(), ids=BAD_KEYS)
def test_bad_key_is_refused_everywhere(key: str, store: LocalStore, tmp_path: Path):
    """By every verb, and nothing is made."""
    verbs = (store.path, store.stat, store.open, store.delete, lambda k: store.put_bytes(k, b""))
    for verb in (*verbs, lambda k: store.presign("GET", k, END), lambda k: store.receive(k, BOUND)):
        with pytest.raises(InvalidInputError, match="is no key"):
            verb(key)
    assert [] == list(tmp_path.iterdir())


@given(st.text(st.sampled_from("ab./\\%~ \n\x00"), max_size=12))
def test_no_key_leads_out_of_the_store(key: str):
    """Whatever passes the check stays under the root."""
    root = Path("/srv/objects")
    try:
        inside = (root / check_key(key)).resolve()
    except InvalidInputError:
        assert not re.fullmatch(r"[ab]+(/[ab]+)*", key)
    else:
        assert inside.is_relative_to(root)
        assert inside != root


def test_content_key_is_spread_over_folders():
    """Two digits, then the digest."""
    assert f"objects/ab/{'ab' * 32}" == check_key(content_key("ab" * 32))


@pytest.mark.parametrize("key", ["a", "a/b/c", "objects"])
def test_absent_object_is_not_found(key: str, store: LocalStore):
    """A folder of the store is none either, nor is what would lie under a file."""
    store.put_bytes("objects/a", b"1")
    for verb in (store.stat, store.open):
        with pytest.raises(NotFoundError):
            verb(key)
        with pytest.raises(NotFoundError):
            verb("objects/a/b")


def test_delete_may_be_repeated(store: LocalStore):
    """It need not exist, and a file's name as a folder is not there either."""
    store.put_bytes("a", b"1")
    store.delete("a/b")
    assert 1 == store.stat("a").size_bytes
    for _ in range(2):
        store.delete("a")
    with pytest.raises(NotFoundError):
        store.stat("a")


def test_put_and_open_give_the_bytes(store: LocalStore, tmp_path: Path):
    """From memory and from a file."""
    source = tmp_path / "source"
    source.write_bytes(BYTES * 1000)
    for info in (store.put_bytes("x/a", BYTES * 1000), store.put_file("x/b", source)):
        with store.open(info.key) as file:
            assert BYTES * 1000 == file.read()
        assert (10_000, info) == (info.size_bytes, store.stat(info.key))
    assert ["x/a", "x/b"] == everything(tmp_path / "objects")


def test_etag_changes_with_the_bytes(store: LocalStore):
    """And is quoted, as HTTP wants it."""
    first, second = store.put_bytes("a", b"1").etag, store.put_bytes("a", b"22").etag
    assert first != second
    assert re.fullmatch(r'"[0-9a-f]{32}"', first)


@pytest.mark.parametrize("kind", ["absent", "a folder"])
def test_put_of_an_unreadable_source_changes_nothing(kind: str, store: LocalStore, tmp_path: Path):
    """What was there stays, nothing half-written is left beside it."""
    store.put_bytes("a", BYTES)
    source = tmp_path / "source"
    if kind == "a folder":
        source.mkdir()
    with pytest.raises(OSError, match="source"):
        store.put_file("a", source)
    assert BYTES == store.path("a").read_bytes()
    assert ["a"] == everything(tmp_path / "objects")


def test_put_that_breaks_off_half_way_changes_nothing(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The disk fills up after the first bytes."""
    store.put_bytes("a", BYTES)
    written: list[bytes] = []

    def half(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            written.append(data[:3])
            file.write(data[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="No space left"):
        store.put_bytes("a", b"other bytes")
    assert [b"oth"] == written
    assert BYTES == store.path("a").read_bytes()
    assert ["a"] == everything(tmp_path / "objects")


def test_reader_never_sees_half_an_object(store: LocalStore):
    """While it is replaced over and over."""
    store.put_bytes("a", b"0" * 50_000)
    done = threading.Event()

    def replace() -> None:
        for digit in b"123456789" * 5:
            store.put_bytes("a", bytes([digit]) * 50_000)
        done.set()

    writer = threading.Thread(target=replace)
    writer.start()
    seen = []
    while not done.is_set():
        with store.open("a") as file:
            seen.append(file.read())
    writer.join()
    assert all(len(one) == 50_000 and len(set(one)) == 1 for one in seen)


def test_upload_becomes_an_object(store: LocalStore, tmp_path: Path):
    """Piece by piece; not before it is finished."""
    with store.receive("up/a", BOUND) as upload:
        for piece in (BYTES[:4], b"", BYTES[4:]):
            upload.write(piece)
        with pytest.raises(NotFoundError):
            store.stat("up/a")
        info = upload.finish()
    assert (len(BYTES), ["up/a"]) == (info.size_bytes, everything(tmp_path / "objects"))


def send(store: LocalStore, key: str, pieces: Iterable[bytes]) -> None:
    """Uploads piece by piece."""
    with store.receive(key, BOUND) as upload:
        for piece in pieces:
            upload.write(piece)
        upload.finish()


BAD_UPLOADS = {
    "too long": (BYTES, b"!"),
    "too short": (BYTES[:-1],),
    "nothing": (),
    "other bytes": (b"same bytes",),
}


@pytest.mark.parametrize("pieces", BAD_UPLOADS.values(), ids=BAD_UPLOADS)
def test_bad_upload_leaves_nothing(pieces: tuple[bytes, ...], store: LocalStore, tmp_path: Path):
    """And what was there before stays."""
    store.put_bytes("a", b"before")
    with pytest.raises(IntegrityError, match="announced"):
        send(store, "a", pieces)
    assert b"before" == store.path("a").read_bytes()
    assert ["a"] == everything(tmp_path / "objects")


def test_upload_that_breaks_off_leaves_nothing(store: LocalStore, tmp_path: Path):
    """The client vanished."""
    with store.receive("a", BOUND) as upload:
        upload.write(BYTES[:3])
    assert [] == everything(tmp_path / "objects")


def test_signed_get_is_admitted_until_its_end(store: LocalStore):
    """To the second; a HEAD passes with it."""
    key, query = asked(store.presign("GET", "x/a.parquet", END))
    for method in ("GET", "HEAD"):
        assert store.admit(method, key, query, END - timedelta(seconds=1)) is None
        with pytest.raises(ForbiddenError, match="expired"):
            store.admit(method, key, query, END)


def test_signed_put_brings_its_bound(store: LocalStore):
    """Size and digest, as they were signed for."""
    key, query = asked(store.presign("PUT", "a", END, BOUND))
    assert BOUND == store.admit("PUT", key, query, NOW)


TAMPERED: dict[str, tuple[str, str, dict[str, str | None], str]] = {
    "method PUT to GET": ("GET", "a", {}, "does not fit"),
    "method PUT to HEAD": ("HEAD", "a", {}, "does not fit"),
    "method PUT to DELETE": ("DELETE", "a", {}, "does not fit"),
    "method in small letters": ("put", "a", {}, "does not fit"),
    "another key": ("PUT", "b", {}, "does not fit"),
    "a longer key": ("PUT", "a/b", {}, "does not fit"),
    "the key and a line's end": ("PUT", "a\n", {}, "does not fit"),
    "a later end": ("PUT", "a", {"expires": str(int(END.timestamp()) + 1)}, "does not fit"),
    "an end that is no number": ("PUT", "a", {"expires": "soon"}, "not signed"),
    "an end of endless digits": ("PUT", "a", {"expires": "9" * 5000}, "not signed"),
    "no end": ("PUT", "a", {"expires": None}, "not signed"),
    "a larger size": ("PUT", "a", {"size": str(len(BYTES) + 1)}, "does not fit"),
    "no size": ("PUT", "a", {"size": None}, "not signed"),
    "another digest": ("PUT", "a", {"sha256": "0" * 64}, "does not fit"),
    "no digest": ("PUT", "a", {"sha256": None}, "does not fit"),
    "no bound": ("PUT", "a", {"sha256": None, "size": None}, "does not fit"),
    "another signature": ("PUT", "a", {"signature": "0" * 64}, "does not fit"),
    "no signature": ("PUT", "a", {"signature": None}, "not signed"),
    "a signature that is no ASCII": ("PUT", "a", {"signature": "ü" * 64}, "does not fit"),
}


@pytest.mark.parametrize(("method", "key", "change", "why"), TAMPERED.values(), ids=TAMPERED)
def test_tampered_put_is_refused(method: str, key: str, change: dict[str, str | None], why: str, store: LocalStore):
    """Each part of what was signed."""
    _, query = asked(store.presign("PUT", "a", END, BOUND))
    sent = {name: value for name, value in {**query, **change}.items() if value is not None}
    with pytest.raises(ForbiddenError, match=why) as caught:
        store.admit(method, key, sent, NOW)
    assert caught.value.hint


def test_signed_get_takes_no_bound(store: LocalStore):
    """A GET's URL does not become an upload's."""
    key, query = asked(store.presign("GET", "a", END))
    for method in ("GET", "PUT"):
        with pytest.raises(ForbiddenError, match="does not fit"):
            store.admit(method, key, {**query, "size": "10", "sha256": BOUND.sha256}, NOW)


def test_another_url_key_signs_another_url(store: LocalStore, tmp_path: Path):
    """A URL of one marketplace opens nothing in another."""
    other = LocalStore(tmp_path, base_url="http://127.0.0.1:3010", url_key="another")
    key, query = asked(other.presign("GET", "a", END))
    with pytest.raises(ForbiddenError):
        store.admit("GET", key, query, NOW)


def test_neither_repr_nor_url_shows_the_url_key(store: LocalStore):
    """It signs, and is never told."""
    assert URL_KEY not in f"{store!r} {store.presign('GET', 'a', END)}"


def test_open_store_knows_its_schemes(tmp_path: Path):
    """Another scheme is refused by name, with those that would do."""
    with pytest.raises(SetupError, match="gs://") as caught:
        open_store("gs://bucket/x", base_url="", url_key="k")
    assert "file:///" in caught.value.hint
    opened = open_store(f"file://{tmp_path}", base_url="", url_key="k")
    assert isinstance(opened, LocalStore)
    assert tmp_path / "a" == opened.path("a")


def test_copy_leaves_the_source(store: LocalStore):
    """Two objects of the same bytes; an absent source is not found."""
    store.put_bytes("a", b"x")
    store.copy("a", "b/c")
    assert [b"x", b"x"] == [store.path(key).read_bytes() for key in ("a", "b/c")]
    with pytest.raises(NotFoundError):
        store.copy("none", "d")


def test_presign_many_is_presign_of_each(store: LocalStore):
    """In the order of the keys."""
    assert [store.presign("GET", key, END) for key in ("b", "a")] == store.presign_many("GET", ["b", "a"], END)

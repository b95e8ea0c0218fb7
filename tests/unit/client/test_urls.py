from __future__ import annotations

import pytest

from mp_kit.client.urls import Signed, UrlBook
from mp_kit.errors import TransferError


def test_urlbook_renews_before_the_end():
    """A URL past its fresh share is renewed, by our own monotonic clock."""
    now, signed = [0.0], []

    def sign() -> Signed:
        signed.append(1)
        return Signed({"a": f"u{len(signed)}"}, ttl_seconds=100)

    book = UrlBook(sign, clock=lambda: now[0])
    assert ["u1", "u1"] == [book.url("a"), book.url("a")]
    now[0] = 59.0
    assert "u1" == book.url("a")
    now[0] = 60.0
    assert "u2" == book.url("a")


def test_urlbook_refused_url_is_renewed_once():
    """The second thread that was refused the same URL takes what the first one got."""
    signed = []

    def sign() -> Signed:
        signed.append(1)
        return Signed({"a": f"u{len(signed)}"})

    book = UrlBook(sign)
    first = book.url("a")
    assert ["u2", "u2"] == [book.url("a", refused=first), book.url("a", refused=first)]


def test_urlbook_missing_name_is_told():
    """The marketplace gave nothing for a file."""
    with pytest.raises(TransferError, match="no URL for b"):
        UrlBook(lambda: Signed({"a": "u"})).url("b")


def test_signed_repr_shows_no_url():
    """A signed URL is a capability."""
    assert "Signed(1 urls)" == repr(Signed({"a": "http://x/?signature=s"}))

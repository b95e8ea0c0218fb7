"""Which bytes a Range header asks for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mp_kit.errors import InvalidInputError
from mp_kit.server.edge.files import choose_range

WHOLE: dict[str, str | None] = {
    "no header": None,
    "empty": "",
    "no numbers": "bytes=-",
    "no unit": "0-5",
    "another unit": "items=0-5",
    "two ranges": "bytes=0-1,3-4",
    "a word": "bytes=first-last",
    "a sign": "bytes=+1-5",
    "a fraction": "bytes=0.5-2",
    "spaces inside": "bytes = 0 - 5",
    "endless digits": "bytes=" + "9" * 5000 + "-",
    "endless digits at the end": "bytes=0-" + "9" * 5000,
}
PART: dict[str, tuple[str, tuple[int, int]]] = {
    "the first byte": ("bytes=0-0", (0, 0)),
    "some": ("bytes=2-5", (2, 5)),
    "from one on": ("bytes=7-", (7, 9)),
    "all": ("bytes=0-", (0, 9)),
    "the last byte": ("bytes=9-9", (9, 9)),
    "beyond the end": ("bytes=5-999", (5, 9)),
    "far beyond the end": ("bytes=5-9999999999999999999", (5, 9)),
    "the last three": ("bytes=-3", (7, 9)),
    "more than there is": ("bytes=-99", (0, 9)),
    "spaces around": ("  bytes=2-5 ", (2, 5)),
    "leading zeros": ("bytes=002-05", (2, 5)),
}
BEYOND = {
    "from the end": "bytes=10-",
    "after the end": "bytes=11-12",
    "backwards": "bytes=5-2",
    "the last none": "bytes=-0",
    "far beyond": "bytes=9999999999999999999-",
}


@pytest.mark.parametrize("header", BEYOND.values(), ids=BEYOND)
def test_range_outside_is_refused(header: str):
    """The sentence says how long the file is."""
    with pytest.raises(InvalidInputError, match="10 bytes"):
        choose_range(header, 10)


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=0-0", "bytes=-1"])
def test_empty_file_has_no_range(header: str):
    """Not even the first byte."""
    with pytest.raises(InvalidInputError):
        choose_range(header, 0)


@pytest.mark.parametrize("header", WHOLE.values(), ids=WHOLE)
def test_what_is_no_single_range_gives_the_whole(header: str | None):
    """As RFC 9110, 14.2 allows: an unknown range is ignored."""
    assert choose_range(header, 10) is None


@pytest.mark.parametrize(("header", "expected"), PART.values(), ids=PART)
def test_range_is_chosen(header: str, expected: tuple[int, int]):
    """First and last byte, both included."""
    assert expected == choose_range(header, 10)


numbers = st.none() | st.integers(0, 30)


@given(numbers, numbers, st.integers(0, 20))
def test_range_is_as_a_naive_model_has_it(first: int | None, last: int | None, size: int):
    """Byte by byte: which of the file's bytes are meant."""
    if first is None:
        meant = set(range(size)) if last is None else set(range(size)[max(0, size - last) :])
    else:
        meant = {at for at in range(size) if first <= at <= (30 if last is None else last)}
    header = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    if first is None and last is None:
        assert choose_range(header, size) is None
    elif not meant:
        with pytest.raises(InvalidInputError):
            choose_range(header, size)
    else:
        assert (min(meant), max(meant)) == choose_range(header, size)


@given(st.text(st.sampled_from("bytes=-0123456789, x\u0663\u00b2"), max_size=25), st.integers(0, 1000))
def test_any_header_is_a_range_the_whole_or_refused(header: str, size: int):
    """Nothing else comes out, whatever went in."""
    try:
        chosen = choose_range(header, size)
    except InvalidInputError:
        chosen = None
    assert chosen is None or 0 <= chosen[0] <= chosen[1] < size

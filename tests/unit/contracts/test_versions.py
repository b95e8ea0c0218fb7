"""Version negotiation, as a table."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mp_kit.contracts import CONTRACTS_VERSION, SUPPORTED_RANGE, negotiate
from mp_kit.errors import ContractsVersionError

GOOD = {
    None: None,
    "": None,
    "   ": None,
    "0.1.0": (0, 1),
    "0.1": (0, 1),
    "0.2.x": (0, 2),
    "v0.2.3": (0, 2),
    " 0.2.0 ": (0, 2),
    "0.2.0-rc.1+build": (0, 2),
    "0.99.0": (0, 99),
    CONTRACTS_VERSION: (0, 3),
}
UNSUPPORTED = ["0.0.9", "0.0", "1.0.0", "1.0.0-alpha", "2.3", "v10.0.0"]
UNREADABLE = ["one", "0", "0.x", "0.1.0.0", "-0.1", "0.1.0; DROP", "0,1", "0.1.0\x00", "0." + "9" * 5000, "9" * 70]


@pytest.mark.parametrize(("header", "expected"), GOOD.items(), ids=repr)
def test_negotiate_accepts(header: str | None, expected: tuple[int, int] | None):
    """Every 0.x from 0.1, and clients older than the header."""
    assert expected == negotiate(header)


@pytest.mark.parametrize("header", UNSUPPORTED)
def test_negotiate_names_the_supported_range(header: str):
    """So that the client's author knows what to send."""
    with pytest.raises(ContractsVersionError) as caught:
        negotiate(header)
    assert SUPPORTED_RANGE in caught.value.message
    assert header in caught.value.message


@pytest.mark.parametrize("header", UNREADABLE, ids=lambda header: repr(header[:20]))
def test_negotiate_refuses_what_is_no_version(header: str):
    """Shortened in the sentence, with the range in the hint."""
    with pytest.raises(ContractsVersionError) as caught:
        negotiate(header)
    assert len(caught.value.message) < 150
    assert SUPPORTED_RANGE in caught.value.hint


@given(st.text())
def test_negotiate_raises_nothing_else(header: str):
    """Whatever stands in the header."""
    found: tuple[int, int] | None = (0, 1)
    with contextlib.suppress(ContractsVersionError):
        found = negotiate(header)
    assert found is None or (found[0] == 0 and found[1] >= 1)


@given(st.integers(1, 999), st.integers(0, 999))
def test_negotiate_reads_each_minor_of_zero(minor: int, patch: int):
    """The promise: every 0.x client works with every later 0.x marketplace."""
    assert (0, minor) == negotiate(f"0.{minor}.{patch}")

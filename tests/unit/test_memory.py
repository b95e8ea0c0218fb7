"""The bound on what a piece of work may take."""

from __future__ import annotations

import resource

import pytest

from mp_kit.server.services.memory import at_most


def test_more_than_it_may():
    """It fails with an error that can be caught, and afterwards there is no bound."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(MemoryError), at_most(64 << 20):
        bytearray(1 << 30)
    assert before == resource.getrlimit(resource.RLIMIT_AS)
    assert len(bytearray(128 << 20)) == 128 << 20


def test_as_much_as_it_may():
    """Less passes."""
    with at_most(256 << 20):
        assert len(bytearray(32 << 20)) == 32 << 20

"""The RunPod provider over the fake."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from runpods import Pair, pair


@pytest.fixture
def runpod() -> Iterator[Pair]:
    """A fake and a provider over it."""
    with pair() as both:
        yield both

"""Hypothesis without a clock, because a busy machine is no reason to fail; and a book of tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:  # the client's tests import nothing of the server
    from mp_kit.server.services.tokens import Minted, TokenBook

settings.register_profile("mp-kit", deadline=None)
settings.load_profile("mp-kit")


@pytest.fixture(scope="module")
def book() -> TokenBook:
    """One book of tokens for tests that leave no trace in it."""
    from token_rows import make_book

    return make_book()


@pytest.fixture(scope="module")
def key(book: TokenBook) -> Minted:
    """A vendor's key, hashed once."""
    return book.mint("vk")

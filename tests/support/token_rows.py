"""What the tests of the token book share: a book with made-up secrets, and rows in place of a database."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Update

from mp_kit.server.services.tokens import Minted, TokenBook

JWT_SECRET = "a made-up secret of more than sixty-four characters, for each HMAC there is"
SERVICE_KEY = "the operator's own made-up key"
HOUR = timedelta(hours=1)


def make_book(**changes: str) -> TokenBook:
    """A book with made-up secrets."""
    book = TokenBook(**{"pepper": "a made-up pepper", "jwt_secret": JWT_SECRET, "service_key": SERVICE_KEY, **changes})
    book.trust(math.inf)
    return book


class Rows:
    """Stands in for the database: rows by id, and a count of the transactions that were opened.

    Args:
        rows: What a select by id finds.
        meanwhile: Called when the use of a token is noted.
    """

    def __init__(self, rows: dict[str, Any] | None = None, meanwhile: Callable[[], None] | None = None) -> None:
        self.rows = rows or {}
        self.meanwhile = meanwhile
        self.opened = 0
        self.touched: list[str] = []

    @contextmanager
    def begin(self) -> Iterator[Any]:
        """Opens a transaction."""
        self.opened += 1
        yield self

    def execute(self, statement: Any) -> Any:
        """Answers a select by its id; notes an update."""
        wanted = [value for value in statement.compile().params.values() if isinstance(value, str)]
        if isinstance(statement, Update):
            self.touched += wanted
            if self.meanwhile is not None:
                self.meanwhile()
        found = next((self.rows[one] for one in wanted if one in self.rows), None)
        return SimpleNamespace(one_or_none=lambda: found)


def row(minted: Minted, **changes: Any) -> SimpleNamespace:
    """A living key of an active vendor."""
    facts = {"token_hash": minted.token_hash, "vendor_id": "ven_1", "status": "active", "revoked_at": None}
    return SimpleNamespace(**{**facts, "expires_at": datetime.now(UTC) + HOUR, **changes})

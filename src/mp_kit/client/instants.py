"""Instants as people write them."""

from __future__ import annotations

from datetime import UTC, date, datetime

from mp_kit.errors import InvalidInputError

When = str | date | datetime
"""An instant: aware datetime, RFC 3339 text, or a bare date for its midnight UTC."""


def instant(value: When) -> datetime:
    """Reads an instant.

    Raises:
        InvalidInputError: Unreadable text, or a time of day without a zone.
    """
    if isinstance(value, str):
        try:
            value = date.fromisoformat(value) if len(value) == len("2026-01-02") else datetime.fromisoformat(value)
        except ValueError:
            raise InvalidInputError(
                f"{value!r} is no instant.", hint="Write 2026-01-02 or 2026-01-02T15:04:05Z."
            ) from None
    if not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if value.tzinfo is None:
        raise InvalidInputError(f"{value.isoformat()} has no zone.", hint="Add Z or tzinfo: data is in UTC.")
    return value.astimezone(UTC)

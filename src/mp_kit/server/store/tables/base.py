"""The metadata, and the columns and checks that many tables share."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CheckConstraint, Column, DateTime, ForeignKey, MetaData, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

HOUSE = "house"
"""Id of the deployment that unattributed (house) signals belong to; it has no vendor."""


def at(name: str, *, now: bool = False, required: bool = False) -> Column[Any]:
    """An instant: set by default, required, or optional."""
    default = func.now() if now else None
    return Column(name, DateTime(timezone=True), nullable=not (now or required), server_default=default)


def json(name: str, empty: str | None = "{}") -> Column[Any]:
    """A JSON document; ``empty`` is its default, None makes it optional."""
    if empty is None:
        return Column(name, JSONB, nullable=True)
    return Column(name, JSONB, nullable=False, server_default=text(f"'{empty}'::jsonb"))


def one_of(column: str, *values: str, name: str | None = None) -> CheckConstraint:
    """A check that a text column holds one of these words."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=name or column)


def vendor_id(*, nullable: bool = False) -> Column[Any]:
    """The vendor that a row belongs to."""
    return Column("vendor_id", Text, ForeignKey("marketplace_vendors.id"), nullable=nullable)

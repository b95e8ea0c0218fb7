"""Accounts elsewhere that a vendor signs in with, and visits to their services that have not come back yet."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index, Integer, Table, Text, UniqueConstraint

from mp_kit.server.store.tables.base import at, metadata, one_of, vendor_id

vendor_identities = Table(
    "vendor_identities",
    metadata,
    Column("id", Text, primary_key=True),
    vendor_id(),
    Column("provider", Text, nullable=False),  # the service's host: the same number is somebody else at another one
    Column("subject", Text, nullable=False),  # what never changes there and is never given to another person
    Column("login", Text, nullable=False, server_default=""),  # as it was last seen; for people, never compared
    Column("linked_by", Text, nullable=False),
    at("created_at", now=True),
    at("last_used_at"),
    UniqueConstraint("provider", "subject"),  # an account belongs to one vendor
    Index(None, "vendor_id"),
)

sign_in_trips = Table(
    "sign_in_trips",
    metadata,
    Column("state_digest", Text, primary_key=True),
    Column("purpose", Text, nullable=False),
    Column("holder_digest", Text, nullable=False),  # the browser that began it, or the session
    vendor_id(nullable=True),
    Column("session_epoch", Integer),
    Column("target", Text, nullable=False),
    at("expires_at", required=True),
    Column("address", Text, nullable=False, server_default=""),  # from where it began
    one_of("purpose", "login", "link"),
    CheckConstraint(
        "(purpose = 'link') = (vendor_id IS NOT NULL AND session_epoch IS NOT NULL)", name="link_is_somebodys"
    ),
    Index(None, "expires_at"),
    Index(None, "address"),
)

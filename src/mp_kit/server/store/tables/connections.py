"""Vendors' accounts elsewhere: sealed credentials, and the wrapped data key of each vendor that has any."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Table, Text

from mp_kit.server.store.tables.base import at, metadata, one_of

vendor_data_keys = Table(
    "vendor_data_keys",
    metadata,
    Column("vendor_id", Text, ForeignKey("marketplace_vendors.id"), primary_key=True),
    Column("wrapped_key", Text, nullable=False),
    at("created_at", now=True),
    at("updated_at", now=True),
)

vendor_connections = Table(
    "vendor_connections",
    metadata,
    # By way of the data key: no sealed credential without the key that opens it.
    Column("vendor_id", Text, ForeignKey("vendor_data_keys.vendor_id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("ciphertext", Text, nullable=False),
    Column("last4", Text, nullable=False),
    Column("status", Text, nullable=False, server_default="unchecked"),
    at("checked_at"),
    at("created_at", now=True),
    at("updated_at", now=True),
    one_of("name", "runpod", "huggingface", "wandb"),
    one_of("status", "unchecked", "ok", "refused", "unreachable"),
)

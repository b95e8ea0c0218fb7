"""Rounds: immutable sets of files, described by a signed manifest."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field

from mp_kit.contracts.common import Identifier, Instant, Model, Name, Sha256, Symbol, Timeframe

MANIFEST_SCHEMA_VERSION = "1.2.0"
"""Version of the manifest's own layout; 1.1 has digests of column chunks and footers, so that parts can be proved; 1.2
says when a bar's close was a price."""


class FileRole(StrEnum):
    """What a file of a round is for."""

    TRAIN = "train"
    """Features and labels to learn from."""
    VALIDATION = "validation"
    """Features and labels after the embargo: to measure on."""
    TEST = "test"
    """Features without labels; the operator keeps the labels for scoring."""
    FEATURES = "features"
    """The live window: enough history to compute each indicator for the newest bars."""


class RowGroup(Model):
    """Where one Parquet row group lies in its file, for verified partial reads."""

    offset: int = Field(ge=0, description="First byte of the row group.")
    length: int = Field(gt=0, description="Its bytes.")
    rows: int = Field(gt=0)
    min_time: Instant | None = None
    max_time: Instant | None = None
    chunks: dict[str, Sha256] = Field(
        default_factory=dict, description="SHA-256 of each column chunk's bytes by column; none in rounds before 1.1."
    )


class Footer(Model):
    """A Parquet file's end: its metadata, their length in four bytes, and the magic."""

    length: int = Field(gt=0, description="Its bytes, counted from the file's end.")
    sha256: Sha256


class ManifestFile(Model):
    """One file of a round."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._\-]*$", max_length=200, description="Flat file name.")
    type: FileRole
    symbol: Symbol | None = None
    format: str = "parquet"
    size_bytes: int = Field(ge=0)
    sha256: Sha256
    rows: int = Field(ge=0)
    columns: dict[str, str] = Field(default_factory=dict, description="Column name to Arrow type.")
    min_time: Instant | None = None
    max_time: Instant | None = None
    row_groups: list[RowGroup] = Field(default_factory=list)
    footer: Footer | None = Field(None, description="To be proved before anything is read where it says.")


class Manifest(Model):
    """What a round is, entirely; its exact bytes are signed and its files are named by their content."""

    manifest_version: str = MANIFEST_SCHEMA_VERSION
    round_id: Identifier
    name: Name
    description: str = ""
    timeframe: Timeframe
    symbols: list[Symbol]
    horizon: int = Field(gt=0, description="Bars ahead that a label looks.")
    embargo: int = Field(ge=0, description="Bars between the last label of train and the first row of validation.")
    created_at: Instant
    priced_after: int | None = Field(
        None,
        gt=0,
        description="Seconds from a bar's open to the instant of its close, the earliest in a year; null: its length.",
    )
    source: dict[str, Any] = Field(description="Kind, place, licence and attribution of the bars.")
    splits: dict[str, Any] = Field(default_factory=dict, description="Instants at which the roles begin and end.")
    features: list[dict[str, Any]] = Field(default_factory=list, description="Name, formula, window, warm-up, source.")
    code_version: str
    files: list[ManifestFile]


class ManifestSignature(Model):
    """A detached Ed25519 signature over the manifest's exact bytes."""

    key_id: str
    signature: str = Field(description="Base64, 64 bytes decoded.")
    sha256: Sha256


class SigningKey(Model):
    """A public key that signs manifests."""

    key_id: str
    algorithm: str = "Ed25519"
    public_key: str = Field(description="Base64 of the 32 raw bytes.")


class RoundFile(Model):
    """A file as a round lists it; the manifest has the rest."""

    name: str
    type: FileRole
    size_bytes: int
    format: str
    sha256: Sha256
    rows: int
    symbol: str | None = None


class Round(Model):
    """A published round."""

    round_id: str
    name: str
    description: str | None = None
    schema_version: str
    is_current: bool
    created_at: Instant
    expires_at: Instant | None = None
    files: list[RoundFile]
    metadata: dict[str, Any] = Field(default_factory=dict)
    manifest: ManifestSignature | None = None


class RoundList(Model):
    """Rounds, newest first."""

    rounds: list[Round]


class SignedUrlsRequest(Model):
    """Asks for URLs of a round's files; all of them when ``files`` is absent."""

    round_id: str = Field(min_length=1)
    files: list[str] | None = None


class SignedUrl(Model):
    """A URL that needs no token and ends."""

    name: str
    url: str
    expires_at: Instant
    size_bytes: int
    sha256: Sha256


class SignedUrls(Model):
    """The URLs of a round's files."""

    urls: list[SignedUrl]
    round_id: str
    ttl_seconds: int

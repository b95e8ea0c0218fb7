"""Receipts of signals: what the marketplace signs about each batch that it stored.

A receipt is signed bytes (``payload``) with their signature; :class:`ReceiptBody` is what the bytes say. How to
check them is in :mod:`mp_kit.receipts`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mp_kit.contracts.common import Instant, Model, Sha256


class BatchReceipt(Model):
    """A batch's receipt as it is handed out: exact bytes and a signature over them."""

    payload: str = Field(description="The signed bytes, a JSON document: parse it only after the signature held.")
    key_id: str = Field(description="The key that signed; GET /api/rounds/keys has its public half.")
    signature: str = Field(description="Base64 of the Ed25519 signature over the framed bytes.")


class ReceiptBody(Model):
    """What a receipt says: who said how much, when we got it, and what came before it in the deployment's chain."""

    receipt_version: Literal["1"] = "1"
    deployment_id: str
    vendor_id: str | None = Field(description="None for house signals.")
    seq: int = Field(ge=1, description="Place in the deployment's chain; the first is 1.")
    batch: str = Field(pattern=r"^[0-9a-f]+$", description="The middle part of its signals' ids: sig_BATCH_ROW.")
    rows: int = Field(ge=1, description="Signals that the batch added; duplicates and refused rows are none.")
    rows_sha256: Sha256 = Field(description="Over those signals, as mp_kit.receipts.rows_sha256 reads them.")
    received_at: Instant
    previous: Sha256 = Field(description="SHA-256 of the previous receipt's payload; zeros for the first.")

"""Receipts of signals: what is signed about a batch, to the byte. Checking whole chains: :mod:`mp_kit.chains`.

Rules:

1. A receipt is a byte string (canonical JSON of a ``ReceiptBody``), signed under ``mp-kit/receipt/v1``. Its hash is
   the SHA-256 of exactly these bytes, and the next receipt of the deployment carries it as ``previous``.
2. ``rows_sha256`` covers all that a batch added, in the order of its rows: each column is one frame of
   ``NAME LENGTH`` and a newline, then LENGTH bytes; the columns are those of :data:`COLUMNS`, in that order.
   Text columns are UTF-8, one value after the other with a newline between (no value holds a newline; a missing one
   is empty). Instants are microseconds since 1970, row numbers and lateness integers: 8 bytes each, little-endian,
   signed. ``confidence`` is an IEEE 754 double, 8 bytes, little-endian.
3. ``rationale`` and ``metadata`` are :func:`canonical_json`: sorted keys, and numbers as the database gives them back.
"""

from __future__ import annotations

import hashlib
import json
import sys
from array import array
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from mp_kit.contracts.receipts import BatchReceipt, ReceiptBody
from mp_kit.contracts.rounds import SigningKey
from mp_kit.signing import Signer, Verification, canonical_bytes, verify

RECEIPT_PURPOSE = "mp-kit/receipt/v1"
GENESIS = "0" * 64
"""``previous`` of a deployment's first receipt."""

COLUMNS = (
    "row_no",
    "symbol",
    "timeframe",
    "event_time",
    "timestamp",
    "decision",
    "confidence",
    "model_version",
    "model_id",
    "late",
    "rationale",
    "metadata",
)
"""What of a signal is covered, beside its batch, deployment, vendor and time of receipt."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_EXPONENT_FROM = 1e16


def rows_sha256(columns: Mapping[str, Sequence[Any]]) -> str:
    """The hash over a batch's signals.

    Args:
        columns: By the names of :data:`COLUMNS`, each as long as there are rows, in the order of ``row_no``:
            aware instants, floats, booleans, text or None; rationale and metadata as canonical JSON text or None.
    """
    return frames_sha256({name: _frame_of(name, columns[name]) for name in COLUMNS})


def frames_sha256(frames: Mapping[str, bytes]) -> str:
    """The same from the bytes of each column, as rule 2 has them."""
    digest = hashlib.sha256()
    for name in COLUMNS:
        frame = frames[name]
        digest.update(b"%s %d\n" % (name.encode(), len(frame)))
        digest.update(frame)
    return digest.hexdigest()


def _frame_of(name: str, values: Sequence[Any]) -> bytes:
    if name in {"event_time", "timestamp"}:
        return _numbers(array("q", [(value - _EPOCH) // _MICROSECOND for value in values]))
    if name in {"row_no", "late"}:
        return _numbers(array("q", values))
    if name == "confidence":
        return _numbers(array("d", values))
    return "\n".join([value or "" for value in values]).encode()


def _numbers(values: array[Any]) -> bytes:
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()


def canonical_json(value: Any) -> str | None:
    """A rationale or metadata as rule 3 has it; None stays None.

    Postgres keeps a JSON number as a decimal: what was a float beyond 1e16 comes back as an integer, and -0.0 as 0.0.
    """
    if value is None:
        return None
    return json.dumps(_settled(value), ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)


def _settled(value: Any) -> Any:
    if isinstance(value, float):
        return int(Decimal(repr(value))) if abs(value) >= _EXPONENT_FROM else value + 0.0
    if isinstance(value, Mapping):
        return {str(name): _settled(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_settled(part) for part in value]
    return value


def payload_sha256(payload: str) -> str:
    """The hash that the next receipt carries."""
    return hashlib.sha256(payload.encode()).hexdigest()


def issue(signer: Signer, body: ReceiptBody) -> BatchReceipt:
    """Signs a receipt."""
    payload = canonical_bytes(body.model_dump(mode="json"))
    signature = signer.sign(RECEIPT_PURPOSE, payload)
    return BatchReceipt(payload=payload.decode(), key_id=signer.key_id, signature=signature)


def check(receipt: BatchReceipt, keys: Mapping[str, SigningKey]) -> Verification:
    """Whether the signature holds over the receipt's bytes."""
    return verify(RECEIPT_PURPOSE, receipt.payload.encode(), receipt.signature, receipt.key_id, keys)

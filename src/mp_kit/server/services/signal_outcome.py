"""What became of a batch, by columns; receipts are made of it only when somebody reads them one by one."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mp_kit.contracts import ReceiptStatus, SignalReceipt, StoreResult
from mp_kit.contracts.receipts import BatchReceipt
from mp_kit.server.services.ids import signal_id
from mp_kit.server.store.signal_columns import Ints, Mask

__all__ = ["ACCEPTED", "CONFLICT", "DUPLICATE", "REJECTED", "Outcome"]

_STATUSES = (ReceiptStatus.ACCEPTED, ReceiptStatus.DUPLICATE, ReceiptStatus.CONFLICT, ReceiptStatus.REJECTED)
ACCEPTED, DUPLICATE, CONFLICT, REJECTED = range(4)
_PACKED = b"\x01"  # zlib streams, which answers were kept as before, begin with 0x78
_SIZES = struct.Struct(">II")


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of each row.

    Args:
        status: One of the four words, by its number.
        batch_id: The batch that the stored signal came with; 0 for rejected rows.
        stored_row: Its place in that batch.
        late: It is marked late.
        errors: Why rows were rejected or kept out, by row.
        reused: The idempotency key stood for another batch before.
        receipt: Signed, of what was added.
    """

    status: NDArray[np.int8]
    batch_id: Ints
    stored_row: Ints
    late: Mask
    errors: Mapping[int, str] = field(default_factory=dict)
    reused: bool = False
    receipt: BatchReceipt | None = None

    def __len__(self) -> int:
        return len(self.status)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Outcome) and self.json() == other.json()

    __hash__ = None  # type: ignore[assignment] # holds arrays

    @cached_property
    def counts(self) -> list[int]:
        """Rows per status."""
        found: list[int] = np.bincount(self.status, minlength=len(_STATUSES)).tolist()
        return found

    @property
    def by_status(self) -> dict[str, int]:
        """Rows per status, by its word."""
        return {status.value: count for status, count in zip(_STATUSES, self.counts, strict=True)}

    @property
    def accepted(self) -> int:
        """Rows that are new."""
        return self.counts[ACCEPTED]

    @property
    def duplicates(self) -> int:
        """Rows that were stored before."""
        return self.counts[DUPLICATE]

    @property
    def conflicts(self) -> int:
        """Rows that contradict stored ones."""
        return self.counts[CONFLICT]

    @property
    def rejected(self) -> int:
        """Rows that break the contract."""
        return self.counts[REJECTED]

    @property
    def idempotency_key_reused(self) -> bool | None:
        """True when the key stood for another batch before."""
        return self.reused or None

    @cached_property
    def result(self) -> StoreResult:
        """The contract's own form."""
        return StoreResult.model_validate_json(self.json())

    @property
    def receipts(self) -> list[SignalReceipt]:
        """A receipt per row."""
        return self.result.receipts

    def problems(self, first: int, most: int) -> list[dict[str, Any]]:
        """What is wrong with rows, as receipts, told by their places behind ``first``; at most so many."""
        return [
            {"index": first + index, "status": _STATUSES[self.status[index]].value, "error": self.errors[index]}
            for index in sorted(self.errors)[:most]
        ]

    def json(self) -> str:
        """The contract's form as JSON, without building a receipt."""
        head = json.dumps(
            {
                "accepted": self.accepted,
                "duplicates": self.duplicates,
                "conflicts": self.conflicts,
                "rejected": self.rejected,
            },
            separators=(",", ":"),
        )
        tail = ',"idempotency_key_reused":true' if self.reused else ""
        tail += "" if self.receipt is None else f',"batch_receipt":{self.receipt.model_dump_json()}'
        return f'{head[:-1]},"receipts":[{",".join(self._rendered())}]{tail}}}'

    def _rendered(self) -> list[str]:
        middle = [f'"status":"{status.value}"' for status in _STATUSES]
        lates = ("", ',"late":true')
        rows = zip(
            range(len(self)),
            self.status.tolist(),
            self.batch_id.tolist(),
            self.stored_row.tolist(),
            self.late.tolist(),
            strict=True,
        )
        if not self.errors:
            return [
                f'{{"index":{index},{middle[status]},"signal_id":"sig_{batch:x}_{row}"{lates[late]}}}'
                for index, status, batch, row, late in rows
            ]
        return [
            f'{{"index":{index},{middle[status]}'
            + ("" if status == REJECTED else f',"signal_id":"{signal_id(batch, row)}"{lates[late]}')
            + (f',"error":{json.dumps(self.errors[index])}}}' if index in self.errors else "}")
            for index, status, batch, row, late in rows
        ]

    def pack(self) -> bytes:
        """A short form to keep, from which :meth:`unpack` gives the same answer again."""
        said = {
            "errors": {str(index): why for index, why in self.errors.items()},
            "receipt": None if self.receipt is None else self.receipt.model_dump(),
        }
        words = json.dumps(said).encode()
        columns = (self.status, self.batch_id.astype("<i8"), self.stored_row.astype("<i4"), self.late)
        body = _SIZES.pack(len(self), len(words)) + words + b"".join(column.tobytes() for column in columns)
        return _PACKED + zlib.compress(body, 1)

    @staticmethod
    def unpack(kept: bytes) -> Outcome:
        """The answer that :meth:`pack` kept; answers kept as JSON before it are read as well."""
        if not kept.startswith(_PACKED):
            return _from_json(json.loads(zlib.decompress(kept)))
        body = zlib.decompress(kept[1:])
        rows, size = _SIZES.unpack_from(body)
        place = _SIZES.size + size
        said = json.loads(body[_SIZES.size : place])
        columns = []
        for kind in ("i1", "<i8", "<i4", "?"):
            columns.append(np.frombuffer(body, kind, rows, place))
            place += columns[-1].nbytes
        status, batch_id, stored_row, late = columns
        errors = {int(index): why for index, why in said["errors"].items()}
        receipt = None if said["receipt"] is None else BatchReceipt.model_validate(said["receipt"])
        return Outcome(status, batch_id, stored_row, late, errors, receipt=receipt)


def _from_json(answer: Mapping[str, Any]) -> Outcome:
    receipts = answer["receipts"]
    places = [str(receipt.get("signal_id") or "sig_0_0").split("_") for receipt in receipts]
    return Outcome(
        np.array([_STATUSES.index(ReceiptStatus(receipt["status"])) for receipt in receipts], np.int8),
        np.array([int(place[1], 16) for place in places], np.int64),
        np.array([int(place[2]) for place in places], np.int64),
        np.array([bool(receipt.get("late")) for receipt in receipts], bool),
        {receipt["index"]: receipt["error"] for receipt in receipts if "error" in receipt},
        reused=bool(answer.get("idempotency_key_reused")),
        receipt=BatchReceipt.model_validate(answer["batch_receipt"]) if "batch_receipt" in answer else None,
    )

"""The fake's drops: Parquet files of signals, stored by the book's own rules as soon as their bytes have come."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq

from mp_kit import errors
from mp_kit.contracts import Drop, DropRequest, DropState, DropTarget, ReceiptStatus, SignalReceipt
from mp_kit.testing.routing import Bearer
from mp_kit.testing.signals import SignalBook

_TTL = timedelta(minutes=15)
_CHUNK_ROWS = 20_000
_FRESH = {"rows": 0, "accepted": 0, "duplicates": 0, "conflicts": 0, "rejected": 0}


class DropDesk:
    """All drops.

    Args:
        url: Root of the marketplace.
        book: Where signals are stored.
        now: The clock.
    """

    def __init__(self, url: str, book: SignalBook, now: Callable[[], datetime]) -> None:
        self._url = url
        self._book = book
        self._now = now
        self._drops: dict[tuple[str, str], tuple[Drop, Bearer]] = {}

    def announce(self, wanted: DropRequest, who: Bearer) -> DropTarget:
        """Notes a drop and says where its bytes go; the name of a stored one is taken."""
        key = who.deployment_id or "", wanted.name
        known = self._drops[key][0] if key in self._drops else None
        if known is not None and known.state is DropState.STORED:
            if known.sha256 != wanted.sha256:
                raise errors.ConflictError(f"A drop {wanted.name!r} of other bytes was taken.")
            return DropTarget(drop=known)
        facts = {"deployment_id": key[0], "state": DropState.AWAITED, "announced_at": self._now()}
        made = Drop.model_validate(wanted.model_dump() | facts | _FRESH)
        self._drops[key] = made, who
        place = f"{self._url}/files/inbox/{key[0]}/{wanted.name}?signature=fake"
        return DropTarget(drop=made, url=place, expires_at=self._now() + _TTL)

    def put(self, deployment_id: str, name: str, content: bytes) -> None:
        """Takes a drop's bytes, exactly those that were announced, and stores them."""
        drop, who = self._drops.get((deployment_id, name), (None, Bearer()))
        if drop is None or (len(content), hashlib.sha256(content).hexdigest()) != (drop.size_bytes, drop.sha256):
            raise errors.IntegrityError("These are not the bytes that were announced.")
        if drop.state is DropState.AWAITED:
            self._drops[deployment_id, name] = self._taken(drop, who, content), who

    def all(self, name: str | None, deployment_id: str | None) -> list[Drop]:
        """Drops, newest first."""
        found = [
            drop
            for (owner, called), (drop, _) in self._drops.items()
            if name in {None, called} and deployment_id in {None, owner}
        ]
        return found[::-1]

    def _taken(self, drop: Drop, who: Bearer, content: bytes) -> Drop:
        try:
            rows = pq.read_table(io.BytesIO(content)).to_pylist()
        except (pa.ArrowException, OSError) as error:
            return drop.model_copy(
                update={"state": DropState.FAILED, "failure": str(error), "finished_at": self._now()}
            )
        for start in range(0, len(rows), _CHUNK_ROWS):
            done = self._book.push(rows[start : start + _CHUNK_ROWS], who)
            counts = {name: getattr(drop, name) + getattr(done, name) for name in _FRESH if name != "rows"}
            bad = [_at(one, start) for one in done.receipts if one.status not in _GOOD]
            told = {"rows": drop.rows + len(done.receipts), "problems": [*drop.problems, *bad][:1_000]}
            drop = drop.model_copy(update=counts | told)
        return drop.model_copy(update={"state": DropState.STORED, "finished_at": self._now()})


_GOOD = frozenset({ReceiptStatus.ACCEPTED, ReceiptStatus.DUPLICATE})


def _at(receipt: SignalReceipt, start: int) -> SignalReceipt:
    return receipt.model_copy(update={"index": receipt.index + start})

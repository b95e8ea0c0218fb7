"""Drops: announced, uploaded past us to the store, and stored by the very function that requests go through.

1. A chunk of rows and the place in the file are one transaction: a taker that dies at any moment leaves each row stored
   once or not yet, and the next one goes on behind it.
2. What is read is a copy whose SHA-256 is the announced one: nobody writes to it while it is read.
3. A file that can't be read ends the drop, with the reason; what the store or the database can't do now is tried again,
   and after ``MAX_ATTEMPTS`` without a chunk of progress that ends it, too.
4. Vendors take turns, and a deployment has at most ``MAX_AWAITED`` drops announced: what one announces and never
   uploads holds up nobody else.
5. The file stays for whoever wants to look at it (staged uploads are cleared by age) unless all of it was stored.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from mp_kit.contracts.drops import Drop, DropRequest, DropTarget
from mp_kit.errors import ConflictError, ForbiddenError, InvalidInputError, MarketplaceError, NotFoundError
from mp_kit.server.services import signals
from mp_kit.server.services.arrow_weight import check_weight
from mp_kit.server.services.memory import at_most
from mp_kit.server.services.signal_outcome import Outcome
from mp_kit.server.services.tokens import Principal
from mp_kit.server.storage import STAGED, ObjectStore, UploadBound
from mp_kit.server.store import drops as rows
from mp_kit.server.store.engine import Database, Tx
from mp_kit.server.store.tables import HOUSE
from mp_kit.signing import Signer

__all__ = ["CHUNK_ROWS", "MAX_ATTEMPTS", "MAX_AWAITED", "Taken", "announce", "list_page", "take_in"]

UPLOAD_TTL = timedelta(minutes=15)
AWAITED = timedelta(days=1)
"""How long after its announcement a drop may come."""

MAX_AWAITED = 100
"""Drops that a deployment may have announced and not over, at most."""

CHUNK_ROWS = 20_000
MAX_ATTEMPTS = 5
MAX_DROP_ROWS = 50_000_000
"""Of a gigabyte; a run of equal values takes no bytes, so that the size bounds nothing."""
MAX_PROBLEMS = 1_000
_MAX_CHUNK_BYTES = 256 * 1024 * 1024
_MAX_MEMORY = 6 * _MAX_CHUNK_BYTES
"""For reading a chunk: pages as they are packed and unpacked, what the library keeps for later, and the rows."""
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Taken:
    """What became of a drop in one go.

    Args:
        deployment_id: Whose it is.
        name: Its name.
        state: ``stored``, ``failed``, or ``awaited`` when it is to be tried again.
        rows: Rows read in this go.
        detail: What went wrong, if anything.
    """

    deployment_id: str
    name: str
    state: str
    rows: int = 0
    detail: str | None = None


def announce(tx: Tx, who: Principal, request: DropRequest, *, store: ObjectStore, now: datetime) -> DropTarget:
    """Notes a drop and says where to PUT exactly its bytes; announcing again gives a fresh URL.

    Raises:
        ForbiddenError: The bearer may not push signals.
        ConflictError: Another file of that name is under way or was stored, or too many are awaited; the caller's
            transaction is rolled back.
    """
    deployment_id = HOUSE if who.kind == "operator" else who.deployment_id
    if deployment_id is None:
        raise ForbiddenError("Signals are dropped with a deployment's token (sit_…).")
    key = f"{STAGED}/inbox/{deployment_id}/{request.name}.parquet"
    scope = json.dumps({"symbols": who.scope.get("symbols")})
    values = {"deployment_id": deployment_id, "object_key": key, "scope": scope, "now": now, **request.model_dump()}
    row = rows.announce(tx, values)
    if row is None:
        found = list_page(tx, deployment_id=deployment_id, name=request.name)[0]
        if found.sha256 != request.sha256:
            raise ConflictError(
                f"A drop {request.name!r} of other bytes was taken.", hint="Give each drop its own name."
            )
        return DropTarget(drop=found)
    _check_room(tx, deployment_id)
    expires_at = now.replace(microsecond=0) + UPLOAD_TTL
    url = store.presign("PUT", key, expires_at, UploadBound(request.size_bytes, request.sha256))
    return DropTarget(drop=_to_wire(row), url=url, expires_at=expires_at)


def _check_room(tx: Tx, deployment_id: str) -> None:
    """Refuses the announcement, already stored in this transaction, that is one too many."""
    if rows.count_awaited(tx, deployment_id) > MAX_AWAITED:
        raise ConflictError(
            f"This deployment has {MAX_AWAITED} drops announced that are not over; more are not taken.",
            hint="PUT the bytes of those first; one whose bytes never come is given up a day after its announcement.",
        )


def list_page(
    tx: Tx, *, vendor_id: str | None = None, deployment_id: str | None = None, name: str | None = None, limit: int = 100
) -> list[Drop]:
    """Drops, newest first; ``vendor_id`` None means everybody's (the operator and the deployment itself only)."""
    filters = {"vendor_id": vendor_id, "deployment_id": deployment_id, "name": name, "limit": limit}
    return [_to_wire(row) for row in rows.list_page(tx, filters)]


def take_in(
    db: Database, store: ObjectStore, *, signer: Signer, now: datetime, grace: timedelta, limit: int = 100
) -> list[Taken]:
    """Stores the drops that have come, chunk by chunk, each chunk in a transaction of its own.

    Args:
        db: Transactions.
        store: Where drops lie.
        signer: Signs the receipts.
        now: An aware instant.
        grace: How long after its bar a signal is not late yet.
        limit: Drops looked at, at most.
    """
    with db.begin() as tx:
        places = [dict(row._mapping) for row in rows.awaited(tx, limit)]  # noqa: SLF001 - SQLAlchemy's public way to a row's mapping
    taker = _Taker(db, store, signer, now, grace)
    found = [taker.take(place) for place in places]
    return [taken for taken in found if taken is not None]


@dataclass(frozen=True)
class _Taker:
    db: Database
    store: ObjectStore
    signer: Signer
    now: datetime
    grace: timedelta

    def take(self, place: Mapping[str, str]) -> Taken | None:
        """One drop; None when it has not come yet, or somebody else is at it."""
        with self.db.begin() as tx:
            rows.touch(tx, place, self.now)
        row = self._begin(place, came=self._has_come(place["object_key"]))
        if row is None or isinstance(row, Taken):
            return row
        read = 0
        try:
            for outcome in self._chunks(row):
                read += len(outcome)
        except (MarketplaceError, OSError) as error:
            return self._give_up(row, error, row.next_row + read, read)
        self.store.delete(row.object_key)
        return Taken(row.deployment_id, row.name, "stored", read)

    def _has_come(self, key: str) -> bool:
        try:
            self.store.stat(key)
        except NotFoundError:
            return False
        return True

    def _begin(self, place: Mapping[str, str], *, came: bool) -> Any:
        """The drop's row; what became of it where it ends here, None where it is left for later."""
        with self.db.begin() as tx:
            row = rows.lock(tx, place)
            if row is None:
                return None
            if not came:
                return self._fail(tx, row, "Its bytes never came.") if self.now - row.announced_at > AWAITED else None
            if row.attempts >= MAX_ATTEMPTS:
                return self._fail(tx, row, f"Given up after {MAX_ATTEMPTS} attempts without progress.")
            rows.begin(tx, place)
            return row

    def _chunks(self, row: Any) -> Iterator[Outcome]:
        who = _principal(row)
        with tempfile.TemporaryFile() as copy:
            _fetch(self.store, row, copy)
            start = 0
            for batch in _batches(copy):
                done = max(0, row.next_row - start)
                table, at = batch.slice(done), start + done
                start += batch.num_rows
                if table.num_rows:
                    with self.db.begin() as tx:
                        outcome = self._store(tx, who, row, table, at)
                    yield outcome
            with self.db.begin() as tx:
                rows.finish(tx, {**_place(row), "state": "stored", "failure": None, "now": self.now})

    def _store(self, tx: Tx, who: Principal, row: Any, table: pa.Table, at: int) -> Outcome:
        place = _place(row)
        locked = rows.lock(tx, place)
        if locked is None or (locked.next_row, locked.sha256) != (at, row.sha256):
            raise ConflictError("Somebody else is at this drop.")
        batch = signals.Batch(table, f"{row.name} {row.sha256} {at}".encode())
        outcome = signals.store(tx, who, batch, signer=self.signer, grace=self.grace)
        counts = dict(zip(("accepted", "duplicates", "conflicts", "rejected"), outcome.counts, strict=True))
        problems = json.dumps(outcome.problems(at, MAX_PROBLEMS))
        rows.advance(tx, {**place, **counts, "next_row": at + len(outcome), "problems": problems, "most": MAX_PROBLEMS})
        return outcome

    def _give_up(self, row: Any, error: Exception, at: int, read: int) -> Taken:
        """For good, where the file is at fault; else until next time."""
        if not isinstance(error, MarketplaceError) or error.retryable or isinstance(error, ConflictError):
            return Taken(row.deployment_id, row.name, "awaited", read, str(error))
        with self.db.begin() as tx:
            return self._fail(tx, row, f"Behind row {at}: {error}" if at else str(error), read)

    def _fail(self, tx: Tx, row: Any, why: str, read: int = 0) -> Taken:
        rows.finish(tx, {**_place(row), "state": "failed", "failure": why, "now": self.now})
        return Taken(row.deployment_id, row.name, "failed", read, why)


def _place(row: Any) -> dict[str, str]:
    return {"deployment_id": row.deployment_id, "name": row.name}


def _principal(row: Any) -> Principal:
    """Whom the drop speaks for: what its token said when it was announced."""
    if row.deployment_id == HOUSE:
        return Principal(kind="operator")
    scope = {"routes": ["signals:store"], **row.scope}
    return Principal(
        kind="deployment",
        vendor_id=row.vendor_id,
        deployment_id=row.deployment_id,
        model_id=row.model_id,
        scope={name: value for name, value in scope.items() if value is not None},
    )


def _fetch(store: ObjectStore, row: Any, copy: IO[bytes]) -> None:
    digest, size = hashlib.sha256(), 0
    with store.open(row.object_key) as source:
        while piece := source.read(_PIECE_BYTES):
            size += len(piece)
            if size > row.size_bytes:
                break
            digest.update(piece)
            copy.write(piece)
    if size != row.size_bytes or digest.hexdigest() != row.sha256:
        raise InvalidInputError("What came is not what was announced: its size or SHA-256 differs.")
    copy.seek(0)


def _batches(copy: IO[bytes]) -> Iterator[pa.Table]:
    try:
        file = pq.ParquetFile(copy)
        if file.metadata.num_rows > MAX_DROP_ROWS:
            raise InvalidInputError(f"It says that it has {file.metadata.num_rows} rows; {MAX_DROP_ROWS} is the most.")
        batches = file.iter_batches(CHUNK_ROWS, use_threads=False)
        while True:
            with at_most(_MAX_MEMORY):  # a page's header may announce anything, and a dictionary repeat it
                batch = next(batches, None)
            if batch is None:
                return
            if batch.nbytes > _MAX_CHUNK_BYTES:
                raise InvalidInputError(f"{CHUNK_ROWS} rows of it take more than {_MAX_CHUNK_BYTES} bytes.")
            batch.validate(full=True)
            check_weight(batch)
            yield pa.Table.from_batches([batch])
    except MemoryError as error:
        raise InvalidInputError(f"{CHUNK_ROWS} rows of it take more than {_MAX_CHUNK_BYTES} bytes.") from error
    except (pa.ArrowException, OSError) as error:  # OSError, too, is what it says of a damaged file
        raise InvalidInputError(f"It is no Parquet file of signals: {str(error)[:300]}.") from error


def _to_wire(row: Any) -> Drop:
    facts = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public way to a row's mapping
    return Drop.model_validate(facts | {"rows": row.next_row, "problems": row.problems[:MAX_PROBLEMS]})

"""The processes of the rehearsal of signals: clients with a journal of their own, the consensus worker, a verifier.

``python -m bench.signal_chaos_parts client|old FOLDER NUMBER | worker | verify FOLDER``. A client's journal says,
synced line by line, what it was about to push, what ``push`` returned for it, and what it found on disk after a kill;
the code under test never sees it.
"""

from __future__ import annotations

import json
import logging
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from bench.signal_chaos_plan import Plan, Pusher, load, rows
from mp_kit.client.http import Patience
from mp_kit.client.marketplace import Marketplace
from mp_kit.client.outbox import Outbox, Parcel
from mp_kit.client.outboxes import SUFFIX
from mp_kit.client.pushes import PushResult
from mp_kit.contracts.receipts import BatchReceipt
from mp_kit.contracts.signals import StoreResult
from mp_kit.errors import DatabaseDownError, MarketplaceError
from mp_kit.receipts import payload_sha256

log = logging.getLogger("signal-chaos")

STOP = "stop"
"""A file of this name asks the clients to send what waits and to end."""

VERIFIED = "verified.json"
HASTY = Patience(attempts=3, first_wait=0.2, longest_wait=1.0, total_wait=5.0)
_LONGEST_PAUSE = 0.4
_PAUSE = 0.1


class Journal:
    """A client's own book: a JSON document a line, each on disk before ``note`` returns.

    Args:
        path: Of the file. A line that a kill tore is cut off.
    """

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        os.ftruncate(self._handle, len(_whole(path.read_bytes())))

    def note(self, **facts: Any) -> None:
        """Adds a line."""
        line = json.dumps(facts).encode() + b"\n"
        while line:
            line = line[os.write(self._handle, line) :]
        os.fsync(self._handle)


def entries(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a journal."""
    return [json.loads(line) for line in _whole(path.read_bytes()).splitlines()] if path.exists() else []


def journal_of(folder: Path, number: int) -> Path:
    """Where a client's journal lies."""
    return folder / f"client-{number}.journal"


def parcels(box: Path) -> Iterator[Parcel]:
    """What waits in the outboxes of a folder."""
    for path in sorted(box.glob(f"*{SUFFIX}")):
        found, after = Outbox(path), 0
        while (parcel := found.next(after)) is not None:
            yield parcel
            after = parcel.number
        found.close()


def key_of(pusher: Pusher, batch: int) -> str:
    """The idempotency key of a client's batch."""
    return f"client-{pusher.number}-batch-{batch}"


def push_on(folder: Path, number: int) -> None:
    """Pushes batch after batch, over whatever state a kill left, until it is asked to stop; then empties the outbox."""
    plan = load(folder)
    pusher = plan.pushers[number]
    path = journal_of(folder, number)
    past, journal = entries(path), Journal(path)
    chance = random.Random(f"{plan.seed}:{number}:{len(past)}")
    journal.note(found=sorted(_found(folder, pusher)))
    batch = _next(past, chance)
    with Marketplace(plan.url, pusher.token, outbox=folder / pusher.box, patience=HASTY, timeout=10.0) as market:
        while not (folder / STOP).exists():
            _push(market, plan, pusher, batch, journal)
            batch += 1
            time.sleep(chance.uniform(0, _LONGEST_PAUSE))
        while market.signals.flush(pusher.token, deployment_id=pusher.deployment).pending:
            time.sleep(_PAUSE)
    journal.note(flushed=True)


def post_on(folder: Path, number: int) -> None:
    """Posts batch after batch as the guide's ML runner does: one key for 5 s, and each again until it is answered."""
    plan = load(folder)
    pusher = plan.pushers[number]
    path = journal_of(folder, number)
    past, journal = entries(path), Journal(path)
    chance = random.Random(f"{plan.seed}:{number}:{len(past)}")
    journal.note(found=[])
    batch = _next(past, chance)
    with httpx.Client(base_url=plan.url, timeout=10.0) as http:
        while not (folder / STOP).exists():
            signals = [
                {name: row[name] for name in row if name != "event_time"} for row in rows(plan, pusher, batch)[0]
            ]
            journal.note(tried=batch)
            while (data := _post(http, pusher, signals)) is None:
                time.sleep(_PAUSE)
            done = StoreResult.model_validate(data)
            journal.note(told=batch, **_answer(done, [done.batch_receipt] if done.batch_receipt else []))
            batch += 1
            time.sleep(chance.uniform(0, _LONGEST_PAUSE))
    journal.note(flushed=True)


def _post(http: httpx.Client, pusher: Pusher, signals: list[dict[str, Any]]) -> Any:
    """The answer's data; None where there is none, or a passing outage."""
    headers = {"X-Marketplace-Contracts-Version": "0.1.0", "X-Idempotency-Key": f"EURUSD:5m:{int(time.time()) // 5}"}
    body = [{**signal, "deployment_id": pusher.deployment} for signal in signals]
    try:
        answer = http.post(
            "/api/signals/store", json=body, headers=headers | {"Authorization": f"Bearer {pusher.token}"}
        )
    except httpx.TransportError:
        return None
    if answer.status_code in {429, 503}:
        return None
    answer.raise_for_status()
    return answer.json()["data"]


def _next(past: list[dict[str, Any]], chance: random.Random) -> int:
    """The batch to begin with: one that was cut off is said again, or left to the outbox, as callers do."""
    tried = max((one["tried"] for one in past if "tried" in one), default=-1)
    told = any(one.get("told") == tried for one in past)
    return tried if tried >= 0 and not told and chance.random() < 0.5 else tried + 1


def _found(folder: Path, pusher: Pusher) -> set[int]:
    own = key_of(pusher, 0)[:-1]
    names = [parcel.key.partition(":")[0] for parcel in parcels(folder / pusher.box)]
    return {int(name.removeprefix(own)) for name in names if name.startswith(own)}


def _push(market: Marketplace, plan: Plan, pusher: Pusher, batch: int, journal: Journal) -> None:
    told, _ = rows(plan, pusher, batch)
    chunk = random.Random(f"{plan.seed}:{pusher.number}:{batch}:chunk").choice((25, 700, 10_000))
    journal.note(tried=batch)
    try:
        done = market.signals.push(
            told,
            pusher.token,
            deployment_id=pusher.deployment,
            idempotency_key=key_of(pusher, batch),
            chunk=max(chunk, len(told) // 10),
        )
    except MarketplaceError as error:
        journal.note(raised=f"{error.code}: {error.message}", batch=batch)
    else:
        journal.note(told=batch, pending=done.pending, **_answer(done, done.batch_receipts))


def _answer(done: PushResult | StoreResult, receipts: Sequence[BatchReceipt]) -> dict[str, Any]:
    return {
        "ids": {one.index: one.signal_id for one in done.receipts if one.signal_id and not one.error},
        "rejected": done.rejected,
        "conflicts": done.conflicts,
        "receipts": [payload_sha256(one.payload) for one in receipts],
    }


def work() -> None:
    """What the flow ``ingest-signals`` does, in a loop, until killed."""
    # Here, because a client has none of the server's: it starts in half the time.
    from mp_kit.server.services import consensus, drops, skills
    from mp_kit.server.wiring import open_house

    with open_house() as house:
        grace = timedelta(seconds=house.settings.late_grace_seconds)
        while True:
            try:
                drops.take_in(house.db, house.store, signer=house.signer, now=datetime.now(UTC), grace=grace)
                with house.db.begin() as tx:
                    bars = consensus.refresh(tx, batches=20, skills=skills.measured)
            except DatabaseDownError as error:
                log.info("%s", error)
                bars = 0
            if not bars:
                time.sleep(_PAUSE)


def verify(folder: Path) -> None:
    """Checks every deployment's receipts as its vendor does: over HTTP, and against what its outboxes remember."""
    plan = load(folder)
    problems: list[str] = []
    for pusher in plan.pushers:
        key = plan.keys[pusher.deployment]
        with Marketplace(plan.url, key, outbox=folder / pusher.box) as market:
            done = market.signals.verify(pusher.deployment)
        problems += [f"{one.deployment_id}: {problem}" for one in done.reports for problem in one.problems]
        problems += [f"{one.deployment_id}: {one.before} are unproved" for one in done.reports if one.before]
        problems += [] if done.reports else [f"{pusher.deployment}: there is no chain"]
    (folder / VERIFIED).write_text(json.dumps(problems))


def _whole(data: bytes) -> bytes:
    return data[: data.rfind(b"\n") + 1]


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    if sys.argv[1] in {"client", "old"}:
        (push_on if sys.argv[1] == "client" else post_on)(Path(sys.argv[2]), int(sys.argv[3]))
    elif sys.argv[1] == "verify":
        verify(Path(sys.argv[2]))
    else:
        work()

"""Who pushes what in the rehearsal of signals, as pure functions of a seed: also the verdict's ground truth.

1. Every client has a sequence of batches without an end; batch ``n`` is the same whoever makes it, and whenever.
2. What a deployment says under an identity is a function of the identity: batches overlap, and still agree. Only a
   *rewrite* says something else, behind its original in the same batch: it must never be stored.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from functools import cache
from itertools import accumulate, count
from pathlib import Path
from typing import Any, NamedTuple

PLAN = "plan.json"
SYMBOLS = tuple(f"SYM{number:02}" for number in range(12))
TIMEFRAMES = {"1d": timedelta(0), "1h": timedelta(hours=3)}
"""Each with the distance of its newest bar: what is said of days is in time, what is said of hours is late."""

VERSIONS = ("1", "2")
_SIZES = {1: 40, 10: 30, 100: 20, 1_600: 3}
_DECISIONS = ("BUY", "SELL", "HOLD")


class Identity(NamedTuple):
    """What makes a signal this one."""

    deployment: str
    symbol: str
    timeframe: str
    event_time: datetime
    version: str


@dataclass(frozen=True)
class Pusher:
    """A client.

    Args:
        number: Of the client.
        group: Of the deployment.
        deployment: Its id.
        token: Its token.
        box: Folder of its outbox; two may share one, and an old client has nothing in it.
        lane: Of a deployment's signals it tells those of this remainder ...
        lanes: ... by this divisor: two with the same lane tell the same.
        old: It was written by the guide, years ago, and has no outbox.
    """

    number: int
    group: int
    deployment: str
    token: str = field(repr=False)
    box: str
    lane: int = 0
    lanes: int = 1
    old: bool = False

    @property
    def name(self) -> str:
        """Of its process."""
        return f"{'old' if self.old else 'client'}-{self.number}"


@dataclass(frozen=True)
class Plan:
    """All of it.

    Args:
        seed: Of everything.
        url: Of the edge.
        newest: Instant of the newest bar.
        pushers: The clients.
        keys: Each deployment's vendor's API key, for the check of its receipts.
    """

    seed: int
    url: str
    newest: datetime
    pushers: list[Pusher]
    keys: dict[str, str] = field(repr=False)

    def save(self, folder: Path) -> None:
        """Writes it down, for this user's eyes."""
        path = folder / PLAN
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self) | {"newest": self.newest.isoformat()}))


def load(folder: Path) -> Plan:
    """Reads a saved one."""
    facts = json.loads((folder / PLAN).read_text())
    pushers = [Pusher(**one) for one in facts["pushers"]]
    return Plan(**facts | {"newest": datetime.fromisoformat(facts["newest"]), "pushers": pushers})


def seats(clients: int) -> list[tuple[int, str, int, int, bool]]:
    """Group, outbox, lane, lanes and age of each client.

    The first two push through one outbox; the next two tell the same of one deployment, each from an outbox of its
    own; the others are alone. Last, and not counted, comes a client of the guide's.
    """
    pairs = [(0, "box-0", 0, 2), (0, "box-0", 1, 2), (1, "box-1", 0, 1), (1, "box-2", 0, 1)]
    alone = [(group, f"box-{group + 1}", 0, 1) for group in range(2, clients)]
    new = [(*seat, False) for seat in [*pairs, *alone][:clients]]
    return [*new, (clients, "no-box", 0, 1, True)]


def rows(plan: Plan, pusher: Pusher, batch: int) -> tuple[list[dict[str, Any]], int]:
    """A batch as it is pushed, and how many of its rows, at its end, are rewrites."""
    chance = random.Random(f"{plan.seed}:{pusher.number}:{batch}:rows")
    start, size = _fresh(plan.seed, pusher.number, batch)
    places = list(range(start, start + size))
    if start and chance.random() < 0.3:
        places += chance.choices(range(start), k=chance.randint(1, 30))
    told = [_row(plan, pusher, place, rewrite=False) for place in places]
    rewritten = chance.choices(places, k=chance.choice((0, 0, 0, 1, 3)))
    return told + [_row(plan, pusher, place, rewrite=True) for place in rewritten], len(rewritten)


def identity(deployment: str, row: dict[str, Any]) -> Identity:
    """Of a row."""
    at = datetime.fromisoformat(row["event_time"])
    return Identity(deployment, row["symbol"], row["timeframe"], at, row["model_version"])


@cache
def _fresh(seed: int, client: int, batch: int) -> tuple[int, int]:
    """Where a batch begins in its client's sequence of signals, and how many it adds."""
    starts = _starts(seed, client)
    while len(starts.known) <= batch + 1:
        starts.known.append(next(starts.more))
    return starts.known[batch], starts.known[batch + 1] - starts.known[batch]


class _Starts(NamedTuple):
    known: list[int]
    more: Iterator[int]


@cache
def _starts(seed: int, client: int) -> _Starts:
    sizes = (
        random.Random(f"{seed}:{client}:{batch}:size").choices([*_SIZES], [*_SIZES.values()])[0] for batch in count()
    )
    return _Starts([0], accumulate(sizes))


def _row(plan: Plan, pusher: Pusher, place: int, *, rewrite: bool) -> dict[str, Any]:
    number = place * pusher.lanes + pusher.lane
    rest, version = divmod(number, len(VERSIONS))
    rest, symbol = divmod(rest, len(SYMBOLS))
    bar, timeframe = divmod(rest, len(TIMEFRAMES))
    name = [*TIMEFRAMES][timeframe]
    at = plan.newest - TIMEFRAMES[name] - timedelta(minutes=bar)
    drawn = hashlib.sha256(f"{plan.seed}:{pusher.group}:{number}".encode()).digest()
    return {
        "symbol": SYMBOLS[symbol],
        "timeframe": name,
        "decision": _DECISIONS[drawn[0] % len(_DECISIONS)],
        "confidence": (int.from_bytes(drawn[1:3]) + (rewrite << 16)) / (1 << 17),
        "model_version": VERSIONS[version],
        "timestamp": at.isoformat(),
        "event_time": at.isoformat(),
        "metadata": {"number": number},
    }

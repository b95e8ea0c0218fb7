"""What must have come of the rehearsal of signals: what was acknowledged, once, in good chains, rightly blended."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import text

from bench.plain_consensus import reference, voices
from bench.signal_chaos_parts import VERIFIED, entries, journal_of, parcels
from bench.signal_chaos_plan import Identity, Plan, Pusher, identity, rows
from mp_kit.contracts import Decision
from mp_kit.receipts import payload_sha256
from mp_kit.scoring.blending import Method
from mp_kit.server.house import House
from mp_kit.server.services.ids import signal_id
from mp_kit.server.store.engine import Tx

TOLERANCE = 1e-12
MOST_TOLD = 20


@dataclass(frozen=True)
class Said:
    """What the clients' journals say.

    Args:
        tried: What was about to be pushed: nothing else may be stored, and nothing with another content.
        owed: Of these, what ``push`` acknowledged, or what lay on disk after a kill: all of it must be stored.
        ids: What the marketplace acknowledged, by the id that it gave.
        receipts: Hashes of the receipts that it handed out.
        complaints: What a client must never see.
        batches: How many were acknowledged.
        cut: How many kills a client met between its call of ``push`` and its return.
    """

    tried: Mapping[Identity, Mapping[str, Any]]
    owed: set[Identity]
    ids: Mapping[str, Identity]
    receipts: set[str]
    complaints: Sequence[str]
    batches: int
    cut: int


@dataclass
class Verdict:
    """Sentences about everything that is wrong, by kind; all empty when nothing is.

    Args:
        lost: Acknowledged, and not stored.
        doubled: Stored more than once.
        invented: Stored, and pushed by nobody, or with another content.
        chains: Receipts that do not hold, or that were handed out and are gone.
        unflushed: What still waits in an outbox.
        consensus: Bars that a recomputation has otherwise.
        others: Errors that a caller saw, and processes that ended by themselves.
        stored: How many signals there are.
        acknowledged: How many there must be.
        batches: How many pushes were acknowledged.
        cut: How many were cut off by a kill.
        bars: How many blends were compared.
    """

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    invented: list[str] = field(default_factory=list)
    chains: list[str] = field(default_factory=list)
    unflushed: list[str] = field(default_factory=list)
    consensus: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    stored: int = 0
    acknowledged: int = 0
    batches: int = 0
    cut: int = 0
    bars: int = 0

    @property
    def complaints(self) -> list[str]:
        """All of it, the first few of each kind."""
        kinds = (self.lost, self.doubled, self.invented, self.chains, self.unflushed, self.consensus, self.others)
        return [sentence for kind in kinds for sentence in kind[:MOST_TOLD]]


def judge(house: House, folder: Path, plan: Plan) -> Verdict:
    """Compares everything; the marketplace is at rest, and the verifier has run."""
    said = listen(folder, plan)
    verdict = Verdict(acknowledged=len(said.owed), batches=said.batches, cut=said.cut)
    verdict.others += said.complaints
    verdict.chains += json.loads((folder / VERIFIED).read_text())
    for box in sorted({pusher.box for pusher in plan.pushers}):
        verdict.unflushed += [f"{box}: {one.rows} signals of {one.key}" for one in parcels(folder / box)]
    with house.db.begin() as tx:
        stored = _stored(tx)
        compare(verdict, said, stored)
        kept = {payload_sha256(row.payload) for row in tx.execute(text("SELECT payload FROM signal_receipts"))}
        verdict.chains += [f"receipt {one} was handed out and is gone" for one in sorted(said.receipts - kept)]
        _judge_consensus(verdict, tx, stored)
    return verdict


def listen(folder: Path, plan: Plan) -> Said:
    """Reads the journals."""
    tried: dict[Identity, Mapping[str, Any]] = {}
    owed: set[Identity] = set()
    ids: dict[str, Identity] = {}
    receipts: set[str] = set()
    complaints: list[str] = []
    batches = cut = 0
    for pusher in plan.pushers:
        book = entries(journal_of(folder, pusher.number))
        told = {one["told"]: one for one in book if "told" in one}
        due = {number for one in book for number in one.get("found", ())} | set(told)
        for batch in sorted({one["tried"] for one in book if "tried" in one}):
            signals = _signals(plan, pusher, batch)
            tried |= {name: row for name, row, rewrite in signals if not rewrite}
            owed |= {name for name, _, rewrite in signals if not rewrite and batch in due}
            for index, given in told.get(batch, {}).get("ids", {}).items():
                ids[given] = signals[int(index)][0]
        complaints += [f"client {pusher.number}: {one}" for one in _unseemly(plan, pusher, book)]
        receipts |= {one for answer in told.values() for one in answer["receipts"]}
        batches += len(told)
        cut += sum("tried" in one and "found" in after for one, after in pairwise(book))
    return Said(tried, owed, ids, receipts, complaints, batches, cut)


def compare(verdict: Verdict, said: Said, stored: pd.DataFrame) -> None:
    """The sets of what was acknowledged and of what is stored."""
    names = [Identity(*row) for row in zip(*(stored[name] for name in Identity._fields), strict=True)]
    times = Counter(names)
    verdict.stored = len(names)
    verdict.lost += [f"lost: {name}" for name in said.owed if name not in times]
    by_id = dict(zip(stored.id, names, strict=True))
    verdict.lost += [f"{given} was given for {name}" for given, name in said.ids.items() if by_id.get(given) != name]
    verdict.doubled += [f"{name}: {count} times" for name, count in times.items() if count > 1]
    contents = zip(names, stored.decision, stored.confidence, stored.ts, stored.metadata, strict=True)
    for name, *content in contents:
        row = said.tried.get(name)
        if row is None or content != _content(row):
            verdict.invented.append(f"{name}: stored {content}, pushed {row}")


def _content(row: Mapping[str, Any]) -> list[Any]:
    return [row["decision"], row["confidence"], datetime.fromisoformat(row["timestamp"]), row["metadata"]]


def _signals(plan: Plan, pusher: Pusher, batch: int) -> list[tuple[Identity, Mapping[str, Any], bool]]:
    told, rewrites = rows(plan, pusher, batch)
    first = len(told) - rewrites
    return [(identity(pusher.deployment, row), row, index >= first) for index, row in enumerate(told)]


def _unseemly(plan: Plan, pusher: Pusher, book: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What a client must never see: an error where an outage is to be waited out, a good row refused."""
    for one in book:
        if "raised" in one:
            yield f"batch {one['batch']} raised {one['raised']}"
        if "told" in one:
            told, rewrites = rows(plan, pusher, one["told"])
            answered = len(one["ids"]) + one["conflicts"] + one["rejected"] + one.get("pending", 0)
            if one["rejected"] or one["conflicts"] > rewrites or answered != len(told):
                counts = {name: one[name] for name in ("conflicts", "rejected")} | {"kept": len(one["ids"])}
                yield f"batch {one['told']} of {len(told)} with {rewrites} rewrites was told {counts}"
    if not any("flushed" in one for one in book):
        yield "it never came to its end"


def _stored(tx: Tx) -> pd.DataFrame:
    found = pd.DataFrame(tx.execute(text("SELECT * FROM signals")).mappings().all())
    found["id"] = [signal_id(*place) for place in zip(found.batch_id, found.row_no, strict=True)]
    times = {name: [one.to_pydatetime() for one in found[name]] for name in ("event_time", "ts")}
    return found.assign(**{name: pd.Series(values, dtype=object) for name, values in times.items()}).rename(
        columns={"deployment_id": "deployment", "model_version": "version"}
    )


def _judge_consensus(verdict: Verdict, tx: Tx, stored: pd.DataFrame) -> None:
    facts = stored.assign(
        symbol=stored.symbol + " " + stored.timeframe,
        event_time=pd.to_datetime(stored.event_time, utc=True),
        direction=[Decision(one).sign for one in stored.decision],
        batch=stored.batch_id,
        row=stored.row_no,
        skill=1.0,
    )
    told = voices(facts)
    blended: dict[str, dict[tuple[str, datetime], Any]] = defaultdict(dict)
    for row in tx.execute(text("SELECT * FROM consensus")):
        blended[row.method][f"{row.symbol} {row.timeframe}", row.event_time] = row
    heads = told.drop_duplicates("bar")
    bars = [(symbol, at.to_pydatetime()) for symbol, at in zip(heads.symbol, heads.event_time, strict=True)]
    for method in Method:
        found = blended.pop(method.value, {})
        verdict.bars += len(bars)
        verdict.consensus += [f"{method} has {bar}, of which nobody spoke" for bar in found.keys() - set(bars)]
        verdict.consensus += list(unlike(method, told, bars, found))
    verdict.consensus += [f"nobody asked for {method}" for method in blended]


def unlike(
    method: Method, told: pd.DataFrame, bars: Sequence[tuple[str, datetime]], found: Mapping[tuple[str, datetime], Any]
) -> Iterator[str]:
    """How blended bars differ from what a plain script makes of the same voices.

    Args:
        method: Which.
        told: The voices, in order of their bars.
        bars: Symbol with timeframe, and instant, of each bar.
        found: What the marketplace made of them.
    """
    whole, parts = reference(told, method.value)
    voices_of = told.assign(weight=parts.weight.to_numpy()).groupby("bar")
    weights = {bar: dict(zip(group.deployment, group.weight, strict=True)) for bar, group in voices_of}
    for number, bar in enumerate(bars):
        row, right = found.get(bar), whole.iloc[number]
        if row is None:
            yield f"{method} of {bar} is missing"
            continue
        given = {name: part["weight"] for name, part in row.contributions.items() if part["weight"] or not row.late}
        given = {name: weight for name, weight in given.items() if weight or name in weights[number]}
        numbers = [row.confidence - right.confidence, row.score - right.score]
        numbers += [given.get(name, np.inf) - weight for name, weight in weights[number].items()]
        same = Decision(row.decision).sign == right.decision and given.keys() == weights[number].keys()
        if not same or np.abs(numbers).max() > TOLERANCE:
            yield f"{method} of {bar} is {row.decision} {row.score} {given}, not {right.to_dict()} {weights[number]}"

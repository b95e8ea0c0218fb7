"""Signals pushed while edge, worker, Postgres and the clients themselves are killed: a small ``bench.signal_chaos``."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from bench.plain_consensus import voices
from bench.signal_chaos import Storm, rehearse
from bench.signal_chaos_parts import Journal, entries, journal_of, key_of
from bench.signal_chaos_plan import Identity, Plan, Pusher, identity, load, rows, seats
from bench.signal_chaos_verdict import Verdict, compare, listen, unlike
from mp_kit.scoring.blending import Method

pytestmark = [pytest.mark.hardening, pytest.mark.slow, pytest.mark.timeout(240)]

AT = datetime(2026, 1, 5, 10, tzinfo=UTC)


@pytest.fixture
def plan() -> Plan:
    """Four clients and an old one, with made up deployments."""
    pushers = [Pusher(number, seat[0], f"dep-{seat[0]}", "sit_x", *seat[1:]) for number, seat in enumerate(seats(4))]
    return Plan(3, "http://127.0.0.1:1", AT, pushers, {})


def frame(plan: Plan, pusher: Pusher, batch: int) -> pd.DataFrame:
    """A batch as it must be stored."""
    told, rewrites = rows(plan, pusher, batch)
    found: dict[Identity, dict[str, Any]] = {}
    for row in told[: len(told) - rewrites]:
        name = identity(pusher.deployment, row)
        content = {name: row[name] for name in ("decision", "confidence", "metadata")}
        found.setdefault(name, {**name._asdict(), **content, "ts": AT.fromisoformat(row["timestamp"])})
    return pd.DataFrame({"id": f"sig_1_{place}", **row} for place, row in enumerate(found.values())).astype(
        {"event_time": object, "ts": object}
    )


def write_journal(plan: Plan, folder: Path, number: int, *lines: dict[str, Any]) -> None:
    journal = Journal(journal_of(folder, plan.pushers[number].number))
    for line in lines:
        journal.note(**line)


def told(plan: Plan, batch: int, **changes: Any) -> dict[str, Any]:
    """A client's line about an answer without anything to complain of."""
    count = len(rows(plan, plan.pushers[0], batch)[0])
    return {"told": batch, "ids": {}, "rejected": 0, "conflicts": 0, "pending": count, "receipts": []} | changes


def judged(plan: Plan, folder: Path, stored: pd.DataFrame) -> Verdict:
    said = listen(folder, plan)
    verdict = Verdict()
    compare(verdict, said, stored)
    return verdict


def counts(verdict: Verdict) -> tuple[int, int, int]:
    return len(verdict.lost), len(verdict.doubled), len(verdict.invented)


def test_plan_is_the_same_after_a_kill(plan: Plan, tmp_path: Path):
    """What was written down makes the same batches, and shows no token."""
    plan.save(tmp_path)
    again = load(tmp_path)
    assert plan == again
    assert [rows(plan, one, 5) for one in plan.pushers] == [rows(again, one, 5) for one in again.pushers]
    assert "sit_x" not in repr(plan)


def test_overlaps_agree_and_rewrites_do_not(plan: Plan):
    """One identity has one content, whoever tells it; a rewrite has another one."""
    contents: dict[Identity, set[tuple[str, float]]] = {}
    rewritten: list[tuple[Identity, tuple[str, float]]] = []
    overlapping = 0
    for pusher in plan.pushers:
        for batch in range(30):
            signals, rewrites = rows(plan, pusher, batch)
            for place, row in enumerate(signals):
                name, content = identity(pusher.deployment, row), (row["decision"], row["confidence"])
                if place < len(signals) - rewrites:
                    overlapping += name in contents
                    contents.setdefault(name, set()).add(content)
                else:
                    rewritten.append((name, content))
    assert overlapping
    assert {1} == {len(found) for found in contents.values()}
    assert rewritten
    assert [] == [name for name, content in rewritten if content in contents[name]]


def test_torn_line_is_cut_off(tmp_path: Path):
    """What a kill left of a line is nobody's word, and the next line stands by itself."""
    path = tmp_path / "client-0.journal"
    Journal(path).note(tried=0)
    with path.open("ab") as handle:
        handle.write(b'{"told": 0, "ids"')
    assert [{"tried": 0}] == entries(path)
    Journal(path).note(tried=1)
    assert [{"tried": 0}, {"tried": 1}] == entries(path)


@pytest.mark.parametrize(
    ("tamper", "expected"),
    [
        (lambda good: good, (0, 0, 0)),
        (lambda good: good[1:], (1, 0, 0)),
        (lambda good: pd.concat([good, good[:2].assign(id="sig_9_9")]), (0, 2, 0)),
        (lambda good: good.assign(confidence=good.confidence + 0.5), (0, 0, 10)),
        (lambda good: good.assign(metadata=[{} for _ in good.id]), (0, 0, 10)),
        (lambda good: pd.concat([good, good[:1].assign(id="sig_9_9", version="3")]), (0, 0, 1)),
    ],
    ids=["good", "lost", "doubled", "rewritten", "changed", "invented"],
)
def test_what_is_stored_is_compared(plan: Plan, tmp_path: Path, tamper: Any, expected: tuple[int, int, int]):
    """Lost, doubled and invented signals are seen, each as what it is."""
    pusher = plan.pushers[4]
    batch = next(number for number in range(100) if len(frame(plan, pusher, number)) == 10)
    write_journal(plan, tmp_path, 4, {"found": []}, {"tried": batch}, told(plan, batch))
    stored = tamper(frame(plan, pusher, batch))
    assert expected == counts(judged(plan, tmp_path, stored))


@pytest.mark.parametrize(
    ("lines", "lost"),
    [
        ([{"tried": 0}], False),
        ([{"tried": 0}, {"found": []}], False),
        ([{"tried": 0}, {"found": [0]}], True),
        ([{"tried": 0}, {"told": 0, "ids": {}, "rejected": 0, "conflicts": 0, "receipts": []}], True),
    ],
    ids=["cut off", "not on disk", "on disk", "acknowledged"],
)
def test_only_what_was_acknowledged_is_owed(plan: Plan, tmp_path: Path, lines: list[dict[str, Any]], *, lost: bool):
    """A push that was cut off before it reached the disk may be stored or not."""
    write_journal(plan, tmp_path, 4, {"found": []}, *lines)
    stored = frame(plan, plan.pushers[4], 0)
    assert (0, 0, 0) == counts(judged(plan, tmp_path, stored))
    assert (len(stored) if lost else 0, 0, 0) == counts(judged(plan, tmp_path, stored[:0]))


def test_acknowledged_id_must_be_the_stored_one(plan: Plan, tmp_path: Path):
    """An answer's id that leads elsewhere, or nowhere, is a loss."""
    stored = frame(plan, plan.pushers[4], 0)
    for number, given in ((0, "sig_1_0"), (1, "sig_7_7")):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_journal(plan, folder, 4, {"tried": 0}, told(plan, 0, ids={"0": given}))
        assert number == len(judged(plan, folder, stored).lost)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ({"raised": "internal: oops", "batch": 0}, "batch 0 raised internal: oops"),
        ({"flushed": True}, None),
        ({"other": 1}, "it never came to its end"),
    ],
)
def test_unseemly_answers_are_told(plan: Plan, tmp_path: Path, line: dict[str, Any], complaint: str | None):
    """An error that a caller saw, and a client that did not come to its end."""
    alone = replace(plan, pushers=plan.pushers[:1])
    ended = [] if complaint == "it never came to its end" else [{"flushed": True}]
    write_journal(alone, tmp_path, 0, {"tried": 0}, told(alone, 0), line, *ended)
    assert [f"client 0: {complaint}"] * (complaint is not None) == list(listen(tmp_path, alone).complaints)


@pytest.mark.parametrize(
    ("change", "faults"),
    [
        ({}, 0),
        ({"score": 0.3}, 1),
        ({"decision": "HOLD"}, 1),
        ({"contributions": {"a": {"weight": 1.0}}}, 1),
        ({"contributions": {"a": {"weight": 0.75}, "b": {"weight": 0.25}, "c": {"weight": 0.1}}}, 1),
    ],
)
def test_consensus_is_computed_again(change: dict[str, Any], faults: int):
    """0.6 for and 0.2 against, weighed by confidence: 0.75 and 0.25, score 0.75 x 0.6 - 0.25 x 0.2 = 0.4."""
    base = {"symbol": "S 1h", "event_time": AT, "late": False, "received_at": AT, "batch": 1, "skill": 1.0}
    said = [("a", 1, 0.6, 0), ("b", -1, 0.2, 1)]
    facts = [base | dict(zip(("deployment", "direction", "confidence", "row"), one, strict=True)) for one in said]
    weights = {"a": {"weight": 0.75}, "b": {"weight": 0.25}}
    right = {"decision": "BUY", "score": 0.4, "confidence": 0.4, "late": False, "contributions": weights}
    found = {("S 1h", AT): SimpleNamespace(**(right | change))}
    assert faults == len([*unlike(Method.CONFIDENCE, voices(pd.DataFrame(facts)), [("S 1h", AT)], found)])


def test_missing_bar_is_told():
    """A bar that somebody spoke about and nobody blended."""
    facts = {"symbol": "S 1h", "event_time": AT, "late": False, "received_at": AT, "batch": 1, "row": 0, "skill": 1.0}
    told = voices(pd.DataFrame([facts | {"deployment": "a", "direction": 1, "confidence": 0.5}]))
    assert 1 == len([*unlike(Method.EQUAL, told, [("S 1h", AT)], {})])


def test_keys_of_clients_differ(plan: Plan):
    """Two clients of one outbox know their own parcels."""
    assert 5 == len({key_of(pusher, 1) for pusher in plan.pushers})


def test_acknowledged_is_stored_once_whoever_is_killed(tmp_path: Path):
    """Eight rounds of kills, three clients and an old one: nothing is lost, doubled or invented, all chains hold."""
    verdict, kills = rehearse(tmp_path, Storm(rounds=8, clients=3, seed=5, calm_seconds=(0.2, 1.5), patience=150))
    assert [] == verdict.complaints
    assert verdict.stored >= verdict.acknowledged > 0
    assert verdict.bars > 0
    assert " x " in kills

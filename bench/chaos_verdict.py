"""What a rehearsal must have come to: compares the marketplace's books with what really was at RunPod's stand-in."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import text

from bench.chaos_parts import DEADLY, PREFIX, REFUSING, Rules
from mp_kit.server.house import House
from mp_kit.server.store import ledger
from mp_kit.server.store.engine import Tx

ENDS = {"success": "succeeded", "exit": "failed", "hang": "failed", "crash": "failed", "cancel": "cancelled"}
"""How a run ends by what its job does; a run whose pod or order met a deadly fault may fail instead."""


TOO_DEAR = "the budget bears"
"""A price above its quote is remembered for a quarter of an hour, so that other runs may find every GPU too dear."""


@dataclass(frozen=True)
class Order:
    """A run that was ordered.

    Attributes:
        name: Its idempotency key.
        end: How its job ends.
        lines: How many it says.
        hours: Of its budget.
        usd: Of its budget.
    """

    name: str
    end: str
    lines: int
    hours: float
    usd: float


@dataclass
class Verdict:
    """What is wrong, a sentence each.

    Attributes:
        ends: Runs in a wrong state, missing, or doubled.
        doubles: Attempts with more than one pod.
        budgets: Pods that outlived their budget by more than one sweep, runs that cost more.
        ledger_off: US dollars between the ledger and RunPod's bill, pod by pod.
        books: Pods that the ledger lacks or does not know the bill of.
        logs: Lines lost, doubled, or out of order.
        artifacts: Missing or changed.
        left: Pods that are still there.
        violations: Requests against RunPod's contract.
        states: How many runs ended how.
    """

    ends: list[str] = field(default_factory=list)
    doubles: list[str] = field(default_factory=list)
    budgets: list[str] = field(default_factory=list)
    ledger_off: Decimal = Decimal(0)
    books: list[str] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    artifacts: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)

    @property
    def complaints(self) -> list[str]:
        """All of it."""
        found = [self.ends, self.doubles, self.budgets, self.books, self.logs, self.artifacts, self.left]
        cents = [f"the ledger is off by ${self.ledger_off}"] if self.ledger_off >= Decimal("0.005") else []
        return [*(sentence for sentences in found for sentence in sentences), *cents, *self.violations]


def judge(house: House, told: Mapping[str, Any], orders: Sequence[Order], rules: Rules) -> Verdict:
    """Compares everything.

    Args:
        house: The marketplace, at rest.
        told: What RunPod's stand-in reports.
        orders: What was ordered.
        rules: The rehearsal's times.
    """
    verdict = Verdict(violations=list(told["violations"]))
    pods: dict[str, list[Mapping[str, Any]]] = {}
    for pod in told["pods"]:
        pods.setdefault(_run_of(pod["name"]), []).append(pod)
    _judge_pods(verdict, told["pods"])
    with house.db.begin() as tx:
        runs = {row.idempotency_key: row for row in tx.execute(text("SELECT * FROM training_runs"))}
        if sorted(runs) != sorted(order.name for order in orders):
            verdict.ends.append(f"{len(orders)} runs were ordered, and {len(runs)} are there")
        for order in orders:
            if row := runs.get(order.name):
                verdict.states[f"{order.end}: {row.state}"] += 1
                met = {fault for name, faults, _ in told["creates"] if _run_of(name) == row.id for fault in faults}
                _judge_run(verdict, house, tx, row, order, met)
                _judge_money(verdict, tx, row, order, pods.get(row.id, []), rules)
    return verdict


def _run_of(name: str) -> str:
    return name.removeprefix(f"{PREFIX}-").rpartition("-a")[0]


def _judge_pods(verdict: Verdict, pods: Sequence[Mapping[str, Any]]) -> None:
    names = Counter(pod["name"] for pod in pods)
    verdict.doubles += [f"{name}: {count} pods" for name, count in names.items() if count > 1]
    verdict.left += [f"{pod['name']} is {pod['status']}" for pod in pods if pod["status"] != "TERMINATED"]


def _judge_run(verdict: Verdict, house: House, tx: Tx, row: Any, order: Order, met: set[str]) -> None:
    may_fail = met & (DEADLY | REFUSING) or TOO_DEAR in (row.failure or "")
    allowed = {ENDS[order.end]} | ({"failed"} if may_fail else set())
    if row.state not in allowed:
        verdict.ends.append(f"{row.id} ({order.end}) is {row.state}, met {sorted(met)}: {row.failure}")
    said = tx.execute(text("SELECT text, stream FROM run_logs WHERE run_id = :run ORDER BY seq"), {"run": row.id}).all()
    lines = [line.text for line in said if line.stream == "stdout"]
    must_be_whole = row.state == "succeeded" or (order.end == "exit" and row.exit_code == 1)
    if fault := wrong_lines(lines, order.lines, whole=must_be_whole):
        verdict.logs.append(f"{row.id} ({order.end}, {row.state}): {fault}")
    if row.state == "succeeded":
        _judge_artifact(verdict, house, tx, row, order)


def wrong_lines(lines: Sequence[str], count: int, *, whole: bool) -> str | None:
    """What is wrong with a job's lines: each start must have said a beginning of its lines, each of them once."""
    starts: dict[str, list[int]] = {}
    for line in lines:
        _, start, _, number = line.split()
        starts.setdefault(start, []).append(int(number))
    for start, numbers in starts.items():
        if numbers != list(range(len(numbers))):
            return f"start {start} said {numbers}"
    if whole and [list(range(count))] != list(starts.values()):
        return f"{[len(numbers) for numbers in starts.values()]} lines of {count}"
    return None


def _judge_artifact(verdict: Verdict, house: House, tx: Tx, row: Any, order: Order) -> None:
    wanted = hashlib.sha256(order.name.encode() * 1000).hexdigest()
    kept = tx.execute(text("SELECT * FROM run_artifacts WHERE run_id = :run"), {"run": row.id}).all()
    good = [one for one in kept if one.name == "result.bin" and one.uploaded_at and one.sha256 == wanted]
    if len(good) != 1 or len(kept) != 1:
        verdict.artifacts.append(f"{row.id}: {[one.name for one in kept]}")
        return
    with house.store.open(good[0].object_key) as stored:
        if hashlib.sha256(stored.read()).hexdigest() != wanted:
            verdict.artifacts.append(f"{row.id}: other bytes")


def _judge_money(
    verdict: Verdict, tx: Tx, row: Any, order: Order, pods: Sequence[Mapping[str, Any]], rules: Rules
) -> None:
    slack = rules.grace + rules.sweep
    machines = {machine.ref: machine for machine in ledger.of_run(tx, row.id)}
    billed = sum((Decimal(pod["cost"]) for pod in pods), Decimal(0))
    for pod in pods:
        machine = machines.pop(pod["id"], None)
        told = machine.billed_usd if machine is not None else None
        if told is None:
            verdict.books.append(f"{pod['name']} cost ${pod['cost']}; in the ledger: {machine}")
        verdict.ledger_off += abs(Decimal(pod["cost"]) - (told or Decimal(0)))
        if (lived := _seconds(pod)) > order.hours * 3_600 + slack:
            verdict.budgets.append(f"{pod['name']} lived {lived:.0f} s of {order.hours * 3_600:.0f} s")
    verdict.books += [f"{row.id}: {ref} is in the ledger and never was" for ref in machines]
    dearest = max((Decimal(pod["price"]) for pod in pods), default=Decimal(0))
    if billed > Decimal(str(order.usd)) + dearest * Decimal(str(slack)) / 3_600:
        verdict.budgets.append(f"{row.id} cost ${billed} of ${order.usd}")
    if abs((row.cost_usd or Decimal(0)) - billed) > Decimal("0.001"):
        verdict.books.append(f"{row.id} says that it cost ${row.cost_usd}; RunPod says ${billed}")


def _seconds(pod: Mapping[str, Any]) -> float:
    if pod["ended_at"] == "None":
        return float("inf")
    return (datetime.fromisoformat(pod["ended_at"]) - datetime.fromisoformat(pod["created_at"])).total_seconds()

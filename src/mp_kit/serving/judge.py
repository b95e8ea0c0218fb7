"""What an answer of a server is worth: the rules that no schema says, and what an edge case makes of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from mp_kit.contracts.common import Task
from mp_kit.contracts.validation import CheckStatus
from mp_kit.serving.caller import Answer
from mp_kit.serving.edge_cases import Case, Wanted
from mp_kit.serving.model import ANSWERS

__all__ = ["Verdict", "differences", "fault_of", "verdict_of"]

Document = dict[str, Any]

_ROUNDING = 1e-6
_QUIET = "Catch what the handler raises: log the trace, answer 500 with one sentence."
_READABLE = 'Answer errors as JSON, such as {"success": false, "error": "...", "code": "..."}: callers print `error`.'
_LEAKS = ("Traceback (most recent call last)", 'File "/', "site-packages")


class Verdict(NamedTuple):
    """What an answer is worth, what it was, and what to do."""

    status: CheckStatus
    what: str
    mend: str | None = None


def fault_of(task: Task, question: Mapping[str, Any], answer: Answer) -> str | None:
    """What is wrong with an answer to a good request; None if nothing is."""
    fault = answer.fault(ANSWERS[task])
    if fault is not None:
        return fault
    if task is Task.CONSENSUS:
        return _shares(answer.document, question)
    return _weights(answer.document, question) if task is Task.OPTIMIZER else None


def _shares(document: Document, question: Mapping[str, Any]) -> str | None:
    parts = document["contributions"]
    total = math.fsum(float(part["weight"]) for part in parts.values())
    if strangers := sorted(set(parts) - set(question["signals"])):
        return f"contributions name {strangers[0]}, which was not asked"
    return None if abs(total - 1) <= _ROUNDING else f"the contributions' weights sum to {total:.6f}, not to 1"


def _weights(document: Document, question: Mapping[str, Any]) -> str | None:
    parts = document["allocations"]
    names = [part["symbol"] for part in parts]
    if len(set(names)) < len(names):
        return "a symbol is allocated twice"
    if strangers := sorted(set(names) - set(question["assets"])):
        return f"allocates {strangers[0]}, which was not asked"
    total, most = math.fsum(part["weight"] for part in parts), max(part["weight"] for part in parts)
    if total > 1 + _ROUNDING:
        return f"the weights sum to {total:.6f}, above 1"
    limit = float(question.get("max_weight", 1.0))
    return None if most <= limit + _ROUNDING else f"a weight is {most:.6f}, above max_weight {limit:g}"


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The fields in which two answers differ; when they were given does not count."""
    names = (set(one) | set(other)) - {"timestamp"}
    return sorted(name for name in names if one.get(name) != other.get(name))


def verdict_of(task: Task, case: Case, answer: Answer) -> Verdict:
    """What an edge case's answer is worth, and why."""
    if any(leak in answer.text for leak in _LEAKS):
        return Verdict(CheckStatus.FAILED, f"showed its stack trace with {answer.status}", _QUIET)
    if answer.is_refusal:
        return _refused(answer)
    fault = answer.fault(ANSWERS[task])
    if fault is not None:
        return Verdict(CheckStatus.FAILED, fault, case.mend)
    if case.wanted is Wanted.SURVIVE:
        return Verdict(CheckStatus.PASSED, "answered within the contract")
    if case.wanted is Wanted.STAND_ASIDE and _stands_aside(task, answer.document):
        return Verdict(CheckStatus.PASSED, "answered without deciding anything")
    bad = CheckStatus.WARNED if case.wanted is Wanted.DOUBT else CheckStatus.FAILED
    return Verdict(bad, f"accepted it: {answer.told}", case.mend)


def _refused(answer: Answer) -> Verdict:
    if isinstance(answer.document, dict) and answer.content_type == "application/json":
        return Verdict(CheckStatus.PASSED, f"refused with {answer.status}")
    return Verdict(CheckStatus.WARNED, f"refused with {answer.status}, but not as JSON", _READABLE)


def _stands_aside(task: Task, document: Document) -> bool:
    if task is Task.OPTIMIZER:
        return all(part["weight"] == 0 for part in document["allocations"])
    return bool(document["decision"] == "HOLD")

"""Checks a running server against the inference contract, from outside, as the marketplace and bad callers meet it.

1. Every request is marked as a dry run; none leaves a signal.
2. Each check says what was found, where, and how to mend it; one that fails does not keep the others from being made.
3. The server is asked the same again at the end: it must have survived.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from mp_kit.contracts.common import Task
from mp_kit.contracts.inference import Health
from mp_kit.contracts.validation import CheckStatus, LatencyFigures, ValidationCheck, ValidationReport
from mp_kit.contracts.versions import CONTRACTS_VERSION
from mp_kit.errors import MarketplaceError
from mp_kit.serving.caller import Caller
from mp_kit.serving.edge_cases import Case, edge_cases
from mp_kit.serving.judge import differences, fault_of, verdict_of
from mp_kit.serving.model import ANSWERS
from mp_kit.serving.questions import questions
from mp_kit.serving.window import Windows
from mp_kit.version import __version__

__all__ = ["MAX_P95_MS", "Validator"]

MAX_P95_MS = 500.0
"""What the 95th percentile of POST /infer is held against by default."""

Document = dict[str, Any]

_TIMED = 40
_AT_ONCE = 16
_OLD_SECONDS = 300.0
_PASSED, _WARNED, _FAILED = CheckStatus.PASSED, CheckStatus.WARNED, CheckStatus.FAILED


class Validator:
    """One validation of one server.

    Args:
        caller: Asks it.
        url: Its address, for the report.
        windows: Real bars.
        task: What it is for; what ``/health`` says by default, else ``signal``.
        max_p95_ms: Longest 95th percentile of POST /infer.
        hear: Hears of each check as it ends.
    """

    def __init__(
        self,
        caller: Caller,
        url: str,
        windows: Windows,
        *,
        task: Task | None = None,
        max_p95_ms: float = MAX_P95_MS,
        hear: Callable[[ValidationCheck], object] = lambda _: None,
    ) -> None:
        self._caller, self._url, self._windows = caller, url, windows
        self._task, self._max_p95_ms, self._hear = task, max_p95_ms, hear
        self._checks: list[ValidationCheck] = []
        self._latency: LatencyFigures | None = None
        self._version: str | None = None

    def run(self) -> ValidationReport:
        """Makes all checks; the report is sealed."""
        facts = self._health()
        self._ready()
        self._routes()
        task = self._task or _task_of(facts)
        try:
            asked = questions(task, self._windows, _mapping(facts.get("facts")))
        except MarketplaceError as error:
            self._note("infer", _FAILED, "POST /infer", str(error), error.hint or "Give it bars that it can use.")
        else:
            self._about_infer(task, asked)
        return self._report(task)

    def _about_infer(self, task: Task, asked: Sequence[Document]) -> None:
        answers = self._good(task, asked)
        if answers:
            self._variety(answers)
            self._determinism(asked[0])
            self._time(asked)
            self._crowd(task, asked, answers)
        for case in edge_cases(task, asked[0]):
            self._edge(task, case)
        self._alive(asked[0], answers)

    def _health(self) -> Document:
        answer = self._caller.get("/health")
        fault = answer.fault(Health)
        mend = 'Answer GET /health with 200, application/json and {"status": "ok"} while the process lives.'
        self._judge("health", "GET /health", fault, "says ok", mend)
        return _mapping(answer.document)

    def _ready(self) -> None:
        answer = self._caller.get("/ready")
        fault = None if answer.status == 200 else f"answered {answer.told}"  # noqa: PLR2004 - OK
        mend = "Answer GET /ready with 200 once the model is loaded, with 503 before."
        self._judge("ready", "GET /ready", fault, "is ready", mend)

    def _routes(self) -> None:
        for method, path in (("GET", "/infer"), ("POST", "/health"), ("GET", "/no-such-route")):
            answer = self._caller.send(method, path, b"{}" if method == "POST" else None)
            fault = None if answer.is_refusal else f"answered {answer.told}"
            mend = "Answer 405 to a wrong method and 404 to a wrong path: a typo must not look like success."
            self._judge("routes", f"{method} {path}", fault, f"refused with {answer.status}", mend)

    def _good(self, task: Task, asked: Sequence[Document]) -> list[Document]:
        """Asks good questions; the answers if all were good."""
        answers: list[Document] = []
        faults: list[str] = []
        raised = False
        for at, question in enumerate(asked, 1):
            answer = self._caller.infer(question)
            fault = fault_of(task, question, answer)
            raised = raised or answer.status >= 500  # noqa: PLR2004 - the class of HTTP
            faults += [f"request {at}: {fault}"] if fault else []
            answers += [_mapping(answer.document)] if not fault else []
        told = f"{len(faults)} of {len(asked)} good requests were not answered; {faults[0]}" if faults else None
        fields = ", ".join(name for name, field in ANSWERS[task].model_fields.items() if field.is_required())
        mend = "Read the server's log: its handler raised." if raised else f"Answer with JSON that has {fields}."
        self._judge("infer", "POST /infer", told, f"{len(asked)} requests of real bars answered", mend)
        return [] if faults else answers

    def _variety(self, answers: Sequence[Document]) -> None:
        versions = {str(answer.get("model_version")) for answer in answers}
        self._version = min(versions)
        fault = f"one server gave {len(versions)} model versions" if len(versions) > 1 else None
        self._judge("version", "POST /infer", fault, f"is {self._version}", "Serve one model version at a time.")
        now = datetime.now(UTC)
        ages = [abs((now - datetime.fromisoformat(str(a["timestamp"]))).total_seconds()) for a in answers]
        late = f"a timestamp is {max(ages):.0f} s away from now" if max(ages) > _OLD_SECONDS else None
        mend = "Set timestamp to the moment of the answer, in UTC; check the server's clock."
        self._judge("clock", "POST /infer", late, "timestamps are of now", mend, _WARNED)
        if len(answers) > 1:
            same = all(not differences(answers[0], other) for other in answers[1:])
            what = f"gave {len(answers)} different inputs the very same answer" if same else None
            mend = "See that the bars reach the model: a constant answer scores as no skill."
            self._judge("variety", "POST /infer", what, "answers depend on the input", mend, _WARNED)

    def _determinism(self, question: Document) -> None:
        answers = [_mapping(self._caller.infer(question).document) for _ in range(3)]
        found = sorted({name for other in answers[1:] for name in differences(answers[0], other)})
        fault = f"the same request thrice gave different {', '.join(found)}" if found else None
        mend = "Seed or remove what is random, keep no state between requests; only timestamp may differ."
        self._judge("determinism", "POST /infer", fault, "the same request gave the same answer thrice", mend)

    def _time(self, asked: Sequence[Document]) -> None:
        taken = [self._caller.infer(asked[at % len(asked)]).seconds * 1e3 for at in range(_TIMED)]
        p50, p95 = (round(float(value), 3) for value in np.percentile(taken, [50, 95]))
        figures = {"p50_ms": p50, "p95_ms": p95, "max_ms": round(max(taken), 3), "limit_ms": self._max_p95_ms}
        self._latency = LatencyFigures(requests=_TIMED, **figures)
        told = f"p50 {p50:.1f} ms, p95 {p95:.1f} ms over {_TIMED} requests"
        fault = f"{told}; the limit is {self._max_p95_ms:g} ms" if p95 > self._max_p95_ms else None
        mend = "Load the model once, at the start; compute only the rows that the model looks at."
        self._judge("latency", "POST /infer", fault, told, mend)

    def _crowd(self, task: Task, asked: Sequence[Document], answers: Sequence[Document]) -> None:
        """Many at once must get what each got alone."""
        order = [at % len(asked) for at in range(2 * _AT_ONCE)]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            got = list(pool.map(lambda at: self._caller.infer(asked[at]), order))
        faults = [fault for at, one in zip(order, got, strict=True) if (fault := fault_of(task, asked[at], one))]
        mixed = [at for at, one in zip(order, got, strict=True) if differences(answers[at], _mapping(one.document))]
        fault = f"{len(faults)} of {len(order)} failed: {faults[0]}" if faults else None
        fault = fault or (f"{len(mixed)} of {len(order)} got another answer than alone" if mixed else None)
        mend = "Share no mutable state between requests; guard what is not safe in threads with a lock."
        where = f"POST /infer ({_AT_ONCE} at once)"
        self._judge("concurrency", where, fault, f"{len(order)} requests got the answers they get alone", mend)

    def _edge(self, task: Task, case: Case) -> None:
        answer = self._caller.send("POST", "/infer", case.body, case.content_type)
        found = verdict_of(task, case, answer)
        self._note("edge", found.status, f"POST /infer ({case.name})", found.what, found.mend)

    def _alive(self, question: Document, answers: Sequence[Document]) -> None:
        health, again = self._caller.get("/health"), self._caller.infer(question)
        fault = health.fault(Health)
        if fault is None and answers and differences(answers[0], _mapping(again.document)):
            fault = "gives another answer to the first request than before the bad ones"
        mend = "No request may change or end the server: catch what a handler raises, keep no state."
        self._judge("survival", "GET /health", fault, "lives, and answers as before", mend)

    def _judge(
        self, name: str, where: str, fault: str | None, good: str, mend: str, bad: CheckStatus = _FAILED
    ) -> None:
        if fault is None:
            self._note(name, _PASSED, where, good)
        else:
            self._note(name, bad, where, fault, mend)

    def _note(self, name: str, status: CheckStatus, where: str, what: str, mend: str | None = None) -> None:
        check = ValidationCheck(name=name, status=status, where=where, what=what, mend=mend)
        self._checks.append(check)
        self._hear(check)

    def _report(self, task: Task) -> ValidationReport:
        return ValidationReport(
            task=task,
            model_version=self._version,
            server=_public(self._url),
            bars=self._windows.label,
            contracts_version=CONTRACTS_VERSION,
            code_version=__version__,
            checked_at=datetime.now(UTC),
            checks=self._checks,
            latency=self._latency,
            passed=all(check.status is not _FAILED for check in self._checks),
        ).sealed()


def _task_of(facts: Mapping[str, Any]) -> Task:
    said = facts.get("task")
    return Task(said) if said in {task.value for task in Task} else Task.SIGNAL


def _mapping(value: Any) -> Document:
    return value if isinstance(value, dict) else {}


def _public(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path.rstrip('/')}"

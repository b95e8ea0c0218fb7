"""The card of a run: one piece of plain HTML, readable on light and dark, everything escaped.

It works without scripts, style sheets and widgets, because saved notebooks and mail show none of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from mp_kit.client import html
from mp_kit.client import run_words as words
from mp_kit.contracts.training import TrainingRun

__all__ = ["card", "measured"]

GREEN, RED, BLUE, AMBER, GREY = "#2da44e", "#e5534b", "#4493f8", "#c69026", "#8b949e"
COLOURS: Mapping[str, str] = {
    "queued": AMBER,
    "running": BLUE,
    "succeeded": GREEN,
    "failed": RED,
    "cancelled": GREY,
}
"""By status; each is readable upon white and upon black."""

MOST_METRICS = 12
_NARROW = "padding:1px 14px 1px 0;text-align:left;vertical-align:middle;border:0"
_BOX = "width:46em;max-width:100%;box-sizing:border-box"
_NUMBER = "font-variant-numeric:tabular-nums"


def card(run: TrainingRun, log: Iterable[str] = (), note: str = "", now: datetime | None = None) -> str:
    """Draws the card.

    Args:
        run: As last seen.
        log: The tail of its log.
        note: A sentence for its foot.
        now: An aware instant, for the times that are left.
    """
    now = now or datetime.now(UTC)
    lines = list(log)
    parts = [
        _head(run),
        _bar(run, now),
        _facts(_told(run, now)),
        _alert(run.failure) if run.failure else "",
        _metrics(run),
        html.log_lines(lines, "12em") if lines else "",
        f'<div style="margin-top:6px;opacity:.75"><i>{escape(note)}</i></div>' if note else "",
    ]
    return f'<div style="{html.FRAME};{_BOX}">{"".join(parts)}</div>'


def measured(run: TrainingRun) -> dict[str, Any]:
    """The metrics that are one value; histories and the like are for plots."""
    return {name: value for name, value in run.metrics.items() if not isinstance(value, (list, dict))}


def _head(run: TrainingRun) -> str:
    colour = COLOURS[run.status.value]
    pill = (
        f"display:inline-block;padding:0 8px;border-radius:9px;color:{colour};border:1px solid {colour};"
        "font-weight:600;font-size:90%"
    )
    return (
        f'<div style="margin-bottom:6px"><b>Run {escape(run.run_id)}</b>&ensp;'
        f'<span style="{pill}">{escape(run.status.value)}</span>&ensp;{escape(words.doing(run))}</div>'
    )


def _bar(run: TrainingRun, now: datetime) -> str:
    """The steps as a bar; nothing where the job told none."""
    said, done = words.progress(run), words.share(run)
    if said is None:
        return ""
    left = words.time_left(run, now)
    label = [said, *([] if done is None else [f"{done:.0%}"])]
    label += [] if left is None else [f"about {words.duration(left)} left"]
    inner = "" if done is None else f'<div style="width:{done:.1%};height:100%;background:{_colour(run)}"></div>'
    trough = "height:6px;border-radius:3px;overflow:hidden;background:color-mix(in srgb,currentColor 15%,transparent)"
    return (
        f'<div style="margin:4px 0 8px"><div style="{trough}">{inner}</div>'
        f'<div style="{_NUMBER};opacity:.85">{escape(" · ".join(label))}</div></div>'
    )


def _colour(run: TrainingRun) -> str:
    return COLOURS[run.status.value]


def _told(run: TrainingRun, now: datetime) -> dict[str, Any]:
    took = run.finished_at - run.started_at if run.finished_at and run.started_at else None
    return {
        "cost": words.cost(run),
        "deadline": words.until(run, now),
        "machine": f"{run.machine} on {run.provider.value}" if run.machine else run.provider,
        "task": f"{run.task.value} on {run.round_id}" if run.task and run.round_id else run.task,
        "started": run.started_at,
        "finished": run.finished_at
        and html.text(run.finished_at) + (f", after {words.duration(took)}" if took else ""),
        "files": [file.name for file in run.artifacts.files or ()] or None,
        "pushed to": run.artifacts.hf_repo,
    }


def _facts(facts: Mapping[str, Any]) -> str:
    rows = "".join(
        f'<tr style="background:transparent"><td style="{_NARROW};opacity:.7;white-space:nowrap">{escape(name)}</td>'
        f'<td style="{_NARROW};{_NUMBER}">{escape(html.text(value))}</td></tr>'
        for name, value in facts.items()
        if html.text(value)
    )
    return f'<table style="{html.TABLE}">{rows}</table>'


def _alert(failure: str) -> str:
    style = f"border-left:3px solid {RED};padding:2px 10px;margin:6px 0;white-space:pre-wrap;overflow-wrap:anywhere"
    return f'<div style="{style}">{escape(failure)}</div>'


def _metrics(run: TrainingRun) -> str:
    """The last values: first those that have a history, with their curves, then the others."""
    curves, values = words.history(run), measured(run)
    drawn = [name for name in curves if name in values][:MOST_METRICS]
    rest = [name for name in values if name not in curves][: MOST_METRICS - len(drawn)]
    rows = "".join(_curve(name, values[name], [value for _, value in curves[name]]) for name in drawn)
    more = len(values) - len(drawn) - len(rest)
    facts = {name.replace("_", " "): values[name] for name in rest} | ({"and": f"{more} more"} if more > 0 else {})
    return (f'<table style="{html.TABLE};margin-top:6px">{rows}</table>' if rows else "") + (
        f'<div style="margin-top:6px">{_facts(facts)}</div>' if facts else ""
    )


def _curve(name: str, value: Any, points: Sequence[float]) -> str:
    return (
        f'<tr style="background:transparent"><td style="{_NARROW};opacity:.7">{escape(name.replace("_", " "))}</td>'
        f'<td style="{_NARROW};{_NUMBER}">{escape(html.text(value))}</td>'
        f'<td style="{_NARROW}">{html.sparkline(points, name)}</td></tr>'
    )

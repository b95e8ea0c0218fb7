"""Reading the form that orders a run: what was typed becomes a request, or a sentence at each field. Pure.

1. What was typed is kept as it was typed, whatever is wrong with it.
2. Hyperparameters are judged by the trainers themselves: what a job would refuse in an hour is refused here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from mp_kit.contracts import Task
from mp_kit.contracts.training import HyperParam, Provider, TrainingRequest
from mp_kit.errors import InvalidInputError
from mp_kit.trainer.orders import check_hyperparams

__all__ = ["FIELDS", "Order", "read"]

FIELDS = ("round_id", "task", "hyperparams", "provider", "gpu", "max_hours", "max_cost_usd", "hf_repo_id", "wandb",
          "wandb_project")  # fmt: skip
_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_.\-]{0,99}$")
_REPO = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._\-]*/[A-Za-z0-9][A-Za-z0-9._\-]*$")
_MOST_LINES = 100
_MOST_CHARS = {"hyperparams": 20_000}
_CHARS = 200
_PLACES = {"budget": "max_cost_usd", "spec": "round_id"}


@dataclass
class Order:
    """A form as it was sent.

    Args:
        typed: What stands in each field.
        errors: A sentence per field that is wrong.
        request: What is ordered, if nothing is wrong.
    """

    typed: Mapping[str, str]
    errors: dict[str, str] = field(default_factory=dict)
    request: TrainingRequest | None = None


def read(form: Mapping[str, str]) -> Order:
    """Reads a form.

    Args:
        form: Fields as a browser sends them; what is missing is empty.
    """
    order = Order({name: form.get(name, "").replace("\0", "") for name in FIELDS})
    said = {name: text.strip() for name, text in order.typed.items()}
    for name, text in said.items():
        if len(text) > _MOST_CHARS.get(name, _CHARS):
            order.errors[name] = f"It has {len(text):,} characters; {_MOST_CHARS.get(name, _CHARS):,} are the most."
    if order.errors:
        return order
    if not said["round_id"]:
        order.errors["round_id"] = "Choose a round."
    task = _choice(order, "task", said, list(Task))
    _choice(order, "provider", said, list(Provider))
    hours = _bound(order, "max_hours", said, 8_760.0)
    usd = _bound(order, "max_cost_usd", said, 1_000_000.0)
    params = _hyperparams(order, said["hyperparams"], Task(task) if task else None)
    if said["hf_repo_id"] and not _REPO.match(said["hf_repo_id"]):
        order.errors["hf_repo_id"] = "It is an owner and a name with a slash between them, such as ann/eurusd-trend."
    if said["wandb_project"] and not said["wandb"]:
        order.errors["wandb_project"] = "A project is named, but logging there is not ticked."
    if not order.errors:
        _build(order, said, {"max_hours": hours, "max_cost_usd": usd}, params)
    return order


def _build(
    order: Order, said: Mapping[str, str], budget: Mapping[str, float | None], params: Mapping[str, HyperParam]
) -> None:
    wanted = {
        "round_id": said["round_id"],
        "task": said["task"],
        "provider": said["provider"],
        "hyperparams": params,
        "gpu": said["gpu"] or None,
        "hf_repo_id": said["hf_repo_id"] or None,
        "wandb": {"enabled": bool(said["wandb"]), "project": said["wandb_project"] or None},
        "budget": budget,
    }
    try:
        order.request = TrainingRequest.model_validate(wanted)
    except ValidationError as error:
        for found in error.errors(include_url=False):
            place = [str(part) for part in found["loc"]]
            name = next((part for part in reversed(place) if part in FIELDS), _PLACES.get(place[0], "round_id"))
            order.errors[name] = f"{found['msg']}."


def _choice(order: Order, name: str, said: Mapping[str, str], known: list[str]) -> str | None:
    if said[name] in known:
        return said[name]
    order.errors[name] = f"Choose one of {', '.join(known)}."
    return None


def _bound(order: Order, name: str, said: Mapping[str, str], most: float) -> float | None:
    if not said[name]:
        return None
    try:
        value = float(said[name])
    except ValueError:
        order.errors[name] = "It must be a number, such as 2.5."
        return None
    if not math.isfinite(value) or not 0 < value <= most:
        order.errors[name] = f"It must be above 0 and at most {most:,.0f}."
        return None
    return value


def _hyperparams(order: Order, typed: str, task: Task | None) -> dict[str, HyperParam]:
    found: dict[str, HyperParam] = {}
    lines = [(number, line.strip()) for number, line in enumerate(typed.splitlines(), 1) if line.strip()]
    problem = f"There are {len(lines)} lines; {_MOST_LINES} are the most." if len(lines) > _MOST_LINES else ""
    for number, line in lines if not problem else []:
        name, equals, value = (part.strip() for part in line.partition("="))
        if not equals or not _NAME.match(name) or not value:
            problem = f"Line {number}, {line[:60]!r}, is not of the form name=value, such as epochs=12."
        elif name in found:
            problem = f"Line {number} names {name} a second time."
        if problem:
            break
        found[name] = _value(value)
    problem = problem or (_judged(task, found) if task is not None else "")
    if problem:
        order.errors["hyperparams"] = problem
    return found


def _value(text: str) -> HyperParam:
    """Numbers and true/false become what they look like, as ``mp train start --hp`` reads them."""
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        return number if math.isfinite(number) else text
    known: Mapping[str, bool] = {"true": True, "false": False}
    return known.get(text.lower(), text)


def _judged(task: Task, given: Mapping[str, HyperParam]) -> str:
    """What the reference trainer of a task says against the hyperparameters; empty if nothing."""
    try:
        check_hyperparams(task, given)
    except InvalidInputError as error:
        return f"{error.message} {error.hint}".strip()
    return ""

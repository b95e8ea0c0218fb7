"""Turns findings of pydantic into our own error, without repeating what was typed (it may be a secret)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from mp_kit.errors import InvalidInputError


def findings(error: ValidationError, *before: str | int) -> list[dict[str, Any]]:
    """The findings as ``{loc, msg}``."""
    return [
        {"loc": [*before, *finding["loc"]], "msg": finding["msg"].removeprefix("Value error, ")}
        for finding in error.errors(include_url=False, include_input=False)
    ]


def invalid(what: str, error: ValidationError) -> InvalidInputError:
    """The error that names all findings, the first in its sentence."""
    details = findings(error)
    place = ".".join(str(part) for part in details[0]["loc"]) or "as a whole"
    return InvalidInputError(f"{what} breaks the contract: {place}: {details[0]['msg']}.", details=details)


def invalid_choice(what: str, given: str, choices: Sequence[str]) -> InvalidInputError:
    """The error for a word that is none of a few."""
    return InvalidInputError(f"{given!r} is no {what}.", hint=f"It is one of {', '.join(choices)}.")

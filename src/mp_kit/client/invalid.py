"""Turns findings of pydantic into our own error, without repeating what was typed (it may be a secret)."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
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


def one_of(what: str, given: str | None, choices: type[StrEnum]) -> str | None:
    """The given word, as the contract has it; None where none was given.

    Raises:
        InvalidInputError: It is none of them, which are named.
    """
    if given is not None and given not in [*choices]:
        raise invalid_choice(what, str(given), [*choices])
    return given


def check_keywords(called: str, given: Iterable[str], taker: Callable[..., Any]) -> None:
    """Refuses keywords that a method would hand on in vain.

    Args:
        called: The method that was called, for people.
        given: The keywords.
        taker: The method that takes them.

    Raises:
        TypeError: One is unknown; the nearest one and all that there are are named, as of the method that was called.
    """
    known = [name for name, one in inspect.signature(taker).parameters.items() if one.kind is one.KEYWORD_ONLY]
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            meant = f" Did you mean {near[0]}=?" if near else ""
            raise TypeError(f"{called} takes no keyword {name!r}.{meant} It takes: {', '.join(known)}.")


def invalid_choice(what: str, given: str, choices: Sequence[str]) -> InvalidInputError:
    """The error for a word that is none of a few."""
    return InvalidInputError(f"{given!r} is no {what}.", hint=f"It is one of {', '.join(choices)}.")

"""Forms of a vendor's pages: what was typed, and at which field an error stands."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from pydantic import ValidationError

from mp_kit.errors import MarketplaceError

__all__ = ["blamed", "faults", "typed"]


def typed(form: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    """What stands in each field; what is missing is empty."""
    return {name: form.get(name, "").replace("\0", "") for name in names}


def faults(error: ValidationError, fields: Mapping[str, str]) -> dict[str, str]:
    """A sentence per field that breaks the contract.

    Args:
        error: Of the contract.
        fields: Of the form, by the contract's names; whatever has none of them stands at the field of the empty name.
    """
    found: dict[str, str] = {}
    for one in error.errors(include_url=False):
        said = one["msg"].removeprefix("Value error, ")
        place = _place([*one["loc"][:1], _first_word(said)], fields)
        found.setdefault(place, f"{said[:1].upper()}{said[1:]}.")
    return found


def blamed(error: MarketplaceError, fields: Mapping[str, str]) -> dict[str, str]:
    """The field that a service's refusal is about, and the sentence: its details name it, else its first word does.

    Args:
        error: The refusal.
        fields: As for :func:`faults`.
    """
    named = [part for one in error.details for part in one.get("loc", [])]
    place = _place([*named, _first_word(error.message)], fields)
    return {place: " ".join(part for part in (error.message, error.hint) if part)}


def _place(names: Iterable[object], fields: Mapping[str, str]) -> str:
    return next((fields[name] for name in names if isinstance(name, str) and name in fields), fields[""])


def _first_word(said: str) -> str:
    return said.partition(" ")[0].rstrip(":")

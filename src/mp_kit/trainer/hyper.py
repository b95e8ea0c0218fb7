"""Reading hyperparameters: what is unknown or out of bounds fails the run before anything is learned."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from mp_kit.contracts.training import HyperParam
from mp_kit.errors import InvalidInputError

__all__ = ["read_hyperparams"]

Params = TypeVar("Params", bound=BaseModel)


def read_hyperparams(
    kind: type[Params],
    given: Mapping[str, HyperParam],
    *,
    defaults: Mapping[str, HyperParam] | None = None,
    allowed: Collection[str] | None = None,
) -> Params:
    """Checks what was ordered, and fills in what was not.

    Args:
        kind: The model whose fields are the hyperparameters.
        given: What was ordered, by name.
        defaults: Values where nothing was ordered, before those of ``kind``.
        allowed: The names that mean something here; all fields of ``kind`` by default.

    Raises:
        InvalidInputError: A name is unknown or a value is out of its bounds; the message names it.
    """
    known = list(kind.model_fields) if allowed is None else [name for name in kind.model_fields if name in allowed]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise InvalidInputError(
            f"Hyperparameter {', '.join(unknown)} is not known here.", hint=f"Use some of {', '.join(known)}."
        )
    try:
        return kind.model_validate({**(defaults or {}), **given})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "set"
        raise InvalidInputError(f"Hyperparameter {name} = {first['input']!r}: {first['msg']}.") from None

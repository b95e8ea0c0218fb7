"""Forms in Prefect's pages: fields in the order in which a person thinks of them.

The schema of a flow's parameter is stored as a JSON document, which forgets the order of its keys; the pages go by
``position``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["in_order"]


def in_order(*first: str) -> Callable[[dict[str, Any]], None]:
    """For ``json_schema_extra`` of a model: numbers its fields.

    Args:
        *first: Fields that come first; the others follow in the model's own order.
    """

    def number(schema: dict[str, Any]) -> None:
        fields = schema.get("properties", {})
        names = [*(name for name in first if name in fields), *(name for name in fields if name not in first)]
        for position, name in enumerate(names):
            fields[name]["position"] = position

    return number

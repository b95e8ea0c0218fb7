"""Named SQL: the statements that carry a guarantee or read a whole page lie in ``sql/*.sql``.

A block begins with ``-- name: NAME`` and a line that says what it does.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

_MARK = "-- name: "


@cache
def _load() -> dict[str, str]:
    blocks: dict[str, str] = {}
    for file in sorted((files("mp_kit.server.store") / "sql").iterdir(), key=lambda item: item.name):
        for block in file.read_text(encoding="utf-8").split(_MARK)[1:]:
            name, _, body = block.partition("\n")
            blocks[name.strip()] = body.strip().rstrip(";")
    return blocks


def named(name: str) -> str:
    """The statement of that name; KeyError when no file has it."""
    return _load()[name]

"""What the operator's commands share: their options, the way into the marketplace, and how instants look."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mp_kit.server.house import House

ACTOR = "operator:cli"

Home = Annotated[Path | None, typer.Option("--home", help="The marketplace's folder; MP_HOME, else your data folder.")]
Vendor = Annotated[str, typer.Argument(metavar="VENDOR", help="Its id or its name.")]


@contextmanager
def open_house(home: Path | None) -> Iterator[House]:
    """The marketplace for the length of a block; imports the server only now."""
    from mp_kit.server.wiring import open_house as open_it

    with open_it(home) as house:
        yield house


def instant(value: datetime) -> str:
    """As on the wire: RFC 3339 in UTC with Z."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")

"""What the client returns: frozen values that read well in a shell and in a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

from pydantic import BaseModel

from mp_kit.client import html
from mp_kit.client.invalid import invalid_choice

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
WIDEST_CELL = 60
_widest: ContextVar[int | None] = ContextVar("widest", default=WIDEST_CELL)
MOST_LINES, MOST_ROWS = 60, 100
"""So many rows does a table show unasked, as text and as HTML."""
MIB = 1024 * 1024


class Shown:
    """Mix-in: a plain repr and an HTML one out of a title and facts; the facts of a contract are its fields."""

    def _title(self) -> str:
        return type(self).__name__.removesuffix("View")

    def _facts(self) -> Mapping[str, Any]:
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def __repr__(self) -> str:
        said = {name.replace("_", " "): html.text(value) for name, value in self._facts().items()}
        facts = {name: value for name, value in said.items() if value}
        width = max(map(len, facts), default=0)
        return "\n".join([self._title(), *(f"  {name:<{width}}  {value}" for name, value in facts.items())])

    def __str__(self) -> str:
        return repr(self)

    def _repr_html_(self) -> str:
        return html.card(self._title(), self._facts())


class Rows(Sequence[T], Generic[T]):
    """A read-only list that shows itself as a table.

    Args:
        items: The things.
        title: What they are.
        columns: Which of their fields are shown.
    """

    def __init__(self, items: Sequence[T], title: str, columns: Sequence[str]) -> None:
        self._items = tuple(items)
        self._name = title
        self._columns = tuple(columns)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def rows(self) -> list[dict[str, Any]]:
        """The shown fields of each thing.

        Example:
            >>> m.rounds.list().rows()
        """
        return [{name: _field(item, name) for name in self._columns} for item in self._items]

    def to_pandas(self) -> pd.DataFrame:
        """All fields, one row per thing.

        Example:
            >>> m.rounds.list().to_pandas()
        """
        import pandas as pd

        return pd.DataFrame([item.model_dump() if isinstance(item, BaseModel) else vars(item) for item in self._items])

    def sort(self, column: str, *, reverse: bool = False) -> Self:
        """The same rows in another order; what has no value comes last either way.

        Args:
            column: One of the shown columns, or another field of the things.
            reverse: The largest first.

        Raises:
            InvalidInputError: There is no such column.

        Example:
            >>> m.rounds.list().sort("created_at", reverse=True)
        """
        known = dict.fromkeys([*self._columns, *(name for item in self._items[:1] for name in _names(item))])
        if column not in known:
            raise invalid_choice("column of this table", column, list(known))
        valued = [(self._value(item, column), item) for item in self._items]
        there = [(_orderable(value), item) for value, item in valued if value is not None]
        there.sort(key=lambda pair: pair[0], reverse=reverse)
        absent = [item for value, item in valued if value is None]
        return type(self)([*(item for _, item in there), *absent], self._name, self._columns)

    def text(self) -> str:
        """All rows as a table of text; ``repr`` shows the first ones only.

        Example:
            >>> print(m.rounds.list().text())
        """
        return plain_table(self.rows(), self._columns) if self._items else f"{self._name}: none"

    def _value(self, item: T, column: str) -> Any:
        return _field(item, column)

    def _more(self, most: int) -> str:
        hidden = len(self) - most
        return f"{hidden:,} more rows: .text(), .to_pandas()" if hidden > 0 else ""

    def __repr__(self) -> str:
        more = self._more(MOST_LINES)
        return f"{plain_table(self.rows()[:MOST_LINES], self._columns)}\n{more}" if more else self.text()

    def _repr_html_(self) -> str:
        more = self._more(MOST_ROWS)
        below = f'<p style="opacity:.7">{more}</p>' if more else ""
        return html.table(self.rows()[:MOST_ROWS], self._columns, self._name, sorts=True) + below


def _names(item: Any) -> Iterable[str]:
    return item if isinstance(item, Mapping) else type(item).model_fields if isinstance(item, BaseModel) else ()


def _orderable(value: Any) -> Any:
    """A value that can be compared with others of its column."""
    return value if isinstance(value, (int, float, datetime)) else html.text(value)


def _field(item: Any, name: str) -> Any:
    return item.get(name) if isinstance(item, Mapping) else getattr(item, name, None)


def plain_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """A table of text, columns aligned, long cells cut, except :func:`uncut`."""
    cells = [[name.replace("_", " ") for name in columns]]
    cells += [[_cut(html.text(row.get(name))) for name in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    return "\n".join("  ".join(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True)).rstrip() for line in cells)


@contextmanager
def uncut() -> Iterator[None]:
    """Tables in the block are for programs: their cells are whole."""
    kept = _widest.set(None)
    try:
        yield
    finally:
        _widest.reset(kept)


def _cut(cell: str) -> str:
    flat, widest = " ".join(cell.split()), _widest.get()
    return flat if widest is None or len(flat) <= widest else flat[: widest - 1] + "…"


def counted(count: int, thing: str) -> str:
    """So many things, in words: ``1 signal``, ``2,000 signals``."""
    return f"{count:,} {thing}" + ("" if count == 1 else "s")


def size(count: int) -> str:
    """Bytes in words."""
    return f"{count / MIB:.1f} MiB" if count >= MIB else f"{count:,} bytes"

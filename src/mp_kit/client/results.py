"""What the client returns: frozen values that read well in a shell and in a notebook."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from pydantic import BaseModel

from mp_kit.client import html

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
WIDEST_CELL = 60
MIB = 1024 * 1024


class Shown:
    """Mix-in: a plain repr and an HTML one out of a title and facts."""

    def _title(self) -> str:
        return type(self).__name__

    def _facts(self) -> Mapping[str, Any]:
        raise TypeError(f"{type(self).__name__} states no facts")

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
        """The shown fields of each thing."""
        return [{name: _field(item, name) for name in self._columns} for item in self._items]

    def to_pandas(self) -> pd.DataFrame:
        """All fields, one row per thing."""
        import pandas as pd

        return pd.DataFrame([item.model_dump() if isinstance(item, BaseModel) else vars(item) for item in self._items])

    def __repr__(self) -> str:
        return plain_table(self.rows(), self._columns) if self._items else f"{self._name}: none"

    def _repr_html_(self) -> str:
        return html.table(self.rows(), self._columns, self._name)


def _field(item: Any, name: str) -> Any:
    return item.get(name) if isinstance(item, Mapping) else getattr(item, name, None)


def plain_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """A table of text, columns aligned, long cells cut."""
    cells = [[name.replace("_", " ") for name in columns]]
    cells += [[_cut(html.text(row.get(name))) for name in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    return "\n".join("  ".join(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True)).rstrip() for line in cells)


def _cut(cell: str) -> str:
    flat = " ".join(cell.split())
    return flat if len(flat) <= WIDEST_CELL else flat[: WIDEST_CELL - 1] + "…"


def size(count: int) -> str:
    """Bytes in words."""
    return f"{count / MIB:.1f} MiB" if count >= MIB else f"{count:,} bytes"

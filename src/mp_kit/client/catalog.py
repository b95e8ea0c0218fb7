"""The public catalogue of models."""

from __future__ import annotations

import builtins

from mp_kit.client.desk import Keyed, names_of, the_one
from mp_kit.client.http import Api
from mp_kit.client.results import Rows
from mp_kit.client.views import CatalogView
from mp_kit.errors import NotFoundError

CATALOG = "/api/catalog"
_COLUMNS = (
    "name",
    "vendor",
    "task",
    "stage",
    "status",
    "total_predictions",
    "avg_confidence",
    "sharpe",
    "hit_rate",
)


class Catalog(Keyed):
    """The public catalogue of models in pilot or production.

    Example:
        >>> m.catalog.list().sort("sharpe", reverse=True)
    """

    def __init__(self, api: Api) -> None:
        self._api = api

    def __repr__(self) -> str:
        return f"Catalogue of {self._api.base_url}: list(), find(name)"

    def __call__(self) -> Rows[CatalogView]:
        """As :meth:`list`."""
        return self.list()

    def __getitem__(self, model: str) -> CatalogView:
        return self.find(model)

    def _names(self, api: Api) -> builtins.list[str]:
        return names_of(api.get(builtins.list[CatalogView], CATALOG), "name")

    def list(self) -> Rows[CatalogView]:
        """All models in pilot or production, with their scores; ``m.catalog()`` is the same.

        Example:
            >>> m.catalog()
        """
        return Models(self._api.get(builtins.list[CatalogView], CATALOG), "Catalogue", _COLUMNS)

    def find(self, model: str) -> CatalogView:
        """A model by its name or id.

        Raises:
            NotFoundError: There is none in pilot or production.

        Example:
            >>> m.catalog.find("trend")
        """
        found: CatalogView | None = the_one(self.list(), model, "name", "id")
        if found is None:
            raise NotFoundError(f"The catalogue has no model {model!r}.", hint="See all: m.catalog.list()")
        return found


class Models(Rows[CatalogView]):
    """The catalogue as a table."""

    def _value(self, item: CatalogView, column: str) -> object:
        found = getattr(item, column, None)
        return getattr(found, "value", found) if column in {"sharpe", "hit_rate"} else found

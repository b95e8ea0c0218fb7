"""How the fake finds what answers a request: a table of methods and paths, and who may call each."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar

import httpx
import pyarrow as pa

from mp_kit import errors
from mp_kit.contracts import Model

T = TypeVar("T", bound=Model)
_JSON = frozenset({"", "application/json", "application/x-www-form-urlencoded"})
_NDJSON = "application/x-ndjson"
_ARROW = "application/vnd.apache.arrow.stream"


class Who(Enum):
    """Who may call a route."""

    EVERYBODY = "everybody"
    VENDOR = "vendor"
    DEPLOYMENT = "deployment"
    EITHER = "either"


@dataclass(frozen=True)
class Bearer:
    """Whom a token speaks for; a vendor where there is no deployment.

    Args:
        vendor_id: The vendor.
        deployment_id: The deployment.
        model_id: The model that it serves.
        symbols: The only ones that it may speak of; any when None.
    """

    vendor_id: str = ""
    deployment_id: str | None = None
    model_id: str | None = None
    symbols: Sequence[str] | None = None


@dataclass(frozen=True)
class Asked:
    """A request on its way to its route.

    Args:
        request: As it came.
        who: Who sent it.
        names: What stands in place of the braces of the route's path.
    """

    request: httpx.Request
    who: Bearer
    names: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> str:
        return self.names[name]

    def query(self, name: str, default: str | None = None) -> Any:
        """A parameter of the query."""
        return self.request.url.params.get(name, default)

    def says(self, name: str) -> bool:
        """Whether a parameter of the query is ``true``."""
        return bool(self.query(name) == "true")

    def json(self) -> Any:
        """The body."""
        return _parse(self.request.content)

    def read(self, contract: type[T]) -> T:
        """The body as a contract."""
        return contract.model_validate(self.json())

    def rows(self, *, arrow: bool) -> list[Any]:
        """The rows of a body: JSON, one document a line, or an Arrow stream where the route takes it."""
        kind = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        body = self.request.content
        if kind in _JSON:
            found = _parse(body)
            if not isinstance(found, dict | list):
                raise errors.InvalidInputError("Rows come as a list of objects.")
            return found if isinstance(found, list) else [found]
        if kind == _NDJSON:
            return [_parse(line) for line in body.splitlines() if line.strip()]
        if kind == _ARROW and arrow:
            return _arrow(body)
        raise errors.UnsupportedMediaError(f"This route does not take {kind}.")


@dataclass(frozen=True)
class Route:
    """A method and a path, names in braces.

    Args:
        method: Of HTTP.
        path: Such as ``/api/deployments/{deployment_id}``.
        answer: What it gives: contracts, plain JSON, or a whole response.
        who: Who may call it.
    """

    method: str
    path: str
    answer: Callable[[Asked], Any]
    who: Who = Who.VENDOR

    def match(self, path: str) -> dict[str, str] | None:
        """What stands in place of the braces; None where the path is another."""
        found = re.fullmatch(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path), path)
        return None if found is None else found.groupdict()


def find(routes: Sequence[Route], method: str, path: str) -> tuple[Route, dict[str, str]]:
    """The route of a request, the first that fits.

    Raises:
        RouteNotFoundError: No route has this path.
        MethodNotAllowedError: None has it with this method.
    """
    fitting = [(route, names) for route in routes if (names := route.match(path)) is not None]
    for route, names in fitting:
        if route.method == method:
            return route, names
    if fitting:
        raise errors.MethodNotAllowedError(f"{path} does not take {method}.")
    raise errors.RouteNotFoundError(f"No route {method} {path}.")


def _parse(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise errors.MalformedJsonError("The body is no JSON.") from None


def _arrow(body: bytes) -> list[Any]:
    try:
        with pa.ipc.open_stream(body) as reader:
            rows: list[Any] = reader.read_all().to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise errors.MalformedJsonError(f"The body is no Arrow stream: {error}.") from None
    return [{name: value for name, value in row.items() if value is not None} for row in rows]

"""``mp health`` and ``mp catalog``: what anybody may see."""

from __future__ import annotations

from mp_kit.cli.output import Json, emit
from mp_kit.cli.session import session


def health(json: Json = False) -> None:
    """Shows how the marketplace is."""
    found = session().health()
    emit(found, as_json=json, text=f"{found.status}  {found.service} {found.version}")


def catalog(json: Json = False) -> None:
    """Lists the models in pilot or production."""
    emit(session().catalog(), as_json=json)

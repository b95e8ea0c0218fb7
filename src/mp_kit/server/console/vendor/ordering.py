"""Ordering a run: the form, its estimate, and the order itself, which stays one however often it is sent.

1. The form bears a random key; the same form sent again is the same run, and no second one.
2. An estimate orders and reserves nothing.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from litestar import Response, get, post

from mp_kit.contracts import Task
from mp_kit.contracts.estimates import Estimate
from mp_kit.contracts.training import TrainingRequest, TrainingRun
from mp_kit.errors import (
    BudgetError,
    CredentialError,
    IdempotencyError,
    InvalidInputError,
    MarketplaceError,
    NotFoundError,
    ProviderError,
)
from mp_kit.server import clock
from mp_kit.server.console.pages import page, redirect
from mp_kit.server.console.vendor.orders import FIELDS, Order, read
from mp_kit.server.console.vendor.training import TRAINING
from mp_kit.server.console.visits import AnyRequest, TheForm, TheHouse, TheVisit, Visit, signed_in, vendor_of
from mp_kit.server.house import House
from mp_kit.server.services import connections, estimates, money, rounds, runs

NEW = f"{TRAINING}/new"
_KEY = re.compile(r"^[A-Za-z0-9_\-]{16,64}$")
_ROUNDS = 50
_FIRST = {"task": "signal", "max_hours": "2"}
_WHERE: Mapping[type[MarketplaceError], str] = {
    NotFoundError: "round_id",
    BudgetError: "max_cost_usd",
    CredentialError: "provider",
    ProviderError: "gpu",
    InvalidInputError: "provider",
}
"""Beside which field a refusal is shown."""


@get(NEW, guards=[signed_in], sync_to_thread=True, include_in_schema=False)
def new_run(house: TheHouse, visit: TheVisit, request: AnyRequest) -> Response[bytes]:
    """The empty form; fields may be given in the address."""
    typed = _FIRST | {"provider": _first_provider(house)}
    typed |= {name: request.query_params.get(name, "")[:200] for name in FIELDS if name in request.query_params}
    return _form(house, visit, Order({name: typed.get(name, "") for name in FIELDS}), key=_new_key())


@post(NEW, guards=[signed_in], sync_to_thread=True, include_in_schema=False, status_code=200)
def order_run(house: TheHouse, visit: TheVisit, form: TheForm) -> Response[bytes]:
    """Orders the run, or shows what it would cost; what is wrong is said at its field, and what was typed stays."""
    order, key = read(form), form.get("key", "")
    key = key if _KEY.match(key) else _new_key()
    if order.request is None:
        return _form(house, visit, order, key=key, status=422)
    try:
        if form.get("do") != "order":
            return _form(house, visit, order, key=key, estimate=_estimate(house, visit, order.request))
        run = _order(house, visit, order.request, key)
    except IdempotencyError as error:
        problem = f"{error.message} Send it once more to order another run."
        return _form(house, visit, order, key=_new_key(), problem=problem, status=error.http)
    except tuple(_WHERE) as error:
        _blame(order, error)
        return _form(house, visit, order, key=key, status=error.http)
    return redirect(visit, f"{TRAINING}/{quote(run.run_id, safe='')}", say="The run is ordered.")


def _order(house: House, visit: Visit, wanted: TrainingRequest, key: str) -> TrainingRun:
    with house.db.begin() as tx:
        return runs.create(
            tx,
            vendor_of(visit),
            wanted,
            idempotency_key=f"console:{key}",
            now=clock.now(),
            providers=house.providers,
        )


def _estimate(house: House, visit: Visit, wanted: TrainingRequest) -> Estimate:
    with house.db.begin() as tx:
        rounds.get(tx, wanted.round_id)
    return estimates.estimate(house.db, house.providers, vendor_of(visit), wanted, now=clock.now())


def _blame(order: Order, error: MarketplaceError) -> None:
    place = next(name for kind, name in _WHERE.items() if isinstance(error, kind))
    gpu = order.request.gpu if order.request is not None else None
    if isinstance(error, InvalidInputError) and gpu and gpu in error.message:
        place = "gpu"
    order.errors[place] = " ".join(part for part in (error.message, error.hint) if part)


def _form(house: House, visit: Visit, order: Order, *, status: int = 200, **more: Any) -> Response[bytes]:
    with house.db.begin() as tx:
        offered = rounds.newest(tx, _ROUNDS)
        connected = {one.name for one in connections.list_of(tx, vendor_of(visit))}
    facts: dict[str, Any] = {"estimate": None, "problem": "", **more}
    return page(
        visit,
        "vendor/new.html",
        status=status,
        title="New training run",
        typed=order.typed,
        errors=order.errors,
        rounds=offered,
        tasks=list(Task),
        providers=[name for name in ("runpod", "byoc", "local") if name in house.providers],
        connected=connected,
        default_hours=money.DEFAULT_HOURS,
        default_usd=money.DEFAULT_USD,
        **facts,
    )


def _first_provider(house: House) -> str:
    return next((name for name in ("runpod", "byoc", "local") if name in house.providers), "")


def _new_key() -> str:
    return secrets.token_urlsafe(24)


HANDLERS = [new_run, order_run]

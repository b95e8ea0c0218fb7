"""The keeper of hosted deployments: it makes what is what is wanted, one step per look.

::

    queued -> launching -> running -> ending -> stopped | removed
       ^          |           |          |
       +----------+-----------+----------+      lost, gone by itself, or to be renewed: launched again
    queued | launching -> failed                refused for good, or five launches in a row came to nothing

1. It keeps no state: kill it anywhere and start another. A step is load under a claim, ask the provider outside of any
   transaction, apply under the claim's token.
2. An attempt is counted and its token minted before the provider is asked; a launch whose answer was lost is looked
   for by its name and never ordered again under it.
3. A token lives 30 days and cannot be changed in a running server: before that the server is launched anew.
4. What its provider cut down for want of requests is raised again to what was ordered.
5. What costs and cannot be mended (a crash loop, a stopped pod), or costs more than was ordered, is ended first and
   launched again under another attempt; it counts as a failed launch.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Row

from mp_kit.errors import DatabaseDownError, MarketplaceError, ProviderError, UnavailableError
from mp_kit.server import clock
from mp_kit.server.providers.hosting import Host, Hosted, HostOrder, HostPhase, Hosts, HostView
from mp_kit.server.services import deployments, liveness
from mp_kit.server.services.hostings import hosted_of
from mp_kit.server.services.tokens import TokenBook
from mp_kit.server.store import hostings as rows
from mp_kit.server.store import tokens as token_rows
from mp_kit.server.store.engine import Database, Tx
from mp_kit.server.store.vendors import now as stored_now

__all__ = ["Keeper", "keep", "turn"]

log = logging.getLogger(__name__)

LEASE_SECONDS = 120.0
RENEW_AFTER = timedelta(days=25)
MOST_FAILURES = 5
PROVEN_AFTER = timedelta(minutes=10)
_SOON, _STEADY, _LATER = 1.0, 10.0, 30.0
_NO_PLACE_SECONDS = (15.0, 60.0, 300.0, 900.0)
"""Between launches that found no place: a provider may be sold out, or away, for minutes, and a server that was well
until its renewal must outlast that."""

_WELL = frozenset({HostPhase.READY, HostPhase.ASLEEP})  # an endpoint that nobody asks sleeps for days, and is well
_MOST_LOOKS = 50
_TELL_SECONDS = 30.0


@dataclass(frozen=True)
class Keeper:
    """What the keeper works with.

    Attributes:
        db: Transactions.
        hosts: Where servers run, by provider and kind.
        tokens: Mints the servers' tokens.
        api_url: Where servers call the marketplace back.
    """

    db: Database
    hosts: Hosts
    tokens: TokenBook
    api_url: str


Step = tuple[Mapping[str, Any], float]
"""What changes in the row, and after how many seconds to look again."""


def keep(keeper: Keeper, over: threading.Event) -> None:
    """Looks after all hosted deployments until told to stop, through outages; tells of those that fall silent."""
    told = 0.0
    while not over.is_set():
        try:
            turn(keeper)
            if (told := told - _SOON) <= 0:
                told = _TELL_SECONDS
                with keeper.db.begin() as tx:
                    liveness.flip(tx)
        except DatabaseDownError as error:
            log.warning("the database is away: %s", error)
        except Exception:  # nobody else would launch, end or renew a server
            log.exception("the keeper's turn failed; the next one goes on")
        over.wait(_SOON)


def turn(keeper: Keeper) -> int:
    """Looks once at each hosting that is due; returns how many there were.

    Each is claimed when its turn comes: the looks before it may take longer than a lease.
    """
    for looked_at in range(_MOST_LOOKS):
        token = secrets.token_hex(8)
        with keeper.db.begin() as tx:
            due = rows.claim(tx, lock_token=token, limit=1, lease=LEASE_SECONDS, places=sorted(keeper.hosts))
        if not due:
            return looked_at
        _look(keeper, due[0])
    return _MOST_LOOKS


def _look(keeper: Keeper, row: Row[Any]) -> None:
    """Looks at one; whatever goes wrong with it, also in storing what it said, stays with it."""
    try:
        _store(keeper, row, *_tried(keeper, row))
    except DatabaseDownError:
        raise
    except Exception:  # one deployment's trouble is not the others'
        log.exception("deployment %s cannot be looked after", row.deployment_id)
        _store(keeper, row, {}, _LATER)


def _tried(keeper: Keeper, row: Row[Any]) -> Step:
    try:
        return _step(keeper, row)
    except DatabaseDownError:
        raise
    except MarketplaceError as error:  # of a look or an end: the next one may do better
        return {"seen": row.seen | {"detail": error.message}}, _LATER


def _store(keeper: Keeper, row: Row[Any], values: Mapping[str, Any], look_in: float) -> None:
    with keeper.db.begin() as tx:
        _apply(tx, row, values)
        rows.release(tx, row.deployment_id, row.lock_token, wanted=row.wanted, look_in=look_in)


def _step(keeper: Keeper, row: Row[Any]) -> Step:
    steps: dict[str, Callable[[Keeper, Row[Any]], Step]] = {
        "queued": _launch,
        "launching": _search,
        "running": _watch,
        "ending": _end,
    }
    return steps[row.state](keeper, row)


def _launch(keeper: Keeper, row: Row[Any]) -> Step:
    if row.wanted != "running":
        return {"state": _rest(row)}, _STEADY
    with keeper.db.begin() as tx:
        counted = {"state": "launching", "attempt": row.attempt + 1, "launched_at": stored_now(tx)}
        if not rows.change(tx, row.deployment_id, counted, lock_token=row.lock_token):
            return {}, _STEADY  # the claim was lost: somebody else is at it, and mints the token
        order = _order(tx, keeper, row)
    try:
        hosted = _host(keeper, row).start(order)
    except ProviderError as error:
        return _failed(row, error.message, _NO_PLACE_SECONDS[min(row.failures, len(_NO_PLACE_SECONDS) - 1)])
    except UnavailableError as error:
        return {"failure": error.message}, _SOON
    except MarketplaceError as error:
        return {"state": "failed", "failure": error.message}, _STEADY
    return _running(hosted), _SOON


def _order(tx: Tx, keeper: Keeper, row: Row[Any]) -> HostOrder:
    issued = deployments.issue_token(
        tx, keeper.tokens, row.vendor_id, row.deployment_id, actor="keeper", label="hosted"
    )
    served = rows.served_model(tx, row.deployment_id, row.vendor_id)
    env = {
        "VENDOR_ID": row.vendor_id,
        "DEPLOYMENT_ID": row.deployment_id,
        "MARKETPLACE_TOKEN": issued.infra_token,
        "MARKETPLACE_API_URL": keeper.api_url,
        "INFRA_SIGNALS_URL": f"{keeper.api_url}/api/signals/store",
        "INFRA_CONSENSUS_URL": f"{keeper.api_url}/api/consensus/store",
        "HEARTBEAT_INTERVAL": "30",
    }
    env |= {"MODEL_VERSION": served.version} if served is not None else {}
    return HostOrder(row.deployment_id, row.attempt + 1, row.vendor_id, env, row.spec)


def _search(keeper: Keeper, row: Row[Any]) -> Step:
    try:
        found = _host(keeper, row).find(row.deployment_id, row.attempt, row.vendor_id, row.launched_at)
    except UnavailableError as error:
        return {"failure": error.message}, _STEADY
    if found is not None:
        return _running(found), _SOON
    return _failed(row, row.failure or "The launch came to nothing.")


def _watch(keeper: Keeper, row: Row[Any]) -> Step:
    hosted = hosted_of(row)
    if hosted is None:
        return _failed(row, "What was launched is not known.")
    host, now = _host(keeper, row), clock.now()
    if row.wanted != "running" or now - row.launched_at > RENEW_AFTER:
        host.end(hosted)
        return {"state": "ending"}, _SOON
    view = host.look(hosted)
    if view.phase is HostPhase.GONE:
        return _failed(row, view.detail or "It was gone.")
    if why := _unbearable(row, view):
        host.end(hosted)
        return {"state": "ending", "failures": row.failures + 1, "failure": why, "seen": _seen(view)}, _SOON
    ordered = int(row.spec.get("workers_min", 0)), int(row.spec.get("workers_max", 1))
    if view.limits is not None and view.limits != ordered:
        host.scale(hosted, *ordered)
    proven = view.phase in _WELL and now - row.launched_at > PROVEN_AFTER
    values: dict[str, Any] = {"seen": _seen(view), "failure": None}
    return values | ({"failures": 0} if proven else {}), _STEADY


def _end(keeper: Keeper, row: Row[Any]) -> Step:
    hosted = hosted_of(row)
    if hosted is not None:
        host = _host(keeper, row)
        if host.look(hosted).phase is not HostPhase.GONE:
            host.end(hosted)
            return {}, _SOON
    again = "failed" if row.failures >= MOST_FAILURES else "queued"
    state = again if row.wanted == "running" else _rest(row)
    return {"state": state, "provider_ref": None, "provider_data": {}, "seen": {}}, _pause(row.failures)


def _unbearable(row: Row[Any], view: HostView) -> str | None:
    """Why a server is ended that nobody wants to end."""
    if view.is_beyond_repair:
        return view.detail
    most, price = row.spec.get("max_price_per_hour"), view.price_per_hour
    if most is not None and price is not None and float(price) > most:
        return f"It costs ${price:.4f} per hour, and ${most:.4f} was ordered as the most."
    return None


def _host(keeper: Keeper, row: Row[Any]) -> Host:
    return keeper.hosts[row.provider, row.kind]


def _pause(failures: int) -> float:
    return min(_LATER, 2.0**failures)


def _failed(row: Row[Any], why: str, look_in: float | None = None) -> Step:
    failures = row.failures + 1
    state = "failed" if failures >= MOST_FAILURES else "queued"
    values = {"state": state, "failures": failures, "failure": why, "provider_ref": None, "provider_data": {}}
    return {**values, "seen": {}}, _pause(failures) if look_in is None else look_in


def _running(hosted: Hosted) -> Mapping[str, Any]:
    data = {**hosted.data, "endpoint": hosted.endpoint}
    return {"state": "running", "provider_ref": hosted.ref, "provider_data": data, "failure": None}


def _rest(row: Row[Any]) -> str:
    return "removed" if row.wanted == "removed" else "stopped"


def _seen(view: HostView) -> dict[str, Any]:
    price = {} if view.price_per_hour is None else {"price_per_hour": float(view.price_per_hour)}
    return {"phase": view.phase.value, "workers": dict(view.workers), "detail": view.detail, **price}


def _apply(tx: Tx, row: Row[Any], values: Mapping[str, Any]) -> None:
    """Changes the row, and what follows from its new state: the address, and the life of the servers' tokens."""
    if not values or not rows.change(tx, row.deployment_id, values, lock_token=row.lock_token):
        return
    state = values.get("state")
    if state == "running":
        rows.set_endpoint(tx, row.deployment_id, str(values["provider_data"].get("endpoint") or "") or None)
    elif state is not None and state != "ending":  # until it is gone it may still say goodbye
        rows.set_endpoint(tx, row.deployment_id, None, "offline" if row.state == "ending" else None)
        token_rows.end_hosted_tokens(tx, row.deployment_id, stored_now(tx))

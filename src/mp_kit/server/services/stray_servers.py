"""The sweep of servers: ends endpoints and pods of this marketplace that no deployment wants, on vendors' accounts.

1. As for trainings (:mod:`mp_kit.server.services.strays`): it needs the database and the vendors' keys alone, looks
   only at what bears this marketplace's name, and leaves alone what is younger than two minutes.
2. Attempts only grow. What is of an older attempt, or of a deployment at rest, is never wanted again: between the look
   and the end nothing can make it so.
3. What is wanted is the keeper's. The sweep follows it only where the keeper has not come by for ten minutes.
4. It asks for an end; whether that happened the next sweep sees. It does not touch the deployment's row.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row

from mp_kit.contracts import HostingState
from mp_kit.errors import MarketplaceError
from mp_kit.server.providers.hosting import FoundServer, Host, Hosts, Place
from mp_kit.server.services import audit
from mp_kit.server.services.strays import YOUNG
from mp_kit.server.store import hostings as rows
from mp_kit.server.store.engine import Database, Tx

__all__ = ["ServerReport", "StrayServer", "accounts_of", "stray_because", "sweep"]

log = logging.getLogger(__name__)

KEEPER_LATE = timedelta(minutes=10)
"""A keeper that has not ended by then what it was to end is not there."""

_AT_REST = frozenset({HostingState.STOPPED, HostingState.FAILED, HostingState.REMOVED})


@dataclass(frozen=True)
class StrayServer:
    """A server that should not be there.

    Attributes:
        provider: Where it is.
        kind: ``endpoint``, ``pod`` or ``process``.
        vendor_id: On whose account.
        ref: Its id there.
        deployment_id: The deployment in its name.
        attempt: The attempt in its name.
        price_per_hour: US dollars; 0 where it costs by use, or nothing.
        because: Why it should not be there.
        ended: Whether the provider took the wish to end it.
    """

    provider: str
    kind: str
    vendor_id: str
    ref: str
    deployment_id: str
    attempt: int
    price_per_hour: float
    because: str
    ended: bool = False


@dataclass(frozen=True)
class ServerReport:
    """What a sweep saw and did.

    Attributes:
        seen: Servers of ours.
        strays: Those that should not be there.
        unreachable: ``provider/kind/vendor: reason`` for each account that could not be looked at.
    """

    seen: int
    strays: Sequence[StrayServer]
    unreachable: Sequence[str]


def accounts_of(tx: Tx, places: Collection[Place]) -> list[tuple[Place, str]]:
    """Where servers of ours may be: each place with the vendors that had one of its provider, or a good connection."""
    vendors = rows.accounts(tx, sorted({provider for provider, _ in places}))
    return [(place, vendor_id) for place in sorted(places) for provider, vendor_id in vendors if provider == place[0]]


def sweep(
    db: Database,
    hosts: Hosts,
    accounts: Sequence[tuple[Place, str]],
    *,
    now: datetime,
    dry_run: bool = False,
    actor: str = "operator",
    young: timedelta = YOUNG,
) -> ServerReport:
    """Looks at every account and ends strays.

    Args:
        db: No transaction is open while a provider is asked.
        hosts: By provider and kind.
        accounts: See :func:`accounts_of`.
        now: An aware instant.
        dry_run: Only look.
        actor: For the audit.
        young: Below this age a server is left alone.
    """
    seen, strays, unreachable = 0, list[StrayServer](), list[str]()
    for place, vendor_id in accounts:
        try:
            found = hosts[place].mine(vendor_id)
        except MarketplaceError as error:
            unreachable.append(f"{'/'.join(place)}/{vendor_id}: {error}")
            continue
        seen += len(found)
        for server, stray in _judged(db, place, found, now, young):
            strays.append(stray if dry_run else _end(db, hosts[place], server, stray, actor))
    return ServerReport(seen, strays, unreachable)


def stray_because(
    server: FoundServer, kind: str, hosting: Row[Any] | None, now: datetime, young: timedelta = YOUNG
) -> str | None:
    """Why a server should not be there; None if it may be.

    Args:
        server: As its provider shows it.
        kind: What it is.
        hosting: The hosting of the deployment in its name, if any, with ``has_token``: its launch's token lives.
        now: An aware instant.
        young: Below this age it may.
    """
    if now - server.created_at < young:
        return None
    if hosting is None or hosting.vendor_id != server.hosted.vendor_id or hosting.kind != kind:
        return "No deployment of this marketplace has such a server."
    if HostingState(hosting.state) in _AT_REST:
        return f"Its deployment is {hosting.state}."
    if server.attempt != hosting.attempt:
        return f"Its deployment is at launch {hosting.attempt}, and this is of launch {server.attempt}."
    if hosting.state == HostingState.QUEUED:
        return "Its launch was given up."
    return None if hosting.state == HostingState.LAUNCHING else _unwanted(server, hosting, now)


def _unwanted(server: FoundServer, hosting: Row[Any], now: datetime) -> str | None:
    """Of a current launch that is known to have made something."""
    if hosting.provider_ref != server.hosted.ref:
        return "Its deployment has another server."
    if not hosting.has_token:
        return "Its token has ended: it can do nothing here."
    is_to_end = hosting.wanted != "running" or hosting.state == HostingState.ENDING
    if is_to_end and now - hosting.updated_at > KEEPER_LATE:
        return "It was to be ended, and nobody did."
    return None


def _judged(
    db: Database, place: Place, found: Sequence[FoundServer], now: datetime, young: timedelta
) -> list[tuple[FoundServer, StrayServer]]:
    provider, kind = place
    with db.begin() as tx:
        known = rows.facts_of(tx, provider, [server.deployment_id for server in found])
    judged = [(server, stray_because(server, kind, known.get(server.deployment_id), now, young)) for server in found]
    return [(server, _stray(provider, kind, server, why)) for server, why in judged if why]


def _stray(provider: str, kind: str, server: FoundServer, because: str) -> StrayServer:
    hosted = server.hosted
    facts = (hosted.ref, server.deployment_id, server.attempt, server.price_per_hour)
    return StrayServer(provider, kind, hosted.vendor_id, *facts, because)


def _end(db: Database, host: Host, server: FoundServer, stray: StrayServer, actor: str) -> StrayServer:
    try:
        host.end(server.hosted)
    except MarketplaceError as error:
        log.warning("%s could not be ended: %s", stray.ref, error)
        return stray
    ended = replace(stray, ended=True)
    with db.begin() as tx:
        audit.record(tx, actor, "sweep.server", stray.ref, **asdict(ended))
    return ended

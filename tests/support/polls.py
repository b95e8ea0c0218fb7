"""What tests of polling do: bars that have just closed, deployments that want to be asked, rounds of asking."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from sqlalchemy import text

from mp_kit.contracts import Deployment, DeploymentChange, DeploymentRequest
from mp_kit.market.bars import make_table
from mp_kit.server.house import House
from mp_kit.server.providers.addresses import AddressGuard
from mp_kit.server.providers.hosting import Hosts
from mp_kit.server.providers.inference import Asker
from mp_kit.server.services import deployments, vendors
from mp_kit.server.services.ids import new_id
from mp_kit.server.services.poll_breaker import Rules
from mp_kit.server.services.poll_calls import Budget, Terms
from mp_kit.server.services.poll_windows import Live, Window
from mp_kit.server.services.poller import Asked, Poller, ask_all
from tests.support.receivers import Misdeed, status

MINUTE = timedelta(minutes=1)
ANSWER = {"decision": "BUY", "confidence": 0.75, "model_version": "1", "timestamp": "2026-01-05T10:00:00Z"}


def newest() -> datetime:
    """The open of the minute that closed last."""
    return datetime.now(UTC).replace(second=0, microsecond=0) - MINUTE


def minutes(at: datetime, rows: int = 50) -> pa.Table:
    """Bars of a minute up to this one."""
    close = np.linspace(1.1, 1.2, rows)
    columns = {"open": close, "high": close * 1.001, "low": close * 0.999, "close": close, "volume": np.ones(rows)}
    first = int(at.timestamp()) - 60 * (rows - 1)
    return make_table((first + 60 * np.arange(rows)) * 1_000_000, columns)


def live(*symbols: str, at: datetime | None = None, timeframe: str = "1m") -> Live:
    """Bars that have just closed."""
    when = at or newest()
    return Live([Window(name, timeframe, when, lambda: minutes(when)) for name in symbols or ("EURUSD",)])


def vendor(house: House) -> str:
    with house.db.begin() as tx:
        return vendors.create(tx, house.tokens, new_id("v"), actor="test").vendor_id


def wanting(house: House, vendor_id: str, url: str, **more: Any) -> str:
    """A deployment of the vendor's own that is asked at this URL; its id."""
    wanted = {"name": new_id("n"), "provider": "byoc", "poll": True, "infer_url": url, **more}
    with house.db.begin() as tx:
        order = DeploymentRequest.model_validate(wanted)
        return deployments.create(tx, house.tokens, vendor_id, order, actor="test").deployment_id


def poller(
    house: House,
    *,
    seconds: float = 2.0,
    hosts: Hosts | None = None,
    guard: AddressGuard | None = None,
    budget: Budget | None = None,
    rules: Rules | None = None,
    threads: int = 4,
    each: int = 1,
) -> Poller:
    terms = Terms(budget or Budget(), rules or Rules(), call_seconds=seconds)
    allowing = guard or AddressGuard(allow_private=True)
    asker = Asker(seconds)
    return Poller(house.db, house.signer, house.tokens, asker, allowing, hosts or {}, terms, threads, each)


def ask(house: House, bars: Live, *, within: float = 20.0, **how: Any) -> list[Asked]:
    """One round of asking."""
    return ask_all(poller(house, **how), bars, seconds=within)


def shown(house: House, vendor_id: str, deployment_id: str) -> Deployment:
    with house.db.begin() as tx:
        return deployments.get(tx, vendor_id, deployment_id)


def stored(house: House, deployment_id: str) -> Sequence[Any]:
    """Its signals."""
    with house.db.begin() as tx:
        found = tx.execute(text("SELECT * FROM signals WHERE deployment_id = :id"), {"id": deployment_id})
        return list(found)


def execute(house: House, statement: str, **values: Any) -> None:
    with house.db.begin() as tx:
        tx.execute(text(statement), values)


def answering(**changes: Any) -> Misdeed:
    """A good answer, or one that was spoilt."""
    return status(200, json.dumps(ANSWER | changes).encode(), Content_Type="application/json")


def change(house: House, vendor_id: str, deployment_id: str, **said: Any) -> None:
    with house.db.begin() as tx:
        deployments.change(tx, vendor_id, deployment_id, DeploymentChange(**said), actor="test")

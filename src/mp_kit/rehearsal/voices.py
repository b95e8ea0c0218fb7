"""Those who speak in a sandbox: a vendor, its model in pilot, a deployment, and what it says of a bar."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import httpx
from pydantic import SecretStr

from mp_kit.client.deployments import DeploymentView
from mp_kit.client.marketplace import Marketplace
from mp_kit.client.pushes import PushResult
from mp_kit.contracts.deployments import IssuedToken
from mp_kit.errors import InternalError
from mp_kit.market.bars import column
from mp_kit.rehearsal.rules import BARS, Rule
from mp_kit.rehearsal.tape import Tape

__all__ = ["LIFE", "VERSION", "Voice", "connected", "joined", "ruled"]

VERSION = "1"
"""Of every model that a sandbox registers by itself."""

LIFE = timedelta(days=365)
"""So long the keys of those who speak are good, and with them a sandbox."""

_SOON = timedelta(days=3)


@dataclass
class Voice:
    """A vendor that speaks.

    Attributes:
        name: Of the model and its deployment.
        market: The vendor's own connection.
        deployment: What speaks.
        model_id: The model.
        token: The deployment's, renewed before it ends.
    """

    name: str
    market: Marketplace
    deployment: DeploymentView
    model_id: str
    token: IssuedToken = field(repr=False)

    def renew(self, now: datetime) -> None:
        """Gets another token where this one ends soon, as whoever runs a server must."""
        if self.token.expires_at - now < _SOON:
            self.token = self.market.deployments.token(self.deployment.deployment_id)

    def push(self, rows: Sequence[Mapping[str, Any]], fill: Mapping[str, Any]) -> PushResult:
        """Says it over HTTP.

        Raises:
            InternalError: The marketplace did not take it at once: later it would be late.
        """
        told = self.market.signals.push(
            list(rows), token=self.token, deployment_id=self.deployment.deployment_id, fill=fill
        )
        if told.pending:
            raise InternalError(f"{self.name} could not speak in time: {told.reason}.", hint="Look at box.log().")
        return told

    def beat(self) -> None:
        """Sends a sign of life."""
        self.market.deployments.heartbeat(self.deployment.deployment_id, token=self.token)


def connected(url: str, key: SecretStr, clock: Callable[[], datetime]) -> Marketplace:
    """A vendor's connection over the loopback; what is pinned and waits in it is kept in memory, for this once."""
    return Marketplace(url, key, transport=httpx.HTTPTransport(), clock=clock)


def joined(market: Marketplace, clock: Callable[[], datetime], name: str, about: str) -> Voice:
    """Registers a vendor's model, moves it to pilot, and makes a deployment for it, with a key that lives a year."""
    key = market.keys.create(f"sandbox {name}", days=LIFE.days)
    own = connected(market.api_url, SecretStr(key.api_key), clock)
    model = own.models.register(name, "signal", VERSION, description=about)
    own.models.promote(model.model_id, VERSION, "pilot", "to count in the sandbox")
    deployment = own.deployments.create(name, provider="byoc", model_id=model.model_id)
    return Voice(name, own, deployment, model.model_id, own.deployments.token(deployment.deployment_id))


def ruled(rule: Rule, tape: Tape, now: datetime, closing: Mapping[str, datetime]) -> list[dict[str, Any]]:
    """What a rule says of the bars that have just closed."""
    rows = []
    for symbol, bar in closing.items():
        closes = column(tape.until(symbol, now, BARS), "close")
        decision, confidence = rule.say(closes, symbol, bar)
        rows.append({"symbol": symbol, "event_time": bar, "decision": decision, "confidence": confidence})
    return rows

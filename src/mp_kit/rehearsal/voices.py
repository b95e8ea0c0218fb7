"""Those who speak in a sandbox: a vendor, its model in pilot, a deployment, and what it says of a bar."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
from pydantic import SecretStr

from mp_kit.client.deployments import DeploymentView
from mp_kit.client.marketplace import Marketplace
from mp_kit.client.pushes import PushResult
from mp_kit.errors import InternalError
from mp_kit.market.bars import column
from mp_kit.rehearsal.rules import BARS, Rule
from mp_kit.rehearsal.tape import Tape

__all__ = ["VERSION", "Voice", "connected", "joined", "ruled"]

VERSION = "1"
"""Of every model that a sandbox registers by itself."""


@dataclass(frozen=True)
class Voice:
    """A vendor that speaks.

    Attributes:
        name: Of the model and its deployment.
        market: The vendor's own connection.
        deployment: What speaks, with its token.
        model_id: The model.
    """

    name: str
    market: Marketplace
    deployment: DeploymentView
    model_id: str

    def push(self, rows: Sequence[Mapping[str, Any]], fill: Mapping[str, Any]) -> PushResult:
        """Says it over HTTP.

        Raises:
            InternalError: The marketplace did not take it at once: later it would be late.
        """
        told = self.market.signals.push(list(rows), token=self.deployment, fill=fill)
        if told.pending:
            raise InternalError(f"{self.name} could not speak in time: {told.reason}.", hint="Look at box.log().")
        return told

    def beat(self) -> None:
        """Sends a sign of life."""
        self.market.deployments.heartbeat(self.deployment.deployment_id, token=self.deployment)


def connected(url: str, key: SecretStr, clock: Callable[[], datetime]) -> Marketplace:
    """A vendor's connection over the loopback; what is pinned and waits in it is kept in memory, for this once."""
    return Marketplace(url, key, transport=httpx.HTTPTransport(), clock=clock)


def joined(market: Marketplace, name: str, about: str) -> Voice:
    """Registers a model, moves it to pilot, and makes a deployment for it."""
    model = market.models.register(name, "signal", VERSION, description=about)
    market.models.promote(model.model_id, VERSION, "pilot", "to count in the sandbox")
    deployment = market.deployments.create(name, provider="byoc", model_id=model.model_id)
    return Voice(name, market, deployment, model.model_id)


def ruled(rule: Rule, tape: Tape, now: datetime, closing: Mapping[str, datetime]) -> list[dict[str, Any]]:
    """What a rule says of the bars that have just closed."""
    rows = []
    for symbol, bar in closing.items():
        closes = column(tape.until(symbol, now, BARS), "close")
        decision, confidence = rule.say(closes, symbol, bar)
        rows.append({"symbol": symbol, "event_time": bar, "decision": decision, "confidence": confidence})
    return rows

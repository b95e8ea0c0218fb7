"""The fake's deployments and their tokens."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

from mp_kit import errors
from mp_kit.contracts import (
    Deployment,
    DeploymentChange,
    DeploymentRequest,
    DeploymentStatus,
    HeartbeatReceipt,
    HeartbeatWrite,
    IssuedToken,
    PollBreaker,
    Polling,
    PollWish,
    TokenRequest,
)


class DeploymentDesk:
    """All deployments.

    Args:
        now: The clock.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self.tokens: dict[str, str] = {}
        self._deployments: dict[str, Deployment] = {}

    def all(self) -> list[Deployment]:
        """Each of them."""
        return [*self._deployments.values()]

    def get(self, deployment_id: str) -> Deployment:
        """One of them."""
        if deployment_id not in self._deployments:
            raise errors.NotFoundError("No such deployment.")
        return self._deployments[deployment_id]

    def beat(self, beat: HeartbeatWrite) -> HeartbeatReceipt:
        """Notes a sign of life."""
        seen = {"status": beat.status, "last_heartbeat_at": beat.timestamp}
        self._deployments[beat.deployment_id] = self.get(beat.deployment_id).model_copy(update=seen)
        return HeartbeatReceipt(heartbeat_id=f"hb_{secrets.token_hex(4)}", timestamp=beat.timestamp)

    def create(self, wanted: DeploymentRequest) -> Deployment:
        """Makes one, with its token."""
        made = Deployment(
            deployment_id=f"dep_{len(self._deployments) + 1}",
            name=wanted.name,
            provider=wanted.provider,
            status=DeploymentStatus.PENDING,
            created_at=self._now(),
            model_id=wanted.model_id,
        )
        self._deployments[made.deployment_id] = made
        told = self._ask(made, wanted) if wanted.polling() else made
        return told.model_copy(update={"infra_token": self._token(made.deployment_id)})

    def change(self, known: Deployment, wanted: DeploymentChange) -> Deployment:
        """Notes whether and where it is asked; there are no servers here to start or stop."""
        if wanted.changes_hosting:
            raise errors.NotFoundError("The fake runs no deployments.")
        return self._ask(known, wanted)

    def _ask(self, known: Deployment, wish: PollWish) -> Deployment:
        before = known.polling or Polling(poll=False, breaker=PollBreaker.CLOSED)
        said = {
            "poll": wish.poll,
            "infer_url": wish.infer_url,
            "symbols": wish.poll_symbols,
            "timeframes": wish.poll_timeframes,
        }
        after = before.model_copy(update={name: value for name, value in said.items() if value is not None})
        self._deployments[known.deployment_id] = known.model_copy(update={"polling": after})
        return self._deployments[known.deployment_id]

    def issue(self, known: Deployment, wanted: TokenRequest) -> IssuedToken:
        """Issues another token."""
        if wanted.rotate:
            self.tokens = {token: owner for token, owner in self.tokens.items() if owner != known.deployment_id}
        ends = self._now() + timedelta(days=30)
        scope = {"deployment_id": known.deployment_id, "symbols": wanted.symbols}
        return IssuedToken(infra_token=self._token(known.deployment_id), expires_at=ends, scope=scope)

    def _token(self, deployment_id: str) -> str:
        token = f"sit_fake_{secrets.token_hex(8)}"
        self.tokens[token] = deployment_id
        return token

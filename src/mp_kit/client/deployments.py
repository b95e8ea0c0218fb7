"""Deployments: create them, issue their tokens, send their heartbeats."""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, SecretStr, ValidationError

from mp_kit.client.desk import Keyed, names_of, the_one
from mp_kit.client.http import Api, Call, path, read, secret
from mp_kit.client.invalid import invalid
from mp_kit.client.results import Rows, Shown
from mp_kit.client.views import BeatView
from mp_kit.contracts.common import Model
from mp_kit.contracts.deployments import (
    Deployment,
    DeploymentRequest,
    DeploymentStatus,
    HeartbeatWrite,
    IssuedToken,
    TokenRequest,
)
from mp_kit.contracts.hosting import DeploymentChange, DeploymentLogs, Hosting
from mp_kit.contracts.polling import Poll
from mp_kit.contracts.signals import StoreResult
from mp_kit.errors import InvalidInputError

DEPLOYMENTS = "/api/deployments"
HEARTBEATS = "/api/marketplace/vendor/heartbeats"


class DeploymentView(Shown, Deployment):
    """A deployment; its token is there right after creation and never shown."""

    infra_token: str | None = Field(default=None, repr=False)
    __repr__ = Shown.__repr__
    __str__ = Shown.__str__

    def _title(self) -> str:
        return f"Deployment {self.deployment_id}: {self.status.value}"

    def _facts(self) -> Mapping[str, Any]:
        return {
            "name": self.name,
            "provider": self.provider,
            "endpoint": self.endpoint,
            "created_at": self.created_at,
            "last_heartbeat_at": self.last_heartbeat_at,
            "stands": self.words,
            "costs": _costs(self.hosting),
            "model_id": self.model_id,
            "infra_token": "set (hidden)" if self.infra_token else None,
        }


def _costs(hosting: Hosting | None) -> str | None:
    if hosting is None or hosting.price_per_hour is None:
        return None
    most = f", ${hosting.max_price_per_hour:.4f} at most" if hosting.max_price_per_hour is not None else ""
    return f"${hosting.price_per_hour:.4f} per hour{most}; ${hosting.cost or 0:.2f} since its launch"


class PollView(Shown, Poll):
    """One bar that a deployment was asked about."""

    __repr__ = Shown.__repr__
    __str__ = Shown.__str__

    def _title(self) -> str:
        return f"Poll of {self.symbol} {self.timeframe.value}: {self.outcome.value if self.outcome else 'being asked'}"

    def _facts(self) -> Mapping[str, Any]:
        return self.model_dump(exclude={"symbol", "timeframe", "outcome"}, exclude_none=True)


class TokenView(Shown, IssuedToken):
    """A deployment token, given this once and never shown; it is in ``infra_token``."""

    infra_token: str = Field(repr=False)
    __repr__ = Shown.__repr__
    __str__ = Shown.__str__

    def _title(self) -> str:
        return "Deployment token (hidden)"

    def _facts(self) -> Mapping[str, Any]:
        return {"expires_at": self.expires_at, "scope": ", ".join(f"{k}={v}" for k, v in self.scope.items())}


Credential = str | SecretStr | Deployment | IssuedToken
"""What a deployment authenticates with: its token, or the object that holds it."""


def credential(given: Credential | None) -> SecretStr | None:
    """The token in it.

    Raises:
        InvalidInputError: A deployment that was read again: its token is shown only once.
    """
    if isinstance(given, (Deployment, IssuedToken)):
        given = given.infra_token
        if given is None:
            raise InvalidInputError(
                "This deployment object holds no token: it is given out once, at creation.",
                hint="Issue a new one: m.deployments.token(deployment_id, rotate=True).",
            )
    return secret(given)


class _Revoked(Model):
    revoked: int


class Deployments(Keyed):
    """The vendor's deployments.

    Example:
        >>> deployment = m.deployments.create("trend-live", provider="byoc", model_id=model.model_id)
        >>> m.signals.push(frame, token=deployment)
    """

    def __init__(self, api: Api) -> None:
        self._api = api

    def __repr__(self) -> str:
        return f"Deployments at {self._api.base_url}: create(name), token(id), heartbeat(id), get(id), list()"

    def __getitem__(self, deployment: str) -> DeploymentView:
        found: DeploymentView | None = the_one(self.list(), deployment, "deployment_id", "name")
        return found if found is not None else self.get(deployment)

    def _names(self, api: Api) -> builtins.list[str]:
        return names_of(api.pages(DeploymentView, DEPLOYMENTS, 100), "name", "deployment_id")

    def create(
        self,
        name: str,
        *,
        provider: str = "runpod",
        cpu: int = 2,
        memory: int = 4,
        gpu: str | None = None,
        image: str | None = None,
        model_id: str | None = None,
        **more: Any,
    ) -> DeploymentView:
        """Creates a deployment; the answer holds its token, this once.

        Args:
            name: A name for people.
            provider: ``runpod`` (launched for you on your account), ``local`` (launched on the marketplace's machine,
                where it has a model), or ``byoc`` (you run it).
            cpu: Virtual CPUs.
            memory: GiB.
            gpu: Wanted GPU.
            image: Container image of the inference server.
            model_id: The model that it serves.
            **more: ``kind`` on RunPod, ``endpoint`` (workers by request) or ``pod`` (one server at all hours, with
                ``max_price_per_hour`` in US dollars); ``version``, ``workers_min``, ``workers_max``,
                ``timeout_seconds``, ``idle_seconds``; ``poll``, ``infer_url``, ``poll_symbols``, ``poll_timeframes``.

        Raises:
            InvalidInputError: A value breaks the contract; nothing was sent.

        Example:
            >>> m.deployments.create("trend-live", provider="byoc")
        """
        fields = {"name": name, "provider": provider, "cpu": cpu, "memory": memory}
        optional = {"gpu": gpu, "image": image, "model_id": model_id, **more}
        try:
            body = DeploymentRequest.model_validate(fields | optional).model_dump(mode="json", exclude_none=True)
        except ValidationError as error:
            raise invalid("The deployment", error) from None
        return read(DeploymentView, self._api.send(Call("POST", DEPLOYMENTS, json=body)), DEPLOYMENTS)

    def get(self, deployment_id: str) -> DeploymentView:
        """A deployment by its id, without its token.

        Example:
            >>> m.deployments.get(deployment.deployment_id)
        """
        return self._api.get(DeploymentView, path("deployments", deployment_id))

    def list(self, limit: int = 100) -> Rows[DeploymentView]:
        """The vendor's deployments.

        Example:
            >>> m.deployments.list()
        """
        columns = ("deployment_id", "name", "provider", "status", "last_heartbeat_at", "model_id")
        return Rows(self._api.pages(DeploymentView, DEPLOYMENTS, limit), "Deployments", columns)

    def change(self, deployment_id: str, **change: Any) -> DeploymentView:
        """Starts, stops, scales or removes a deployment that the marketplace runs; has any deployment asked, or not.

        Args:
            deployment_id: The deployment.
            **change: ``wanted`` (running, stopped or removed), ``workers_min``, ``workers_max``; ``poll`` (whether the
                marketplace asks it at each bar's close), ``infer_url`` (where, if you run it), ``poll_symbols``,
                ``poll_timeframes``.

        Example:
            >>> m.deployments.change(deployment.deployment_id, poll=True, infer_url="https://models.example.com/infer")

        Raises:
            InvalidInputError: A value breaks the contract; nothing was sent.

        Example:
            >>> m.deployments.change(deployment.deployment_id, wanted="stopped")
        """
        try:
            body = DeploymentChange.model_validate(change).model_dump(mode="json", exclude_none=True)
        except ValidationError as error:
            raise invalid("The change", error) from None
        where = path("deployments", deployment_id)
        return read(DeploymentView, self._api.send(Call("PATCH", where, json=body, repeatable=True)), where)

    def polls(self, deployment_id: str, limit: int = 100) -> Rows[PollView]:
        """The bars that the marketplace asked a deployment about in the last 30 days, the latest call first.

        Example:
            >>> m.deployments.polls(deployment.deployment_id)
        """
        where = path("deployments", deployment_id, "polls")
        columns = ("symbol", "timeframe", "event_time", "outcome", "http_status", "milliseconds", "reason")
        return Rows(self._api.pages(PollView, where, limit), "Polls", columns)

    def logs(self, deployment_id: str, tail: int = 100) -> Sequence[str]:
        """The last lines of a server that the marketplace runs.

        Example:
            >>> m.deployments.logs(deployment.deployment_id, tail=20)
        """
        return self._api.get(DeploymentLogs, path("deployments", deployment_id, "logs"), tail=tail).lines

    def revoke_tokens(self, deployment_id: str) -> int:
        """Ends every token of a deployment at once, but those of a server that the marketplace runs.

        Example:
            >>> m.deployments.revoke_tokens(deployment.deployment_id)
        """
        where = path("deployments", deployment_id, "infra-token")
        return int(read(_Revoked, self._api.send(Call("DELETE", where)), where).revoked)

    def try_token(self, deployment_id: str, token: Credential) -> str:
        """Pushes a signal with the token as a dry run: the whole way, and nothing stays.

        Returns:
            What became of the signal: ``accepted``.

        Raises:
            AuthError: The token is unknown, expired or revoked.
            ForbiddenError: It does not cover storing signals.

        Example:
            >>> m.deployments.try_token(deployment.deployment_id, deployment)
        """
        now = self._api.now().isoformat()
        row = {
            "symbol": "EURUSD",
            "timeframe": "1h",
            "decision": "HOLD",
            "confidence": 0.5,
            "model_version": "link-test",
        }
        claim = {**row, "timestamp": now, "event_time": now, "deployment_id": deployment_id}
        call = Call("POST", "/api/signals/store", json=[claim], token=credential(token), dry_run=True)
        stored = read(StoreResult, self._api.send(call), "/api/signals/store")
        return stored.receipts[0].status.value

    def token(
        self,
        deployment_id: str,
        *,
        rotate: bool = False,
        overlap_seconds: int = 0,
        symbols: Sequence[str] | None = None,
    ) -> TokenView:
        """Issues the deployment's token.

        Args:
            deployment_id: The deployment.
            rotate: Revokes the earlier ones.
            overlap_seconds: With ``rotate``: how long the earlier ones live on, a day at most.
            symbols: Bounds the token to these symbols.

        Example:
            >>> m.deployments.token(deployment.deployment_id, rotate=True, overlap_seconds=600)
        """
        where = path("deployments", deployment_id, "infra-token")
        bound = None if symbols is None else [*symbols]
        body = TokenRequest(rotate=rotate, overlap_seconds=overlap_seconds, symbols=bound)
        return read(TokenView, self._api.send(Call("POST", where, json=body.model_dump(exclude_none=True))), where)

    def heartbeat(
        self,
        deployment_id: str,
        status: str | DeploymentStatus = DeploymentStatus.READY,
        *,
        metrics: Mapping[str, Any] | None = None,
        message: str | None = None,
        token: Credential | None = None,
        idempotency_key: str | None = None,
    ) -> BeatView:
        """Sends a sign of life: pending, ready, error, maintenance or offline.

        Raises:
            InvalidInputError: A value breaks the contract; nothing was sent.

        Example:
            >>> m.deployments.heartbeat(deployment.deployment_id, "ready", token=deployment)
        """
        fields = {"deployment_id": deployment_id, "status": status, "timestamp": self._api.now()}
        try:
            body = HeartbeatWrite.model_validate({**fields, "metrics": metrics, "message": message})
        except ValidationError as error:
            raise invalid("The heartbeat", error) from None
        sent = body.model_dump(mode="json", exclude_none=True)
        call = Call(
            "POST",
            HEARTBEATS,
            json=sent,
            repeatable=True,
            token=credential(token),
            idempotency_key=idempotency_key,
        )
        return read(BeatView, self._api.send(call), HEARTBEATS)

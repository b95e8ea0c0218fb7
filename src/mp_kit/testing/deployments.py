"""The fake's deployments, their tokens and, where the marketplace runs them, their servers."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from mp_kit import errors
from mp_kit.contracts import (
    ArtifactFile,
    Deployment,
    DeploymentChange,
    DeploymentLogs,
    DeploymentRequest,
    DeploymentStatus,
    HeartbeatReceipt,
    HeartbeatWrite,
    HostingState,
    IssuedToken,
    ModelFile,
    Poll,
    PollBreaker,
    Polling,
    PollWish,
    ServedModel,
    Stage,
    TokenRequest,
)
from mp_kit.testing import hosting
from mp_kit.testing.models import ModelDesk, Version
from mp_kit.testing.routing import Bearer

_ROUTES = ["signals:store", "consensus:store", "heartbeats:write", "datasets:read"]
_LIFE = timedelta(days=30)


@dataclass(frozen=True)
class Token:
    """A deployment's token, as it is remembered."""

    deployment_id: str
    ends_at: datetime
    symbols: list[str] | None = None


class DeploymentDesk:
    """All deployments.

    Args:
        url: Root of the marketplace.
        vendor_id: Whose they are.
        models: Where their models come from.
        files: The artifacts of a run.
        now: The clock.

    Attributes:
        states: What looks at a server show that the marketplace runs, one after the other.
        tokens: The tokens by their text.
    """

    def __init__(
        self,
        url: str,
        vendor_id: str,
        models: ModelDesk,
        files: Callable[[str], list[ArtifactFile]],
        now: Callable[[], datetime],
    ) -> None:
        self.states = [HostingState.QUEUED, HostingState.LAUNCHING, HostingState.RUNNING]
        self.tokens: dict[str, Token] = {}
        self._url = url
        self._vendor_id = vendor_id
        self._models = models
        self._files = files
        self._now = now
        self._deployments: dict[str, Deployment] = {}
        self._looks: dict[str, int] = {}

    def all(self) -> list[Deployment]:
        """A look at each of them that is not removed, newest first."""
        found = [self.look(deployment_id) for deployment_id in reversed(self._deployments)]
        return [one for one in found if one.hosting is None or one.hosting.state is not HostingState.REMOVED]

    def known(self) -> list[Deployment]:
        """Each of them as it was last seen."""
        return [hosting.stands(one, self._now()) for one in self._deployments.values()]

    def get(self, deployment_id: str) -> Deployment:
        """One of them as it was last seen."""
        if deployment_id not in self._deployments:
            raise errors.NotFoundError(f"There is no deployment {deployment_id!r}.")
        return hosting.stands(self._deployments[deployment_id], self._now())

    def look(self, deployment_id: str) -> Deployment:
        """A look at one, which moves its server on."""
        known = self.get(deployment_id)
        if known.hosting is not None:
            now, at = self._now(), self._looks[deployment_id]
            seen = hosting.looked(known.hosting, self.states, at, now)
            self._looks[deployment_id] = at + 1
            update: dict[str, Any] = {"hosting": seen}
            if seen.state is HostingState.RUNNING:
                update["endpoint"] = f"{self._url}/served/{deployment_id}"
            if hosting.speaks(seen):
                update |= {"status": DeploymentStatus.READY, "last_heartbeat_at": now}
            self._change(deployment_id, update)
        return self.get(deployment_id)

    def create(self, wanted: DeploymentRequest) -> Deployment:
        """Makes one, with its token; orders its server where the marketplace runs it."""
        if any(one.name == wanted.name for one in self._deployments.values()):
            raise errors.ConflictError(f"You have a deployment called {wanted.name!r} already.")
        version = self._version(wanted)
        made = Deployment(
            deployment_id=f"dep_{len(self._deployments) + 1}",
            name=wanted.name,
            provider=wanted.provider,
            status=DeploymentStatus.PENDING,
            created_at=self._now(),
            model_id=wanted.model_id,
            version_id=version.id if version else None,
            hosting=hosting.ordered(wanted, self.states[0]) if hosting.is_hosted(wanted) else None,
        )
        self._deployments[made.deployment_id], self._looks[made.deployment_id] = made, 1
        self._ask(made.deployment_id, wanted)
        token = self.issue(made.deployment_id, TokenRequest()).infra_token
        return self.get(made.deployment_id).model_copy(update={"infra_token": token})

    def change(self, deployment_id: str, change: DeploymentChange) -> Deployment:
        """Starts, stops, scales or removes one that the marketplace runs; notes whether and where any is asked."""
        self.get(deployment_id)
        self._ask(deployment_id, change)
        if not change.changes_hosting:
            return self.get(deployment_id)
        known = self._hosted(deployment_id)
        seen = hosting.changed(known, change)
        if seen.state is HostingState.QUEUED and known.state is not HostingState.QUEUED:
            self._looks[deployment_id] = 1
        self._change(deployment_id, {"hosting": seen})
        return self.get(deployment_id)

    def polls(self, deployment_id: str) -> list[Poll]:
        """None: nobody is asked here."""
        self.get(deployment_id)
        return []

    def _ask(self, deployment_id: str, wish: PollWish) -> None:
        """Nobody is asked here, but what was wished is told."""
        if not wish.polling():
            return
        before = self._deployments[deployment_id].polling or Polling(poll=False, breaker=PollBreaker.CLOSED)
        said = {
            "poll": wish.poll,
            "infer_url": wish.infer_url,
            "symbols": wish.poll_symbols,
            "timeframes": wish.poll_timeframes,
        }
        known = {name: value for name, value in said.items() if value is not None}
        self._change(deployment_id, {"polling": before.model_copy(update=known)})

    def logs(self, deployment_id: str, tail: int) -> DeploymentLogs:
        """Two lines of a server that runs, none of others."""
        runs = self._hosted(deployment_id).state is HostingState.RUNNING
        return DeploymentLogs(lines=["listening", "ready"][-tail:] if runs else [])

    def served(self, deployment_id: str) -> ServedModel:
        """What it serves, with where the files are."""
        known = self.get(deployment_id)
        version = self._models.by_id(known.version_id) if known.version_id else None
        if version is None or version.run_id is None:
            raise errors.NotFoundError(f"Deployment {deployment_id!r} serves no model of a training run.")
        files = [
            ModelFile(name=file.name, url=file.url or "", size_bytes=file.size_bytes, sha256=file.sha256)
            for file in self._files(version.run_id)
        ]
        owner = {"model_id": version.model.id, "task": version.model.task, "version": version.name}
        return ServedModel.model_validate({"deployment_id": deployment_id, "files": files, **owner})

    def assign(self, deployment_id: str, version: Version) -> None:
        """Says which version one serves."""
        self._change(deployment_id, {"model_id": version.model.id, "version_id": version.id})

    def beat(self, beat: HeartbeatWrite, who: Bearer) -> HeartbeatReceipt:
        """Notes a sign of life; a token speaks for its own deployment."""
        if who.deployment_id not in {None, beat.deployment_id}:
            raise errors.AttributionError(f"The token is for {who.deployment_id}, not for {beat.deployment_id}.")
        self.get(beat.deployment_id)
        self._change(beat.deployment_id, {"status": beat.status, "last_heartbeat_at": beat.timestamp})
        return HeartbeatReceipt(heartbeat_id=f"hb_{secrets.token_hex(4)}", timestamp=beat.timestamp)

    def issue(self, deployment_id: str, wanted: TokenRequest) -> IssuedToken:
        """Issues a token; ``rotate`` ends the ones before it, at once or after the overlap."""
        self.get(deployment_id)
        if wanted.rotate:
            self._end(deployment_id, self._now() + timedelta(seconds=wanted.overlap_seconds))
        token, ends = f"sit_fake_{secrets.token_hex(8)}", self._now() + _LIFE
        self.tokens[token] = Token(deployment_id, ends, wanted.symbols)
        scope: dict[str, Any] = {"routes": _ROUTES, "deployment": deployment_id}
        scope |= {"symbols": wanted.symbols} if wanted.symbols is not None else {}
        return IssuedToken(infra_token=token, expires_at=ends, scope=scope)

    def revoke(self, deployment_id: str) -> int:
        """Ends every token of one; how many there were."""
        self.get(deployment_id)
        return self._end(deployment_id, self._now())

    def bearer(self, token: str) -> Bearer | None:
        """Whom a token speaks for; None where it is unknown or has ended."""
        known = self.tokens.get(token)
        if known is None or known.ends_at <= self._now():
            return None
        model_id = self._deployments[known.deployment_id].model_id
        return Bearer(self._vendor_id, known.deployment_id, model_id, known.symbols)

    def _end(self, deployment_id: str, at: datetime) -> int:
        ended = {
            token: replace(known, ends_at=at)
            for token, known in self.tokens.items()
            if known.deployment_id == deployment_id and known.ends_at > at
        }
        self.tokens |= ended
        return len(ended)

    def _version(self, wanted: DeploymentRequest) -> Version | None:
        version = None
        if wanted.model_id is not None:
            model = self._models.get(wanted.model_id)
            alive = [one for one in model.versions if one.stage is not Stage.RETIRED]
            if wanted.version is None and not alive:
                raise errors.ConflictError(f"Every version of model {model.id} is retired.", hint="Register a new one.")
            version = self._models.version(model.id, wanted.version) if wanted.version else alive[-1]
        needs_model = hosting.is_hosted(wanted) and (wanted.image is None or wanted.provider == "local")
        if needs_model and (version is None or version.run_id is None):
            raise errors.InvalidInputError("There is no model to run: the version must come from a training run here.")
        return version

    def _hosted(self, deployment_id: str) -> Any:
        found = self.get(deployment_id).hosting
        if found is None:
            raise errors.NotFoundError(f"The marketplace runs no deployment {deployment_id!r} of yours.")
        return found

    def _change(self, deployment_id: str, update: dict[str, Any]) -> None:
        self._deployments[deployment_id] = self._deployments[deployment_id].model_copy(update=update)

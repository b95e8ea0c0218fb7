"""The parts of a running marketplace, held together for those who need several of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mp_kit.server.providers.base import Provider
from mp_kit.server.providers.hosting import Hosts
from mp_kit.server.providers.identity import IdentityProvider
from mp_kit.server.providers.mail import Mailer
from mp_kit.server.providers.probes import Probes
from mp_kit.server.providers.webhook_post import Poster
from mp_kit.server.services.doors import Doors
from mp_kit.server.services.limits import Limiter
from mp_kit.server.services.tokens import TokenBook
from mp_kit.server.settings import Settings
from mp_kit.server.storage import ObjectStore
from mp_kit.server.store.engine import Database
from mp_kit.server.telemetry.metrics import Metrics
from mp_kit.server.telemetry.traces import Tracing
from mp_kit.server.vault import Vault
from mp_kit.signing import Signer


@dataclass(frozen=True)
class House:
    """The parts of a running marketplace, for one process.

    Args:
        settings: What it was built from.
        db: Transactions.
        store: Objects.
        signer: Signs manifests.
        tokens: Mints and checks tokens.
        vault: Seals and opens vendors' credentials.
        probes: Ask other services whether they take a credential.
        providers: Where trainings run, by name.
        poster: Sends webhooks.
        mailer: Sends mails to the operator, where that is configured.
        hosts: Where deployments' servers run, by provider and kind.
        github: Where vendors sign in besides with a key; None where the operator has no OAuth app there.
        limiter: Lets requests pass, or not; without limits unless given others.
        doors: Bounds checks of secrets.
        metrics: Counts what this process does.
        tracing: Sends traces, where that is configured.
        on_close: Gives back what else is held open.
    """

    settings: Settings
    db: Database
    store: ObjectStore
    signer: Signer
    tokens: TokenBook
    vault: Vault
    probes: Probes
    providers: Mapping[str, Provider] = field(default_factory=dict)
    poster: Poster = field(default_factory=Poster)
    mailer: Mailer | None = None
    hosts: Hosts = field(default_factory=dict)
    github: IdentityProvider | None = None
    limiter: Limiter = field(default_factory=lambda: Limiter(None, {}))
    doors: Doors = field(default_factory=lambda: Doors(Limiter(None, {}), 4))
    metrics: Metrics = field(default_factory=Metrics)
    tracing: Tracing | None = None
    on_close: tuple[Callable[[], None], ...] = ()

    def close(self) -> None:
        """Gives back what is held open."""
        for close in (*self.on_close, self.db.close):
            close()

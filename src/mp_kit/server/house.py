"""The parts of a running marketplace, held together for those who need several of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mp_kit.server.providers.base import Provider
from mp_kit.server.providers.probes import Probes
from mp_kit.server.services.tokens import TokenBook
from mp_kit.server.settings import Settings
from mp_kit.server.storage import ObjectStore
from mp_kit.server.store.engine import Database
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
    """

    settings: Settings
    db: Database
    store: ObjectStore
    signer: Signer
    tokens: TokenBook
    vault: Vault
    probes: Probes
    providers: Mapping[str, Provider] = field(default_factory=dict)

    def close(self) -> None:
        """Gives back what is held open."""
        self.db.close()

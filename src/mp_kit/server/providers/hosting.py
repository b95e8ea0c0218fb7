"""What every place for servers offers the keeper and the sweep: start, find, look, scale, end, logs, mine.

1. ``start`` is idempotent by (deployment, attempt): the name is searched first, ordered once, and never ordered again
   after a lost answer; ``find`` tells what became of it.
2. ``GONE`` means that nothing is left to pay for, confirmed; who is not sure says ``UNKNOWN``.
3. ``end`` may be repeated. It asks; only ``look`` says that it happened.
4. ``mine`` tells what bears this marketplace's name, wanted or not, and nothing else of a vendor's.
5. Secrets travel in ``HostOrder.env`` only, and never show in a repr.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Protocol

from mp_kit.masking import storable
from mp_kit.server.providers.addresses import AddressGuard

__all__ = ["Door", "FoundServer", "Host", "HostOrder", "HostPhase", "HostView", "Hosted", "Hosts", "Place"]


@dataclass(frozen=True)
class HostOrder:
    """A server to start.

    Attributes:
        deployment_id: Which deployment.
        attempt: Counts launches of it from 1.
        vendor_id: On whose account.
        env: Of the server, with the deployment's token.
        spec: ``cpu``, ``memory``, ``gpu``, ``image``, ``workers_min``, ``workers_max``, ``timeout_seconds``,
            ``idle_seconds``, ``max_price_per_hour`` as ordered.
    """

    deployment_id: str
    attempt: int
    vendor_id: str
    env: Mapping[str, str] = field(repr=False)
    spec: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Hosted:
    """What a start gave; stored with the deployment.

    Attributes:
        ref: The provider's own id.
        vendor_id: On whose account.
        endpoint: Where it answers, as the provider gave it.
        data: Anything else that the provider wants to find again; JSON, no secrets.
    """

    ref: str
    vendor_id: str
    endpoint: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Door:
    """Where a server's ``/infer`` is asked.

    Attributes:
        url: The address, as its provider or its vendor gave it.
        guard: Says whether it may be sent to; asked again for each call.
        bearer: A credential that this address, and no other, may see.
        wants_pass: It asks its callers for a token of its deployment.
    """

    url: str
    guard: AddressGuard
    bearer: str | None = field(default=None, repr=False)
    wants_pass: bool = False


class HostPhase(StrEnum):
    """How a server looks from outside."""

    STARTING = "starting"
    READY = "ready"
    ASLEEP = "asleep"  # an endpoint without workers; a request wakes it
    SICK = "sick"  # it is there, and its workers fail
    GONE = "gone"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class HostView:
    """What the provider sees of a server.

    Attributes:
        phase: Its phase.
        workers: Workers by state, ``total`` among them.
        limits: Fewest and most workers as the provider has them now; None where it has none.
        detail: A sentence for the vendor; what cannot be stored is replaced, whoever said it.
        price_per_hour: US dollars as charged now; None where that is not told.
        is_beyond_repair: It costs, and only another launch mends it.
    """

    phase: HostPhase
    workers: Mapping[str, int] = field(default_factory=dict)
    limits: tuple[int, int] | None = None
    detail: str = ""
    price_per_hour: Decimal | None = None
    is_beyond_repair: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", storable(self.detail))


@dataclass(frozen=True)
class FoundServer:
    """Something of ours on a vendor's account, whether or not a deployment wants it.

    Attributes:
        hosted: To end it.
        deployment_id: Read from its name.
        attempt: Read from its name.
        created_at: When its provider made it.
        price_per_hour: US dollars; 0 where it costs by use, or nothing.
    """

    hosted: Hosted
    deployment_id: str
    attempt: int
    created_at: datetime
    price_per_hour: float = 0.0


class Host(Protocol):
    """A place where servers run."""

    def check(self, spec: Mapping[str, Any]) -> None:
        """Refuses what could never be started; asks nobody.

        Raises:
            InvalidInputError: Why, and what would do.
        """

    def start(self, order: HostOrder) -> Hosted:
        """Starts a server, or finds the one that this order already started.

        Raises:
            ProviderError: Not now, and nothing was started.
            UnavailableError: It is not known whether something was started; ``find`` is asked from now on.
            MarketplaceError: Any other refusal is final, and nothing was started.
        """

    def find(self, deployment_id: str, attempt: int, vendor_id: str, since: datetime) -> Hosted | None:
        """What a start made whose answer was lost; None once it is sure that it made nothing.

        Raises:
            UnavailableError: Not sure yet; ask again.
        """

    def look(self, hosted: Hosted) -> HostView:
        """What is seen of a server."""

    def scale(self, hosted: Hosted, least: int, most: int) -> None:
        """Sets the number of workers; no error where there are none."""

    def end(self, hosted: Hosted) -> None:
        """Asks for a server's end; repeatable, and no error if it has ended."""

    def logs(self, hosted: Hosted, tail: int) -> Sequence[str]:
        """The last lines that it wrote."""

    def door(self, hosted: Hosted) -> Door:
        """Where it is asked: the address that the provider told, with what that address wants to see.

        Raises:
            MarketplaceError: The vendor's credential is not to be had.
        """

    def mine(self, vendor_id: str) -> Sequence[FoundServer]:
        """Every server on the vendor's account that bears this marketplace's name and still exists.

        Raises:
            CredentialError: The vendor has no account, or its key is refused.
            ProviderError: The provider does not answer.
        """


Place = tuple[str, str]
"""Provider and kind, ``("runpod", "pod")`` for instance."""

Hosts = Mapping[Place, Host]
"""Where servers run here."""

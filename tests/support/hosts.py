"""A place for servers in memory, which can lose answers and servers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from mp_kit.errors import MarketplaceError
from mp_kit.server.providers.addresses import AddressGuard
from mp_kit.server.providers.hosting import Door, FoundServer, Hosted, HostOrder, HostPhase, Hosts, HostView


def everywhere(host: MemoryHost) -> Hosts:
    """One place in place of all."""
    places = (("local", "process"), ("runpod", "endpoint"), ("runpod", "pod"))
    return dict.fromkeys(places, host)


class MemoryHost:
    """Servers as entries of a dictionary.

    Attributes:
        alive: What runs, by ref.
        orders: Every order that came.
        refuse: Raised in place of the next answers to ``start``.
        lose: The server is made, and the answer is lost.
        unsure: Raised by ``find``.
        limits: As the provider has them; None for as ordered.
        stubborn: How many requests to end it ignores.
        view: What ``look`` tells of a living one, in place of the usual.
        found: What ``mine`` tells, by vendor; an error is raised.
        said: The lines of every log.
        mute: Raised in place of a log.
    """

    def __init__(self) -> None:
        self.alive: dict[str, Hosted] = {}
        self.orders: list[HostOrder] = []
        self.refuse: list[MarketplaceError] = []
        self.lose: MarketplaceError | None = None
        self.unsure: MarketplaceError | None = None
        self.limits: tuple[int, int] | None = None
        self.scaled: list[tuple[int, int]] = []
        self.stubborn = 0
        self.asks_callers = False
        self.view: HostView | None = None
        self.found: dict[str, list[FoundServer] | MarketplaceError] = {}
        self.ended: list[str] = []
        self.said = ["listening"]
        self.mute: MarketplaceError | None = None

    def check(self, spec: Mapping[str, Any]) -> None:
        """Takes every order."""

    def start(self, order: HostOrder) -> Hosted:
        """Makes it, and answers or not."""
        self.orders.append(order)
        if self.refuse:
            raise self.refuse.pop(0)
        ref = f"{order.deployment_id}/{order.attempt}"
        made = self.alive.setdefault(ref, Hosted(ref, order.vendor_id, f"http://host.test/{ref}"))
        if self.lose is not None:
            raise self.lose
        return made

    def find(self, deployment_id: str, attempt: int, vendor_id: str, since: datetime) -> Hosted | None:  # noqa: ARG002 - the protocol's
        """What is alive, if that can be told."""
        if self.unsure is not None:
            raise self.unsure
        return self.alive.get(f"{deployment_id}/{attempt}")

    def look(self, hosted: Hosted) -> HostView:
        """Alive or gone."""
        if hosted.ref not in self.alive:
            return HostView(HostPhase.GONE, detail="killed from outside")
        return self.view or HostView(HostPhase.READY, {"running": 1, "total": 1}, self.limits, "1 running")

    def scale(self, hosted: Hosted, least: int, most: int) -> None:  # noqa: ARG002 - the protocol's
        """Notes it."""
        self.scaled.append((least, most))
        self.limits = (least, most)

    def end(self, hosted: Hosted) -> None:
        """Ends it, unless it is stubborn."""
        self.ended.append(hosted.ref)
        if self.stubborn:
            self.stubborn -= 1
        else:
            self.alive.pop(hosted.ref, None)

    def door(self, hosted: Hosted) -> Door:
        """Where it was said to be."""
        guard, where = AddressGuard(allow_private=True), f"{hosted.endpoint}/infer"
        return Door(where, guard, wants_pass=True) if self.asks_callers else Door(where, guard, "key-of-the-vendor")

    def logs(self, hosted: Hosted, tail: int) -> Sequence[str]:  # noqa: ARG002 - the protocol's
        """What it said last."""
        if self.mute is not None:
            raise self.mute
        return self.said[-tail:]

    def mine(self, vendor_id: str) -> Sequence[FoundServer]:
        """What was put there."""
        found = self.found.get(vendor_id, [])
        if isinstance(found, MarketplaceError):
            raise found
        return found

"""The state behind the API: accounts, their pods and their balances.

1. Everything happens under one lock; nothing waits while it is held.
2. An account sees its own pods only. A pod's key sees its own pod only.
3. At a balance of zero an account's pods are terminated, those with a network volume stopped, at the very second.
"""

from __future__ import annotations

import random
import secrets
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import chain
from typing import Any

from mp_kit.testing.fake_runpod.catalog import Catalogue
from mp_kit.testing.fake_runpod.clock import Clock
from mp_kit.testing.fake_runpod.faults import Fault, Trouble
from mp_kit.testing.fake_runpod.pods import Pod, Status
from mp_kit.testing.fake_runpod.requests import CreatePod

__all__ = ["Account", "Cloud", "Pace", "free_port"]

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_ENDS = {Fault.VANISHES: Status.TERMINATED, Fault.EXITS: Status.EXITED, Fault.ERRORS: Status.ERROR}


@dataclass(frozen=True)
class Pace:
    """How long things take, in seconds.

    Attributes:
        provisioning: From creation until a machine is found.
        pull: Of the image and the start of the container.
        restart: Between the end of a main process and its next start.
        grace: From SIGTERM to SIGKILL when a pod is terminated or stopped.
    """

    provisioning: float = 0.1
    pull: float = 0.1
    restart: float = 1.0
    grace: float = 10.0


@dataclass
class Account:
    """An owner of pods.

    Attributes:
        key: Its API key.
        credit: US dollars it has paid in; None for as much as it takes.
    """

    key: str = field(repr=False)
    credit: Decimal | None


class Cloud:
    """All of it.

    Args:
        clock: Tells the time.
        credits: API keys with their credit.
        pace: How long things take.
        seed: Of the ids.
    """

    def __init__(self, clock: Clock, credits: Mapping[str, Decimal | None], pace: Pace, seed: int = 7) -> None:  # noqa: A002 - the field's term
        self.lock = threading.RLock()
        self.clock = clock
        self.pace = pace
        self.catalogue = Catalogue()
        self.accounts = {key: Account(key, credit) for key, credit in credits.items()}
        self.pods: dict[str, Pod] = {}
        self.workers: dict[str, Pod] = {}
        self.templates: dict[str, dict[str, Any]] = {}
        self.told_templates: dict[str, dict[str, Any]] = {}
        self.on_create: Callable[[Pod], None] = lambda _pod: None
        self.life: Callable[[Pod], Sequence[tuple[float, str]]] = lambda _pod: ()
        self._random = random.Random(seed)  # noqa: S311 - repeatable ids, no secret

    def new_id(self, length: int = 14) -> str:
        """An id as RunPod makes them."""
        return "".join(self._random.choices(_ALPHABET, k=length))

    def create(self, owner: str, wanted: CreatePod, spec: dict[str, Any], troubles: Sequence[Trouble]) -> Pod:
        """Makes a pod; whether it may be made has been checked."""
        now = self.clock.now()
        met = {trouble.fault: trouble for trouble in troubles}
        pod_id = self.new_id()
        pod = Pod(
            id=pod_id,
            owner=owner,
            spec=spec,
            price=self.price(wanted) * Decimal(str(_number(met, Fault.PRICE_ABOVE_QUOTE, "factor", 1))),
            created_at=now,
            key=f"rpa_pod_{pod_id}_{secrets.token_hex(12)}",
            timeline=self.timeline(now, met),
            troubles=tuple(troubles),
            place=self._place(wanted),
        )
        pod.hidden_from_get = _until(now, met, Fault.HIDDEN, Fault.HIDDEN_FROM_GET)
        pod.hidden_from_list = _until(now, met, Fault.HIDDEN, Fault.HIDDEN_FROM_LIST)
        self._open_doors(pod)
        self.pods[pod.id] = pod
        self._plan(pod, now)
        self.on_create(pod)
        return pod

    def _open_doors(self, pod: Pod) -> None:
        """Gives an http port of the pod one of this machine, where its ``PORT`` names it, or names none."""
        ports = [text.removesuffix("/http") for text in pod.spec.get("ports", []) if text.endswith("/http")]
        if wanted := next((port for port in ports if port == pod.spec["env"].get("PORT", port)), None):
            pod.doors = {int(wanted): free_port()}
            pod.added_env = {"PORT": str(pod.doors[int(wanted)])}

    def price(self, wanted: CreatePod) -> Decimal:
        """US dollars per hour for what is wanted, as the catalogue has it."""
        if "gpu" in wanted.model_fields_set:
            kind = self.catalogue.find(wanted.gpu.id)
            return kind.price(wanted.cloud) * wanted.gpu.count if kind else Decimal(0)
        return self.catalogue.cpu_price * wanted.cpu.vcpuCount

    def visible(self, owner: str, after: str = "") -> list[Pod]:
        """The pods that a list shows, oldest first; those made after a certain one, if it is named."""
        now = self.clock.now()
        pods = list(self.pods.values())
        start = list(self.pods).index(after) + 1 if after else 0
        return [pod for pod in pods[start:] if self._shown(pod, owner, now, pod.hidden_from_list)]

    def find(self, owner: str, pod_id: str) -> Pod | None:
        """A pod of this account that is neither gone nor hidden."""
        pod, now = self.pods.get(pod_id), self.clock.now()
        return pod if pod and self._shown(pod, owner, now, pod.hidden_from_get) else None

    def by_pod_key(self, key: str) -> Pod | None:
        """The pod that a key belongs to."""
        return next((pod for pod in self.pods.values() if pod.key == key), None)

    def spent(self, owner: str, at: datetime) -> Decimal:
        """What an account's pods have cost up to an instant."""
        return sum((pod.cost(at).total for pod in self._all() if pod.owner == owner), Decimal(0))

    def balance(self, owner: str) -> Decimal | None:
        """What an account has left; None if it has no bounds."""
        credit = self.accounts[owner].credit
        return None if credit is None else credit - self.spent(owner, self.clock.now())

    def settle(self) -> None:
        """Ends the pods of accounts that have run out of money; called before each look."""
        now = self.clock.now()
        for account in self.accounts.values():
            if account.credit is not None and self.spent(account.key, now) >= account.credit:
                self._ran_dry(account, now)
        for pod in self._all():
            pod.catch_up(now)

    def _ran_dry(self, account: Account, now: datetime) -> None:
        alive = [pod for pod in self._all() if pod.owner == account.key and not pod.ended_at(now)]
        if not alive:
            return
        at = self._zero(account, min(pod.created_at for pod in alive), now)
        for pod in alive:
            kept = bool(pod.spec["mounts"].get("network"))
            pod.mark(Status.EXITED if kept else Status.TERMINATED, max(at, pod.created_at))

    def _zero(self, account: Account, low: datetime, high: datetime) -> datetime:
        """The first second at which nothing is left, between two instants."""
        while high - low > timedelta(seconds=1):
            middle = low + (high - low) / 2
            dry = account.credit is not None and self.spent(account.key, middle) >= account.credit
            low, high = (low, middle) if dry else (middle, high)
        return high

    def _all(self) -> Iterator[Pod]:
        return chain(self.pods.values(), self.workers.values())

    def _shown(self, pod: Pod, owner: str, now: datetime, hidden_until: datetime | None) -> bool:
        gone = pod.status(now) is Status.TERMINATED
        return pod.owner == owner and not gone and not (hidden_until and now < hidden_until)

    def timeline(self, now: datetime, met: Mapping[Fault, Trouble]) -> list[tuple[datetime, Status]]:
        """What becomes of a pod that is made now, as its troubles have it."""
        begin = now + timedelta(seconds=self.pace.provisioning)
        running = begin + timedelta(seconds=self.pace.pull + _number(met, Fault.SLOW_PULL, "seconds", 0))
        line = [(now, Status.PROVISIONING)]
        if Fault.STUCK not in met:
            line += [(begin, Status.STARTING), (running, Status.RUNNING)]
        ends = [(now + timedelta(seconds=met[fault].seconds), end) for fault, end in _ENDS.items() if fault in met]
        return _cut(line, min(ends)) if ends else line

    def _plan(self, pod: Pod, now: datetime) -> None:
        """Adds what the test's script says about this pod."""
        planned = [(now + timedelta(seconds=seconds), Status(status)) for seconds, status in self.life(pod)]
        for entry in sorted(planned):
            pod.timeline = _cut(pod.timeline, entry)

    def _place(self, wanted: CreatePod) -> str:
        kind = self.catalogue.find(wanted.gpu.id) if "gpu" in wanted.model_fields_set else None
        places = kind.places if kind else ("EU-RO-1",)
        return next((place for place in places if place in wanted.dataCenterIds), places[0])


def free_port() -> int:
    """A port of the loopback that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _cut(line: list[tuple[datetime, Status]], end: tuple[datetime, Status]) -> list[tuple[datetime, Status]]:
    return [*(entry for entry in line if entry[0] <= end[0]), end]


def _number(met: Mapping[Fault, Trouble], fault: Fault, name: str, otherwise: float) -> float:
    return float(getattr(met[fault], name)) if fault in met else otherwise


def _until(now: datetime, met: Mapping[Fault, Trouble], *faults: Fault) -> datetime | None:
    ends = [now + timedelta(seconds=met[fault].seconds) for fault in faults if fault in met]
    return max(ends, default=None)

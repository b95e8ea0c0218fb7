"""Bring your own compute: the vendor runs the job anywhere; we start nothing, own nothing, and only listen.

1. ``launch`` starts nothing. The vendor fetches the job's environment, with its run token, and runs it where they like.
2. What is known of a job is what it says: no heartbeat yet is ``STARTING``, one is ``RUNNING``.
3. Nobody can look whether something is left on a machine of the vendor's, and nothing there costs us. So ``GONE`` means
   that the job will not be heard any more: it told its outcome, it never spoke, or it was silent for two minutes after
   it was to end. What speaks later is told to stop, and its token can do nothing more.
4. ``terminate`` does nothing: the answer to the job's next heartbeat says stop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from mp_kit.server import clock
from mp_kit.server.providers.base import Found, Handle, LaunchOrder, Observed, Offer, Phase

__all__ = ["SILENCE", "ByocProvider", "Heard"]

SILENCE = timedelta(minutes=2)
"""A job that is to end and was not heard for this long will not be heard any more."""


@dataclass(frozen=True)
class Heard:
    """What a run's job has said so far.

    Attributes:
        at: When it was last heard; None if never.
        has_told: Its outcome is known.
        ending_since: When it was told to end, or its end became known; None while it is to go on.
    """

    at: datetime | None = None
    has_told: bool = False
    ending_since: datetime | None = None


class ByocProvider:
    """Listens to jobs on vendors' own machines.

    Args:
        hear: What the jobs of these runs have said, by run.
    """

    def __init__(self, hear: Callable[[Sequence[str]], Mapping[str, Heard]]) -> None:
        self._hear = hear

    def check(self, machine: Mapping[str, Any]) -> None:
        """Takes every order."""

    def offers(self, vendor_id: str, machine: Mapping[str, Any]) -> Sequence[Offer]:  # noqa: ARG002 - the protocol's
        """A machine of the vendor's own, which costs nothing here."""
        return [Offer("a machine of your own", Decimal(0))]

    def launch(self, order: LaunchOrder) -> Handle:
        """Starts nothing; the run waits for its first heartbeat."""
        return Handle(ref=f"{order.run_id}/{order.attempt}", vendor_id=order.vendor_id)

    def find(self, run_id: str, attempt: int, vendor_id: str, since: datetime) -> Handle | None:  # noqa: ARG002 - the protocol's
        """The handle that any launch of this attempt gives."""
        return Handle(ref=f"{run_id}/{attempt}", vendor_id=vendor_id)

    def observe(self, handles: Sequence[Handle]) -> Mapping[str, Observed]:
        """What the jobs' own words say; one question to the database for all of them."""
        heard = self._hear([_run_of(handle) for handle in handles]) if handles else {}
        now = clock.now()
        return {handle.ref: _look(heard.get(_run_of(handle)), now) for handle in handles}

    def terminate(self, handle: Handle) -> None:
        """Nothing: the next heartbeat's answer says stop."""

    def mine(self, vendor_id: str) -> Sequence[Found]:  # noqa: ARG002 - the protocol's
        """Nothing: what runs on a vendor's machines is theirs."""
        return []

    def billed(self, handles: Sequence[Handle], since: datetime) -> Mapping[str, Decimal]:  # noqa: ARG002 - the protocol's
        """Nothing: each handle's bill is zero."""
        return {handle.ref: Decimal(0) for handle in handles}


def _run_of(handle: Handle) -> str:
    return handle.ref.partition("/")[0]


def _look(heard: Heard | None, now: datetime) -> Observed:
    if heard is None:
        return Observed(Phase.UNKNOWN)
    if heard.ending_since is None:
        return Observed(Phase.RUNNING if heard.at else Phase.STARTING)
    if heard.has_told:
        return Observed(Phase.GONE, detail="It told its outcome.")
    if heard.at is None:
        return Observed(Phase.GONE, detail="It never spoke.")
    silent = now - max(heard.at, heard.ending_since)
    return Observed(Phase.GONE, detail="It fell silent.") if silent > SILENCE else Observed(Phase.RUNNING)

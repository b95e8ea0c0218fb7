"""What every compute provider offers the supervisor: quote, launch, observe, terminate, account for.

1. ``launch`` is idempotent by (run, attempt): called again, it finds what the first call made.
2. ``observe`` takes all handles at once and makes one list call per vendor, however many runs there are.
3. ``GONE`` means that nothing is left to pay for, confirmed; a provider that is not sure yet says ``UNKNOWN``.
4. ``terminate`` may be repeated in any phase. It asks; only ``observe`` says that it happened.
5. A job may know its end by itself (``MP_DEADLINE``), but no provider is trusted to enforce it.
6. Secrets travel in ``LaunchOrder.env`` only, and never show in a repr.
7. A launch whose answer was lost is never sent again under the same attempt: ``find`` tells what became of it.
8. Money is ``Decimal`` US dollars; what ``billed`` says is the truth, price times hours only an estimate of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Protocol

from mp_kit.contracts.training import RunOutcome
from mp_kit.errors import ProviderError, UnavailableError
from mp_kit.masking import storable

__all__ = [
    "Found",
    "Handle",
    "LaunchOrder",
    "Observed",
    "Offer",
    "PacedError",
    "Phase",
    "Provider",
    "UnsearchedError",
]


class PacedError(ProviderError):
    """The provider takes no more requests for now: it did not look at this one, which has done nothing."""


class UnsearchedError(UnavailableError):
    """Nobody can tell what is there, so that this launch ordered nothing; an earlier one of its attempt may have."""


@dataclass(frozen=True)
class LaunchOrder:
    """What to start.

    Attributes:
        run_id: The run.
        attempt: Counts launches of this run from 1.
        vendor_id: On whose account.
        env: The container's environment, with the run token.
        deadline: When it has to be over.
        machine: ``gpu``, ``cpu``, ``memory``, ``disk`` and ``base_image`` as ordered; each may be missing.
        max_cost_usd: Upper bound of the whole run's cost, if there is one.
        on_made: Told of a machine as soon as it exists, also of one that is ended at once because it costs too much.
    """

    run_id: str
    attempt: int
    vendor_id: str
    env: Mapping[str, str] = field(repr=False)
    deadline: datetime
    machine: Mapping[str, Any] = field(default_factory=dict)
    max_cost_usd: float | None = None
    on_made: Callable[[Handle], None] = field(default=lambda _: None, repr=False, compare=False)


@dataclass(frozen=True)
class Handle:
    """What a launch gave; stored with the run.

    Attributes:
        ref: The provider's own id, unique within the provider.
        vendor_id: On whose account.
        price_per_hour: US dollars.
        data: Anything else that the provider wants to find again; JSON, no secrets.
    """

    ref: str
    vendor_id: str
    price_per_hour: float = 0.0
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Offer:
    """A kind of machine that a launch may take, as the provider's catalogue has it now.

    Attributes:
        name: As the provider calls it.
        price_per_hour: US dollars for the whole machine.
        stock: ``high``, ``medium``, ``low``, ``none``; ``any`` where nothing runs out.
        cloud: The provider's kind of place, where it has several.
        data: What a launch needs to order exactly this; JSON, no secrets.
    """

    name: str
    price_per_hour: Decimal
    stock: str = "any"
    cloud: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """Something of ours on a vendor's account, whether or not a run knows of it.

    Attributes:
        handle: To observe and terminate it.
        run_id: Read from its name.
        attempt: Read from its name.
        created_at: When the provider made it.
    """

    handle: Handle
    run_id: str
    attempt: int
    created_at: datetime


class Phase(StrEnum):
    """How a launched job looks from outside."""

    STARTING = "starting"  # ordered, not running yet: placing, pulling the image
    RUNNING = "running"  # its main process runs
    EXITED = "exited"  # its main process ended; the machine is still there and may cost money
    GONE = "gone"  # nothing is left of it
    UNKNOWN = "unknown"  # the provider could not tell this time


@dataclass(frozen=True)
class Observed:
    """What the provider sees of a job.

    Attributes:
        phase: Its phase.
        exit_code: The main process's exit code, where the provider knows it.
        outcome: What the job wrote down about itself, where the provider can read it.
        detail: A sentence for the run's history; what cannot be stored is replaced, whoever said it.
    """

    phase: Phase
    exit_code: int | None = None
    outcome: RunOutcome | None = None
    detail: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", storable(self.detail))


class Provider(Protocol):
    """A place where trainings run."""

    def check(self, machine: Mapping[str, Any]) -> None:
        """Refuses an order that no launch could carry out; asks nobody.

        Raises:
            InvalidInputError: Why, and what would do.
        """

    def offers(self, vendor_id: str, machine: Mapping[str, Any]) -> Sequence[Offer]:
        """What would do for a machine as ordered, in the order in which a launch tries it.

        Raises:
            InvalidInputError: No such GPU exists; the message names some that do.
            CredentialError: The vendor has not connected an account, or its key is refused.
            ProviderError: The provider does not answer.
        """

    def launch(self, order: LaunchOrder) -> Handle:
        """Starts a job, or finds the one that this order already started.

        Raises:
            ProviderError: Not now, and nothing was started; trying again later makes sense. ``PacedError`` if the
                provider only wants to be asked later.
            UnsearchedError: This call has started nothing, and could not tell whether an earlier one did.
            UnavailableError: It is not known whether something was started; ``find`` is asked from now on.
            MarketplaceError: Any other refusal is final, and nothing was started.
        """

    def find(self, run_id: str, attempt: int, vendor_id: str, since: datetime) -> Handle | None:
        """What a launch made whose answer was lost; None once it is sure that it made nothing.

        Args:
            run_id: The run.
            attempt: Which of its launches.
            vendor_id: On whose account.
            since: When that launch began; what is absent soon after may still appear.

        Raises:
            UnavailableError: Not sure yet; ask again.
        """

    def observe(self, handles: Sequence[Handle]) -> Mapping[str, Observed]:
        """What is seen of each handle, by its ``ref``; one that is missing in the answer is unknown.

        Raises:
            ProviderError: The provider does not answer.
        """

    def terminate(self, handle: Handle) -> None:
        """Asks for the end of a job; repeatable, and no error if it has ended."""

    def mine(self, vendor_id: str) -> Sequence[Found]:
        """Everything on the vendor's account that bears this marketplace's name; nothing else of the vendor's.

        Raises:
            ProviderError: The provider does not answer.
        """

    def billed(self, handles: Sequence[Handle], since: datetime) -> Mapping[str, Decimal]:
        """What the provider has charged for each handle since an instant, by ``ref``; one without a bill is missing.

        Raises:
            ProviderError: The provider does not answer.
        """

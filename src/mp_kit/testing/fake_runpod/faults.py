"""What can go wrong with RunPod, and when it shall.

1. A fault is drawn per request: first those queued with ``next``, then those that hold ``always``, then by chance.
2. Chance is seeded: the same seed and the same requests give the same faults.
3. Faults of ``create`` that speak of the pod (hidden, slow, dying …) follow the pod that this request makes.
"""

from __future__ import annotations

import random
import threading
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from mp_kit.errors import InvalidInputError

__all__ = ["OPERATIONS", "Fault", "Faults", "Trouble"]

OPERATIONS = (
    *("create", "list", "get", "update", "delete", "action", "logs"),
    *("catalog", "billing", "template", "endpoint_create", "endpoint", "endpoint_request", "pod_request"),
)
"""The names that faults are set for; ``*`` stands for each of them."""


class Fault(StrEnum):
    """A misbehaviour; ``Trouble`` says which of its numbers it reads."""

    # any operation
    RATE_LIMITED = "rate_limited"  # 429, Retry-After: seconds
    SERVER_ERROR = "server_error"  # status (500) before anything was done
    NO_ANSWER = "no_answer"  # the connection is cut before anything was done
    SLOW_ANSWER = "slow_answer"  # done, answered after seconds
    DONE_BUT_500 = "done_but_500"  # done, answered with status (500)
    DONE_BUT_CUT = "done_but_cut"  # done, connection cut instead of an answer
    NO_JSON = "no_json"  # 502 with a page of HTML
    # the same for create, by the names that people search for
    CREATED_BUT_500 = "created_but_500"
    CREATED_BUT_CUT = "created_but_cut"
    CREATED_BUT_SLOW = "created_but_slow"
    # refusals of create
    NO_CAPACITY = "no_capacity"  # 400; only for this gpu, if named
    NO_BALANCE = "no_balance"  # 402
    NO_ACCESS = "no_access"  # 403; only for this gpu, if named
    # what becomes of a pod that create makes; seconds count from the creation
    HIDDEN = "hidden"  # 404 and missing in the list for seconds
    HIDDEN_FROM_GET = "hidden_from_get"  # 404 for seconds
    HIDDEN_FROM_LIST = "hidden_from_list"  # missing in the list for seconds
    SLOW_PULL = "slow_pull"  # STARTING lasts seconds longer
    STUCK = "stuck"  # never leaves PROVISIONING
    PRICE_ABOVE_QUOTE = "price_above_quote"  # costs factor times the catalogue's price
    NETWORK_DEAD = "network_dead"  # RUNNING, but its MP_API_URL and RunPod's are out of reach
    VANISHES = "vanishes"  # gone after seconds, as if deleted in the console
    EXITS = "exits"  # EXITED after seconds
    ERRORS = "errors"  # ERROR after seconds
    KEY_FORBIDDEN = "key_forbidden"  # the key inside the pod gets 403
    # of delete and action
    DELETE_404 = "delete_404"  # answers 404 although the pod is there, and leaves it there
    DELETE_LINGERS = "delete_lingers"  # 204, but the pod runs and costs for seconds more
    ACTION_NO_OP = "action_no_op"  # 200, and nothing happens
    ZERO_GPU = "zero_gpu"  # start gives a pod without GPUs
    # logs
    SSE_SILENT = "sse_silent"  # open, and never a line
    SSE_CUT = "sse_cut"  # cut after count lines
    SSE_REPEATS = "sse_repeats"  # sends each line twice, and old ones again after a resume


@dataclass(frozen=True)
class Trouble:
    """A fault with its numbers.

    Attributes:
        fault: Which.
        seconds: How long, or how late.
        status: HTTP status, where the fault answers with one.
        factor: On the price.
        count: Of lines.
        gpu: Only requests for this GPU type id meet it.
    """

    fault: Fault
    seconds: float = 5.0
    status: int = 500
    factor: float = 2.0
    count: int = 1
    gpu: str | None = None

    def meets(self, gpu: str | None) -> bool:
        """Whether a request for this GPU type meets it."""
        return self.gpu is None or self.gpu == gpu


class Faults:
    """Which faults happen; may be changed at any time, from any thread.

    Args:
        seed: Of the faults that happen by chance.
    """

    def __init__(self, seed: int = 7) -> None:
        self._lock = threading.Lock()
        self._random = random.Random(seed)  # noqa: S311 - repeatable chance, no secret
        self._next: defaultdict[str, deque[tuple[Trouble, ...]]] = defaultdict(deque)
        self._always: defaultdict[str, list[tuple[float, Trouble]]] = defaultdict(list)
        self.drawn: list[tuple[str, Fault]] = []

    def next(self, operation: str, *faults: Fault | Trouble, times: int = 1, **numbers: float | str) -> None:
        """Makes the next requests of an operation fail.

        Args:
            operation: One of ``OPERATIONS``, or ``*``.
            faults: All of them befall the same request; none lets a request pass unharmed.
            times: For how many requests.
            **numbers: Attributes of :class:`Trouble` for each fault that is no ``Trouble`` yet.

        Raises:
            InvalidInputError: There is no such operation.
        """
        troubles = tuple(_trouble(fault, numbers) for fault in faults)
        with self._lock:
            self._next[_known(operation)].extend([troubles] * times)

    def always(self, operation: str, fault: Fault | Trouble, chance: float = 1.0, **numbers: float | str) -> None:
        """Makes requests of an operation fail from now on, each with this chance.

        Raises:
            InvalidInputError: There is no such operation.
        """
        with self._lock:
            self._always[_known(operation)].append((chance, _trouble(fault, numbers)))

    def by_chance(self, chances: Mapping[tuple[str, Fault], float], **numbers: float | str) -> None:
        """Sets many chances: ``{("create", Fault.HIDDEN): 0.1}``."""
        for (operation, fault), chance in chances.items():
            self.always(operation, fault, chance, **numbers)

    def clear(self, operation: str | None = None) -> None:
        """Ends all faults, or those of one operation; pods that already have theirs keep them."""
        with self._lock:
            for book in (self._next, self._always):
                book.pop(operation, None) if operation else book.clear()

    def draw(self, operation: str, gpu: str | None = None) -> tuple[Trouble, ...]:
        """What befalls a request that has just come in."""
        with self._lock:
            drawn = self._queued(operation, gpu)
            chances = [*self._always[operation], *self._always["*"]]
            drawn += tuple(trouble for chance, trouble in chances if self._happens(chance) and trouble.meets(gpu))
            self.drawn.extend((operation, trouble.fault) for trouble in drawn)
            return drawn

    def _queued(self, operation: str, gpu: str | None) -> tuple[Trouble, ...]:
        """The first queued entry that this request meets; others keep waiting."""
        for queue in (self._next[operation], self._next["*"]):
            for index, troubles in enumerate(queue):
                if all(trouble.meets(gpu) for trouble in troubles):
                    del queue[index]
                    return troubles
        return ()

    def _happens(self, chance: float) -> bool:
        return chance >= 1.0 or self._random.random() < chance


def _trouble(fault: Fault | Trouble, numbers: Mapping[str, float | str]) -> Trouble:
    if isinstance(fault, Trouble):
        return fault
    return replace(Trouble(fault), **numbers)  # type: ignore[arg-type] # names and types are Trouble's own


def _known(operation: str) -> str:
    if operation not in (*OPERATIONS, "*"):
        names = ", ".join(OPERATIONS)
        raise InvalidInputError(f"There is no operation {operation!r} to fail.", hint=f"One of {names}, or *.")
    return operation

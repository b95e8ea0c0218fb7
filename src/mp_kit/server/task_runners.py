"""Which task runner maps a flow over symbols: ``MP_TASK_RUNNER`` of the worker's environment.

``threads`` (two, or ``threads:N``) by default; ``dask:tcp://host:8786`` is a Dask scheduler that is there already,
``dask:N`` a local cluster of N processes for the length of the flow run. It stands in the environment and not in the
flow's parameters: where work is done is the deployment's to say, and an address there is nobody else's to see.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from mp_kit.errors import MissingExtraError, SetupError

__all__ = ["DEFAULT", "Choice", "make", "parse"]

DEFAULT = "threads:2"
_MOST = 256


@dataclass(frozen=True)
class Choice:
    """A task runner by its parts.

    Attributes:
        kind: Threads of this process, or Dask.
        workers: How many; of Dask only where the cluster is local.
        address: Of the Dask scheduler, if one is there.
    """

    kind: Literal["threads", "dask"]
    workers: int | None = None
    address: str | None = None


def parse(text: str | None) -> Choice:
    """Reads ``MP_TASK_RUNNER``.

    Raises:
        SetupError: It names no task runner.
    """
    kind, _, rest = (text or DEFAULT).strip().partition(":")
    if kind == "threads" and (not rest or _is_count(rest)):
        return Choice("threads", workers=int(rest or DEFAULT.partition(":")[2]))
    if kind == "dask" and _is_count(rest):
        return Choice("dask", workers=int(rest))
    if kind == "dask" and "://" in rest:
        return Choice("dask", address=rest)
    raise SetupError(
        f"MP_TASK_RUNNER={text!r} names no task runner.",
        hint="Use threads, threads:4, dask:2 for a local cluster, or dask:tcp://host:8786 for one that runs.",
    )


def make(text: str | None) -> Any:
    """The task runner itself, for a flow's decorator.

    Raises:
        SetupError: ``text`` names none.
        MissingExtraError: It names Dask, and the extra ``dask`` is not installed.
    """
    choice = parse(text)
    if choice.kind == "threads":
        from prefect.task_runners import ThreadPoolTaskRunner

        return ThreadPoolTaskRunner(max_workers=choice.workers)
    try:
        from prefect_dask.task_runners import DaskTaskRunner
    except ModuleNotFoundError as error:
        raise MissingExtraError.for_extra("dask", "Building rounds on a Dask cluster") from error
    if choice.address:
        return DaskTaskRunner(address=choice.address)
    return DaskTaskRunner(cluster_kwargs={"n_workers": choice.workers, "threads_per_worker": 1})


def _is_count(text: str) -> bool:
    return text.isdecimal() and 0 < int(text) <= _MOST

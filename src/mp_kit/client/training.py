"""Training: start runs, find them again."""

from __future__ import annotations

import builtins
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from mp_kit.client.desk import Keyed, names_of
from mp_kit.client.http import Api, Call, path, read
from mp_kit.client.invalid import invalid, invalid_choice
from mp_kit.client.opener import Opener
from mp_kit.client.results import Rows
from mp_kit.client.runs import Run
from mp_kit.client.views import EstimateView, RunRecord
from mp_kit.contracts.common import CURRENT, Task
from mp_kit.contracts.training import Budget, HyperParam, Provider, RunStatus, TrainingRequest, TrainingRun, Wandb

RUNS = "/api/training/runs"
ESTIMATE = "/api/training/estimate"


class Training(Keyed):
    """The vendor's training runs.

    Example:
        >>> run = m.train.start("signal", hyperparams={"epochs": 20}, max_hours=1, max_cost_usd=2)
    """

    def __init__(self, api: Api, opener: Callable[[], Opener], sleep: Callable[[float], None] = time.sleep) -> None:
        self._api = api
        self._opener = opener
        self._sleep = sleep

    def __repr__(self) -> str:
        return f"Training at {self._api.base_url}: start(task), list(), get(id), attach(id)"

    def __getitem__(self, run_id: str) -> Run:
        return self.get(run_id)

    def _names(self, api: Api) -> builtins.list[str]:
        return names_of(api.pages(RunRecord, RUNS, 50), "run_id")

    def start(  # noqa: PLR0913 - one readable line in a notebook wants each of these by name
        self,
        task: str | Task,
        round: str = CURRENT,  # noqa: A002 - the vendor's word, and the command's option
        *,
        hyperparams: Mapping[str, HyperParam] | None = None,
        provider: str | Provider = Provider.RUNPOD,
        max_hours: float | None = None,
        max_cost_usd: float | None = None,
        gpu: str | None = None,
        cpu: int | None = None,
        memory: int | None = None,
        disk: int | None = None,
        base_image: str | None = None,
        hf_repo_id: str | None = None,
        wandb_project: str | None = None,
        idempotency_key: str | None = None,
    ) -> Run:
        """Starts a training run.

        Args:
            task: ``signal``, ``consensus`` or ``optimizer``.
            round: Round id, or ``"current"``.
            hyperparams: Such as ``{"lr": 0.001, "epochs": 20}``.
            provider: ``runpod``, ``byoc`` or ``local``, as the operator allows.
            max_hours: Bound of the run's hours.
            max_cost_usd: Bound of its cost.
            gpu: Wanted GPU, such as ``A100``.
            cpu: Virtual CPUs.
            memory: GiB.
            disk: GB.
            base_image: Container image in place of the reference trainer's.
            hf_repo_id: Hugging Face repository for the result.
            wandb_project: Turns Weights & Biases on.
            idempotency_key: The same key never starts a second run; a fresh one by default.

        Raises:
            InvalidInputError: A value breaks the contract; nothing was sent.
            BudgetError: The budget would not hold.

        Example:
            >>> run = m.train.start("signal", hyperparams={"epochs": 20}, max_hours=1, max_cost_usd=2)
            >>> run.watch()
        """
        request = _request(
            task,
            round,
            hyperparams=hyperparams,
            hf_repo_id=hf_repo_id,
            base_image=base_image,
            wandb_project=wandb_project,
            max_hours=max_hours,
            max_cost_usd=max_cost_usd,
            provider=provider,
            gpu=gpu,
            cpu=cpu,
            memory=memory,
            disk=disk,
        )
        return self.submit(request, idempotency_key=idempotency_key)

    def submit(self, request: TrainingRequest, *, idempotency_key: str | None = None) -> Run:
        """Starts a run from a ready request.

        Example:
            >>> m.train.submit(make_request(task="signal", round_id="current", budget={"max_hours": 1}))
        """
        body = request.model_dump(mode="json", exclude_none=True)
        call = Call("POST", RUNS, json=body, idempotency_key=idempotency_key or uuid.uuid4().hex)
        return self._handle(read(TrainingRun, self._api.send(call), RUNS))

    def estimate(self, order: TrainingRequest | str | Task, **how: Any) -> EstimateView:
        """What a run would cost: the machines that a launch would try, their worst cases, your ceiling.

        Args:
            order: The task, with all else as for :meth:`start`; or a ready request.
            **how: As of :meth:`start`, but for ``idempotency_key``.

        Raises:
            InvalidInputError: There is no such GPU, or the provider is not on offer.
            CredentialError: Your RunPod account is not connected.

        Example:
            >>> m.train.estimate("signal", gpu="L4", max_hours=1)
        """
        request = order if isinstance(order, TrainingRequest) else _request(order, **how)
        body = request.model_dump(mode="json", exclude_none=True)
        return read(EstimateView, self._api.send(Call("POST", ESTIMATE, json=body)), ESTIMATE)

    def get(self, run_id: str) -> Run:
        """A run by its id.

        Example:
            >>> m.train.get(run.run_id).status
        """
        return self._handle(self._api.get(TrainingRun, path("training", "runs", run_id)))

    def attach(self, run_id: str) -> Run:
        """As :meth:`get`: takes up a run that another kernel or shell started.

        Example:
            >>> m.train.attach(run.run_id).watch()
        """
        return self.get(run_id)

    def list(self, status: str | RunStatus | None = None, limit: int = 50) -> Rows[RunRecord]:
        """The vendor's runs, newest first.

        Example:
            >>> m.train.list("succeeded")
        """
        wanted = None if status is None else _status(status).value
        found = self._api.pages(RunRecord, RUNS, limit, status=wanted)
        columns = ("run_id", "task", "status", "provider", "created_at", "finished_at", "cost_usd", "failure")
        return Rows(found, "Training runs", columns)

    def _handle(self, seen: TrainingRun) -> Run:
        return Run(self._api, seen, self._opener, self._sleep)


_ORDERED = {"provider", "gpu", "cpu", "memory", "disk", "base_image", "hf_repo_id"}
_TRANSLATED = {"hyperparams", "wandb_project", "max_hours", "max_cost_usd"}


def _request(task: str | Task, round_id: str = CURRENT, **how: Any) -> TrainingRequest:
    """Builds a request out of the arguments of ``start``."""
    for name in how:
        if name not in _ORDERED | _TRANSLATED | {"round"}:
            raise invalid_choice("option of a training run", name, sorted(_ORDERED | _TRANSLATED | {"round"}))
    project = how.get("wandb_project")
    return make_request(
        round_id=how.get("round", round_id),
        task=task,
        hyperparams=dict(how.get("hyperparams") or {}),
        wandb=Wandb(enabled=project is not None, project=project),
        budget={"max_hours": how.get("max_hours"), "max_cost_usd": how.get("max_cost_usd")},
        **{name: how[name] for name in _ORDERED if name in how},
    )


def make_request(**fields: Any) -> TrainingRequest:
    """Builds a request out of its fields; ``budget`` is a mapping.

    Raises:
        InvalidInputError: A value breaks the contract; all findings are told.
    """
    try:
        return TrainingRequest(**{**fields, "budget": Budget(**fields["budget"])})
    except ValidationError as error:
        raise invalid("The training run", error) from None


def _status(value: str | RunStatus) -> RunStatus:
    try:
        return RunStatus(value)
    except ValueError:
        raise invalid_choice("status", str(value), [status.value for status in RunStatus]) from None

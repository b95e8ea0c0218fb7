"""What a model has to be: a task, a version, and an answer to each request."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from pydantic import BaseModel, ValidationError

from mp_kit.contracts.common import Task
from mp_kit.contracts.inference import (
    ConsensusInferRequest,
    ConsensusInferResponse,
    InferRequest,
    InferResponse,
    OptimizerInferRequest,
    OptimizerInferResponse,
)
from mp_kit.errors import InternalError, InvalidInputError

__all__ = ["ANSWERS", "REQUESTS", "Model", "finish", "read_request", "version_of"]

REQUESTS: Mapping[Task, type[BaseModel]] = {
    Task.SIGNAL: InferRequest,
    Task.CONSENSUS: ConsensusInferRequest,
    Task.OPTIMIZER: OptimizerInferRequest,
}
"""What POST /infer takes, by task."""

ANSWERS: Mapping[Task, type[BaseModel]] = {
    Task.SIGNAL: InferResponse,
    Task.CONSENSUS: ConsensusInferResponse,
    Task.OPTIMIZER: OptimizerInferResponse,
}
"""What POST /infer gives, by task."""

_MOST_DETAILS = 20


class Model(Protocol):
    """A model of the vendor's own. It is called from several threads at once.

    Attributes:
        task: ``signal``, ``consensus`` or ``optimizer``.
        version: Goes into each answer, unless the environment's ``MODEL_VERSION`` overrules it. An optional
            ``facts``, a mapping, is shown by ``/health``: ``symbols``, ``voices`` and ``bars`` tell callers what to
            send.
    """

    task: str
    version: str

    def infer(self, request: Any) -> Mapping[str, Any]:
        """Answers a request of its task; ``model_version`` and ``timestamp`` are added where they are left out.

        Raises:
            InvalidInputError: The request cannot be answered; the caller gets 422 and the message.
        """


def version_of(card: Mapping[str, Any]) -> str:
    """A version that names a model by its content: its task and the head of its SHA-256."""
    return f"{card['task']}-{card['onnx']['sha256'][:12]}"


def read_request(task: Task, document: Any) -> BaseModel:
    """Checks a request.

    Raises:
        InvalidInputError: It breaks the contract; ``details`` name each place.
    """
    try:
        return REQUESTS[task].model_validate(document)
    except ValidationError as error:
        found = [{"loc": list(one["loc"]), "msg": one["msg"]} for one in error.errors(include_url=False)]
        where = ".".join(str(part) for part in found[0]["loc"]) or "the body"
        raise InvalidInputError(
            f"The request breaks the contract: {where}: {found[0]['msg']}.", details=found[:_MOST_DETAILS]
        ) from None


def finish(task: Task, answer: Mapping[str, Any], version: str) -> BaseModel:
    """Completes and checks a model's answer.

    Raises:
        InternalError: The model's answer breaks the contract.
    """
    given = {"model_version": version, "timestamp": datetime.now(UTC), **answer}
    try:
        return ANSWERS[task].model_validate(given)
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in found["loc"])
        raise InternalError(f"The model's answer breaks the contract: {where}: {found['msg']}.") from error

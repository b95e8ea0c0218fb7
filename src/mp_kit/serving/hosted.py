"""The model of a deployment, fetched from the marketplace: what a hosted server runs, here and in the cloud alike.

1. The server asks with its own token for the files of the version that it serves, and keeps only what has the digest
   that was told.
2. The classes below are those of the templates: a model from a training run needs no code of its vendor's.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from mp_kit.contracts import ConsensusInferRequest, InferRequest, OptimizerInferRequest, ServedModel, Task
from mp_kit.errors import IntegrityError, NetworkError, SetupError
from mp_kit.market.indicators import WARM_UP
from mp_kit.serving.allocating import allocate
from mp_kit.serving.blending import blend
from mp_kit.serving.live import live_features
from mp_kit.serving.model import Model
from mp_kit.trainer.predict import Predictor

__all__ = ["HostedModel", "fetch", "load"]

_SECONDS = 60.0


class HostedModel:
    """A trained model behind the inference contract.

    Args:
        folder: Has ``model.onnx`` and ``model_card.json``.
        version: As it is registered.
    """

    def __init__(self, folder: Path, version: str) -> None:
        self.predictor = Predictor.load(folder)
        self.task = self.predictor.task
        self.version = version
        card = self.predictor.card
        self._window = int(card.get("window_bars", 1))
        facts: dict[str, dict[str, Any]] = {
            Task.SIGNAL.value: {"bars": WARM_UP},
            Task.CONSENSUS.value: {"voices": self.predictor.features},
            Task.OPTIMIZER.value: {"symbols": self.predictor.features, "bars": int(card.get("lookback", 0)) + 1},
        }
        self.facts: Mapping[str, Any] = facts[self.task]

    def infer(self, request: Any) -> dict[str, Any]:
        """Answers as the task wants it."""
        answers: dict[str, Callable[[Any], dict[str, Any]]] = {
            Task.SIGNAL.value: self._signal,
            Task.CONSENSUS.value: self._consensus,
            Task.OPTIMIZER.value: self._optimizer,
        }
        return answers[self.task](request)

    def _signal(self, request: InferRequest) -> dict[str, Any]:
        rows = live_features(request, self.predictor.features, self._window)
        found = self.predictor.predict(rows)
        decision, confidence = found.decisions[-1], float(found.confidences[-1])
        reads = ", ".join(f"{name} {rows[name][-1].as_py():+.4f}" for name in self.predictor.features[:3])
        return {"decision": decision, "confidence": confidence, "rationale": [f"{decision} on {reads}"]}

    def _consensus(self, request: ConsensusInferRequest) -> dict[str, Any]:
        said = blend(request.signals, self.predictor.card)
        found = self.predictor.predict(said.table)
        answer = {"decision": found.decisions[0], "confidence": float(found.confidences[0])}
        return {**answer, "contributions": said.contributions, "metadata": {"unheard": said.unheard}}

    def _optimizer(self, request: OptimizerInferRequest) -> dict[str, Any]:
        return allocate(request, self.predictor)


def fetch(environ: Mapping[str, str], folder: Path, transport: httpx.BaseTransport | None = None) -> ServedModel:
    """Fetches the files of the version that this deployment serves.

    Args:
        environ: Has ``MARKETPLACE_API_URL``, ``MARKETPLACE_TOKEN`` and ``DEPLOYMENT_ID``.
        folder: Where they go.
        transport: An httpx transport in place of the network.

    Raises:
        SetupError: A variable is missing, or the marketplace refuses.
        NetworkError: The marketplace, or where the files lie, does not answer.
        IntegrityError: A file is not the one that was told.
    """
    names = ("MARKETPLACE_API_URL", "MARKETPLACE_TOKEN", "DEPLOYMENT_ID")
    if missing := [name for name in names if not environ.get(name)]:
        raise SetupError(f"A hosted server needs {', '.join(missing)} in its environment.")
    root, token, deployment_id = (environ[name] for name in names)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with httpx.Client(timeout=_SECONDS, transport=transport, follow_redirects=False) as client:
            url = f"{root.rstrip('/')}/api/deployments/{deployment_id}/model"
            answer = client.get(url, headers={"Authorization": f"Bearer {token}"})
            if not answer.is_success:
                raise SetupError(f"The marketplace does not tell the model: HTTP {answer.status_code}.")
            served = ServedModel.model_validate(answer.json()["data"])
            for file in served.files:
                _keep(client, file.url, file.sha256, folder / Path(file.name).name)
    except httpx.HTTPError as error:
        raise NetworkError(f"The model could not be fetched: {type(error).__name__}.") from None
    return served


def _keep(client: httpx.Client, url: str, sha256: str, path: Path) -> None:
    answer = client.get(url)
    if not answer.is_success or hashlib.sha256(answer.content).hexdigest() != sha256:
        raise IntegrityError(f"{path.name} is not the file that the marketplace told of (HTTP {answer.status_code}).")
    path.write_bytes(answer.content)


def load() -> Model:
    """The model of this process's deployment: fetched, then loaded."""
    folder = Path(os.environ.get("MODEL_DIR", "model"))
    return HostedModel(folder, fetch(os.environ, folder).version)

"""The reference job, ``python -m mp_kit.trainer.job``: spec -> data -> fit -> evaluate -> artifacts -> report.

1. It runs under the wrapper, which ships what it prints and uploads what it leaves in ``MP_ARTIFACT_DIR``.
2. Hyperparameters are checked before a byte is fetched.
3. The artifacts are complete before the model goes anywhere else: no fault of the Hugging Face Hub or of Weights &
   Biases costs the model; it becomes a warning in the log and in the run's metrics.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mp_kit.contracts.common import Task
from mp_kit.errors import MarketplaceError, MissingExtraError
from mp_kit.trainer import report
from mp_kit.trainer.api import RunApi
from mp_kit.trainer.data import fetch, role_of
from mp_kit.trainer.environment import JobEnv
from mp_kit.trainer.hub import push
from mp_kit.trainer.telemetry import Telemetry
from mp_kit.trainer.tracking import Tracker

__all__ = ["main", "work"]

_ROLES = ("train", "validation", "signals")
_LONGEST_WARNING = 500


def work(environ: Mapping[str, str]) -> None:
    """Does the spec's task.

    Raises:
        MarketplaceError: The data or the hyperparameters do not do; the message says why.
    """
    env = JobEnv.read(environ)
    _check(env)
    paths = _data(env)
    telemetry = Telemetry()
    tracker = Tracker(lambda error: telemetry.warn(_sentence(env, "Weights & Biases was given up", error)))
    if env.spec.wandb.enabled:
        config = {"task": env.task.value, "round_id": env.round_id, **env.spec.hyperparams}
        project = env.spec.wandb.project
        tracker.start(project=project, run_id=env.run_id, config=config, folder=env.folder / "wandb")
    telemetry.observers.append(tracker.observe)
    try:
        target = Path(environ.get("MP_ARTIFACT_DIR") or env.folder / "artifacts")
        card = _train(env, paths, target, telemetry)
        _publish(env, environ, target, card, telemetry)
    except MarketplaceError:
        tracker.finish(1)
        raise
    tracker.finish()


def _check(env: JobEnv) -> None:
    """Refuses hyperparameters, and missing packages, at once."""
    given = env.spec.hyperparams
    if any(find_spec(name) is None for name in ("onnx", "onnxruntime", "sklearn")):
        raise MissingExtraError.for_extra("train", "Training")
    if env.task is Task.SIGNAL:
        from mp_kit.trainer.signal import check_signal

        check_signal(given)
    elif env.task is Task.CONSENSUS:
        from mp_kit.trainer.consensus import ConsensusParams

        ConsensusParams.read(given)
    else:
        from mp_kit.trainer.optimizer import OptimizerParams

        OptimizerParams.read(given)


def _data(env: JobEnv) -> list[Path]:
    """The round's files, and the signals that lie beside them."""
    folder = env.folder / "data"
    wanted = [file for file in env.files if role_of(file.name) in _ROLES]
    api = RunApi(env)
    try:
        paths = fetch(wanted, folder, renew=lambda names: api.sign(env.round_id, names))
    finally:
        api.close()
    return sorted({*paths, *folder.glob("signals-*.parquet")})


def _train(env: JobEnv, paths: list[Path], target: Path, telemetry: Telemetry) -> dict[str, Any]:
    """Trains by the task; returns the card."""
    given = env.spec.hyperparams
    if env.task is Task.SIGNAL:
        from mp_kit.trainer.signal import train_signal

        return train_signal(paths, target, hyperparams=given, round_id=env.round_id, telemetry=telemetry).card
    if env.task is Task.CONSENSUS:
        from mp_kit.trainer.consensus import train_consensus

        return train_consensus(paths, target, hyperparams=given, round_id=env.round_id, telemetry=telemetry).card
    from mp_kit.trainer.optimizer import train_optimizer

    return train_optimizer(paths, target, hyperparams=given, round_id=env.round_id, telemetry=telemetry).card


def _publish(env: JobEnv, environ: Mapping[str, str], folder: Path, card: dict[str, Any], telemetry: Telemetry) -> None:
    repo = env.spec.hf_repo_id
    if not repo:
        return
    token = environ.get("HF_TOKEN")
    if not token:
        telemetry.warn(f"The model was not pushed to {repo}: there is no HF_TOKEN. Connect a Hugging Face account.")
        return
    try:
        pushed = push(folder, card, repo_id=repo, token=token, endpoint=environ.get("HF_ENDPOINT") or None)
    except Exception as error:  # noqa: BLE001 - the library's errors have no base; none may cost the trained model
        telemetry.warn(_sentence(env, f"The model was not pushed to {repo}", error))
        return
    telemetry.say(f"pushed to {pushed.repo} as {pushed.commit}")
    telemetry.metric(hf_repo=pushed.repo, hf_commit=pushed.commit)


def _sentence(env: JobEnv, what: str, error: Exception) -> str:
    """An error in one line, without any secret of the job."""
    hint = error.hint if isinstance(error, MarketplaceError) and error.hint else ""
    text = " ".join(f"{error} {hint}".split()) or type(error).__name__
    for secret in env.secrets:
        text = text.replace(secret, "***")
    return f"{what}: {text}"[:_LONGEST_WARNING]


def main() -> int:
    """Runs the job; a failure is told in one sentence and by the exit code 1."""
    try:
        work(os.environ)
    except MarketplaceError as error:
        sentence = " ".join(part for part in (str(error), error.hint) if part)
        report.failure(sentence)
        sys.stderr.write(f"{sentence}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Pushing a trained model to the Hugging Face Hub (extra ``hub``): one commit with the graph, its card and a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mp_kit.errors import MissingExtraError
from mp_kit.trainer.card import CARD, MODEL, readme

__all__ = ["Pushed", "push"]


@dataclass(frozen=True)
class Pushed:
    """Where a model went.

    Attributes:
        repo: The repository, ``owner/name``.
        commit: The commit's hash.
    """

    repo: str
    commit: str


def push(folder: Path, card: Mapping[str, Any], *, repo_id: str, token: str, endpoint: str | None = None) -> Pushed:
    """Makes the repository, private, where there is none, and commits the model to its main branch.

    Args:
        folder: Holds ``model.onnx`` and ``model_card.json``.
        card: The card, for the page.
        repo_id: ``owner/name``; without an owner the token's own account.
        token: With the right to write there.
        endpoint: The hub; the public one by default.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
        Exception: Whatever huggingface_hub raises: it has no one base class.
    """
    if find_spec("huggingface_hub") is None:
        raise MissingExtraError.for_extra("hub", "Pushing to the Hugging Face Hub")
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()  # they would be hundreds of log lines
    api = HfApi(endpoint=endpoint, token=token, library_name="mp-kit")
    repo = api.create_repo(repo_id, private=True, exist_ok=True).repo_id
    files: dict[str, str | bytes] = {
        MODEL: str(folder / MODEL),
        CARD: str(folder / CARD),
        "README.md": readme(card).encode(),
    }
    operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=source) for name, source in files.items()]
    message = f"{card['task']} model of round {card['round_id']}"
    commit = api.create_commit(repo, operations=operations, commit_message=message)
    return Pushed(repo, str(commit.oid))

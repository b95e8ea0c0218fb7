"""The model card: what a model is, what it was made from, and what it was measured to be worth.

``data_sha256`` is the SHA-256 over the lines ``HASH  NAME`` of all files in the order of their names, which is what
``sha256sum *.parquet | sha256sum`` prints in their folder; each hash is the one in the round's manifest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel

from mp_kit.trainer.data import role_of
from mp_kit.trainer.report import clean
from mp_kit.version import __version__

__all__ = ["CARD", "MODEL", "card_of", "readme", "sha256_of", "write_card"]

MODEL = "model.onnx"
CARD = "model_card.json"

_LIBRARIES = ("numpy", "scikit-learn", "scipy", "onnx", "onnxruntime", "skl2onnx")


def card_of(
    task: str,
    files: Sequence[Path],
    params: BaseModel,
    *,
    round_id: str,
    known: Collection[str] | None = None,
    libraries: Sequence[str] = (),
) -> dict[str, Any]:
    """What every card says.

    Args:
        task: ``signal``, ``consensus`` or ``optimizer``.
        files: All files that the training read.
        params: The hyperparameters as used.
        round_id: Of the round.
        known: The hyperparameters that mean something to the model; all by default.
        libraries: Distributions to name besides the usual ones.
    """
    hashes = {path.name: sha256_of(path) for path in sorted(files, key=lambda path: path.name)}
    lines = "".join(f"{digest}  {name}\n" for name, digest in hashes.items())
    used = params.model_dump(include=None if known is None else set(known))
    return {
        "card_version": 1,
        "task": task,
        "round_id": round_id,
        "code_version": __version__,
        "libraries": _versions(libraries),
        "hyperparams": used,
        "seed": used["seed"],
        "data": hashes,
        "data_sha256": hashlib.sha256(lines.encode()).hexdigest(),
        "window": {role: _window([path for path in files if role_of(path.name) == role]) for role in _ROLES},
    }


_ROLES = ("train", "validation")


def write_card(card: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Completes the card with the model's hash and writes it beside the model; returns it as written."""
    whole: dict[str, Any] = {**card, "onnx": {**card.get("onnx", {}), "file": MODEL}}
    whole["onnx"]["sha256"] = sha256_of(folder / MODEL)
    text = json.dumps(clean(whole), indent=2, sort_keys=True, allow_nan=False)
    (folder / CARD).write_text(text)
    return dict(json.loads(text))


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def readme(card: Mapping[str, Any]) -> str:
    """The card as the Markdown page that a model hub shows."""
    lines = ["---", "library_name: onnx", "tags:", "- mp-kit", f"- {card['task']}", "---", ""]
    lines += [f"# A {card['task']} model of round {card['round_id']}", "", *card.get("verdict", []), ""]
    for title, facts in (
        ("Measured on the validation split", card["metrics"]),
        ("Hyperparameters", card["hyperparams"]),
        ("Data", {"data_sha256": card["data_sha256"], **card["data"]}),
    ):
        lines += [f"## {title}", "", "| | |", "|---|---|"]
        lines += [f"| {name} | {value} |" for name, value in facts.items()] + [""]
    lines += [f"Inputs, in this order: {', '.join(card['features'])}.", ""]
    lines += [f"Made with mp-kit {card['code_version']}, seed {card['seed']}. `{MODEL}` and `{CARD}` belong together;"]
    lines += ["`mp_kit.trainer.predict.Predictor.load(folder)` checks and loads both.", ""]
    return "\n".join(lines)


def _versions(more: Sequence[str]) -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in (*_LIBRARIES, *more)}


def _window(paths: Sequence[Path]) -> list[str] | None:
    """First and last bar of one role's files; None where they bear no time."""
    ends = [
        pc.min_max(pq.read_table(path, columns=["timestamp"])["timestamp"]).as_py()
        for path in paths
        if "timestamp" in pq.read_schema(path).names and pq.read_metadata(path).num_rows
    ]
    if not ends:
        return None
    return [str(min(end["min"] for end in ends)), str(max(end["max"] for end in ends))]

"""What a pod runs: arrays, JSON in ``args``, a plain string, or what its image brings."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from typing import Any

__all__ = ["command_of"]

_PYTHON = {"python", "python3", "/usr/bin/python3", "/usr/local/bin/python"}


def command_of(spec: Mapping[str, Any], image_command: tuple[str, ...]) -> list[str]:
    """The argument list of a pod's main process.

    ``entrypoint`` and ``cmd`` come as arrays, or as a JSON object in the string ``args``, which is how RunPod's backend
    has always decoded it; any other ``args`` is split as a shell would. With nothing given the image's own command
    runs. ``python`` is this interpreter.

    Args:
        spec: The pod's order.
        image_command: What the image would run.
    """
    args = str(spec.get("args") or "")
    entry, cmd = _from_json(args) or (spec.get("entrypoint") or [], spec.get("cmd") or shlex.split(args))
    command = [*entry, *cmd] or list(image_command)
    return [sys.executable if command[0] in _PYTHON else command[0], *command[1:]]


def _from_json(args: str) -> tuple[list[str], list[str]] | None:
    try:
        found = json.loads(args) if args.lstrip().startswith("{") else None
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    return [str(part) for part in found.get("entrypoint") or []], [str(part) for part in found.get("cmd") or []]

"""What is sent to order a pod: its name, its container, and the checks that come before anything is sent.

1. A name is ``<prefix>-<run id>-a<attempt>``, a server's ``<prefix>-serve-<deployment id>-a<attempt>``: unique per
   attempt, and readable by whoever sweeps the account.
2. The command goes as JSON in ``args``: the one form that the API of August 2026 and later ones both decode. An argv
   joined by spaces loses its quoting there.
3. ``disk`` and ``gpu.count`` are always sent: without them RunPod finds no machine.
4. The account's key never goes into a pod; RunPod gives each pod one of its own, under the same variable.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from mp_kit.errors import InvalidInputError
from mp_kit.server.providers.base import LaunchOrder
from mp_kit.server.providers.runpod_gpus import Candidate
from mp_kit.server.providers.runpod_wire import instant_text

__all__ = [
    "SERVER_COMMAND",
    "Container",
    "body_of",
    "check_way_back",
    "image_of",
    "is_loopback",
    "pod_body",
    "pod_name",
    "read_name",
    "serve_prefix",
]

MAX_VARIABLES = 50
"""RunPod's limit of environment variables per pod."""

MAX_BODY_BYTES = 100_000
"""A little below RunPod's 102,400."""

SERVER_COMMAND = ("python", "-m", "mp_kit.serving")
"""Runs the server of a deployment in the marketplace's own image."""

_KEY_VARIABLE = "RUNPOD_API_KEY"
_RUN_ID = re.compile(r"[A-Za-z0-9_]{1,100}")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,254}")


@dataclass(frozen=True)
class Container:
    """What a pod runs; a provider's own is what each of its pods runs, unless the order says otherwise.

    Attributes:
        image: Docker image.
        command: Its main process; empty for the image's own.
        disk: GB.
        env: Variables.
    """

    image: str
    command: Sequence[str]
    disk: int
    env: Mapping[str, str]


def pod_name(prefix: str, run_id: str, attempt: int) -> str:
    """The name of an attempt's pod.

    Raises:
        InvalidInputError: The run's id would make a name that cannot be read back.
    """
    if not _RUN_ID.fullmatch(run_id) or attempt < 1:
        raise InvalidInputError(f"No pod can be named after run {run_id!r}, attempt {attempt}.")
    return f"{prefix}-{run_id}-a{attempt}"


def read_name(prefix: str, name: str) -> tuple[str, int] | None:
    """Run and attempt of a pod's name; None if the pod is not this marketplace's."""
    found = re.fullmatch(rf"{re.escape(prefix)}-({_RUN_ID.pattern})-a([1-9][0-9]{{0,5}})", name, re.ASCII)
    return (found[1], int(found[2])) if found else None


def pod_body(order: LaunchOrder, container: Container, prefix: str) -> dict[str, Any]:
    """The part of a pod's order that is the same for every GPU.

    Raises:
        InvalidInputError: No image is named anywhere, or RunPod would refuse the order; the message says what is too
            much, or wrong, and where.
    """
    image, disk = image_of(order.machine, container.image), int(order.machine.get("disk") or container.disk)
    env = {**order.env, **container.env, "MP_DEADLINE": instant_text(order.deadline)}
    return body_of(pod_name(prefix, order.run_id, order.attempt), Container(image, container.command, disk, env))


def body_of(name: str, container: Container, ports: Sequence[str] = ()) -> dict[str, Any]:
    """A pod's order but for its machine; without a command the image's own runs.

    Raises:
        InvalidInputError: RunPod would refuse it; the message says what is too much, or wrong, and where.
    """
    body = {
        "name": name,
        "image": container.image,
        **({"args": _args(container.command)} if container.command else {}),
        "disk": _disk(container.disk),
        "env": dict(container.env),
        **({"ports": [*ports]} if ports else {}),
    }
    _check_variables(container.env)
    _check_size(body)
    return body


def placed(body: Mapping[str, Any], candidate: Candidate) -> dict[str, Any]:
    """An order for one candidate."""
    where = {"dataCenterIds": [candidate.place]} if candidate.place else {}
    if candidate.is_cpu:
        return {**body, "cpu": {"id": candidate.gpu, "vcpuCount": candidate.count}, "cloud": candidate.cloud, **where}
    gpu = {"id": candidate.gpu, "count": candidate.count}
    return {**body, "gpu": gpu, "cloud": candidate.cloud, **where}


def serve_prefix(prefix: str) -> str:
    """Begins the names of servers: no training's name is read as a server's, and none of theirs as a training's."""
    return f"{prefix}-serve"


def check_way_back(api_url: str, base_url: str) -> None:
    """Refuses an address of this machine as the one that RunPod's machines call back.

    Raises:
        InvalidInputError: They could not; a stand-in for RunPod on this machine could.
    """
    if api_url and is_loopback(api_url) and not is_loopback(base_url):
        raise InvalidInputError(
            f"RunPod's machines could not call this marketplace back: it knows itself as {api_url}, "
            "which is an address of this machine alone.",
            hint="The operator sets INFRA_BASE_URL to an address that RunPod reaches. Or name another provider.",
        )


def _args(command: Sequence[str]) -> str:
    first, *rest = command
    return json.dumps({"entrypoint": [first], "cmd": rest} if rest else {"entrypoint": [first]})


def is_loopback(url: str) -> bool:
    """Whether a URL's host is this machine itself, so that no other machine reaches it."""
    host = urlsplit(url).hostname or ""
    try:
        address = ip_address(host)
    except ValueError:  # a name
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def image_of(machine: Mapping[str, Any], default: str) -> str:
    """The image of an order's pod: its own, else the marketplace's.

    Raises:
        InvalidInputError: Neither is there, or it is no reference of an image.
    """
    image = str(machine.get("base_image") or default)
    if not image:
        raise InvalidInputError(
            "This marketplace names no trainer image, and the order brings none.",
            hint="Name one with mp-kit[train] in it: `base_image`. Or the operator sets MP_TRAINER_IMAGE.",
        )
    if not _IMAGE.fullmatch(image):
        raise InvalidInputError(f"base_image: {image!r} is no reference of a Docker image.")
    return image


def _disk(disk: Any) -> int:
    if int(disk) < 1:
        raise InvalidInputError(f"disk: {disk} GB is no size; ask for at least 1.")
    return int(disk)


def _check_variables(env: Mapping[str, str]) -> None:
    if _KEY_VARIABLE in env:
        raise InvalidInputError(
            f"env: {_KEY_VARIABLE} must not be set: it would hide the key that RunPod gives the pod for itself."
        )
    if len(env) > MAX_VARIABLES:
        over = ", ".join(sorted(env)[MAX_VARIABLES:])
        raise InvalidInputError(
            f"env: {len(env)} variables, and RunPod takes {MAX_VARIABLES} per pod; too many by: {over}."
        )


def _check_size(body: Mapping[str, Any]) -> None:
    size = len(json.dumps(body).encode())
    if size > MAX_BODY_BYTES:
        largest = sorted(body["env"], key=lambda name: len(body["env"][name]), reverse=True)[:3]
        sizes = ", ".join(f"{name} ({len(body['env'][name]):,} characters)" for name in largest)
        raise InvalidInputError(
            f"env: the pod's order has {size:,} bytes, and RunPod takes {MAX_BODY_BYTES:,}; the largest: {sizes}.",
            hint="Put what is large into the dataset or the image.",
        )

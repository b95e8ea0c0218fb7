"""Servers as processes of this machine: the image's own entry, under the embedded marketplace.

The local provider of trainings keeps the processes (lock, start time, folder per attempt); here are the port that each
listens on, its address, and its log. A server ends with the marketplace and is started again by its keeper.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mp_kit.server.providers.addresses import AddressGuard
from mp_kit.server.providers.base import Handle, LaunchOrder, Phase
from mp_kit.server.providers.hosting import Door, FoundServer, Hosted, HostOrder, HostPhase, HostView
from mp_kit.server.providers.local import LocalProvider
from mp_kit.server.spawning import tail as tail_of
from mp_kit.serving.project import free_port

__all__ = ["COMMAND", "LocalHost"]

COMMAND = (sys.executable, "-m", "mp_kit.serving")
_HOST = "127.0.0.1"
_FOR_EVER = timedelta(days=3_650)


class LocalHost:
    """Runs servers below a folder.

    Args:
        root: The folder; made if missing.
        env: Variables that each server gets beside its order's.
        command: The server's argument list.
    """

    def __init__(self, root: Path, env: Mapping[str, str] | None = None, command: Sequence[str] = COMMAND) -> None:
        self._root = root
        self._env = dict(env or {})
        self._processes = LocalProvider(root, command)

    def check(self, spec: Mapping[str, Any]) -> None:
        """Takes every order."""

    def start(self, order: HostOrder) -> Hosted:
        """Starts the process, or adopts the one that an earlier call of the same attempt started."""
        folder = self._root / order.deployment_id / str(order.attempt)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (folder / "port").exists():
            (folder / "port").write_text(str(free_port()))
        own = {"HOST": _HOST, "PORT": (folder / "port").read_text(), "XDG_STATE_HOME": str(folder / "state")}
        env = {**order.env, **self._env, **own, "MODEL_DIR": str(folder / "model")}
        deadline = datetime.now(UTC) + _FOR_EVER
        handle = self._processes.launch(LaunchOrder(order.deployment_id, order.attempt, order.vendor_id, env, deadline))
        return self._hosted(handle)

    def find(self, deployment_id: str, attempt: int, vendor_id: str, since: datetime) -> Hosted | None:
        """The process of an attempt, if it was started."""
        handle = self._processes.find(deployment_id, attempt, vendor_id, since)
        return self._hosted(handle) if handle is not None else None

    def look(self, hosted: Hosted) -> HostView:
        """Whether the process lives."""
        seen = self._processes.observe([_handle(hosted)])[hosted.ref]
        if seen.phase is Phase.RUNNING:
            return HostView(HostPhase.READY, {"running": 1, "total": 1})
        return HostView(HostPhase.GONE, {"total": 0}, detail=seen.detail)

    def scale(self, hosted: Hosted, least: int, most: int) -> None:
        """Nothing: one process is one worker."""

    def end(self, hosted: Hosted) -> None:
        """Sends SIGTERM; SIGKILL if that takes too long."""
        self._processes.terminate(_handle(hosted))

    def logs(self, hosted: Hosted, tail: int) -> Sequence[str]:
        """The last lines of its log."""
        return tail_of(self._root / hosted.ref / "wrapper.log", tail).splitlines()

    def door(self, hosted: Hosted) -> Door:
        """On this machine; the address is our own, so that loopback is right."""
        return Door(f"{hosted.endpoint}/infer", AddressGuard(allow_private=True))

    def mine(self, vendor_id: str) -> Sequence[FoundServer]:
        """The vendor's processes that live, wanted or not."""
        found = self._processes.mine(vendor_id)
        return [FoundServer(self._hosted(one.handle), one.run_id, one.attempt, one.created_at) for one in found]

    def _hosted(self, handle: Handle) -> Hosted:
        port = (self._root / handle.ref / "port").read_text()
        return Hosted(handle.ref, handle.vendor_id, f"http://{_HOST}:{port}")


def _handle(hosted: Hosted) -> Handle:
    return Handle(hosted.ref, hosted.vendor_id)

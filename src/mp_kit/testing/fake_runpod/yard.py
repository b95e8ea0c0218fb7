"""All containers of one fake, their disks, and the warden that ends them if the fake is killed."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from mp_kit.testing.fake_runpod.cloud import Cloud
from mp_kit.testing.fake_runpod.containers import Container
from mp_kit.testing.fake_runpod.pods import Pod
from mp_kit.testing.fake_runpod.warden import Warden

__all__ = ["Yard"]


class Yard:
    """Starts a container for each pod, and ends them all.

    Args:
        cloud: Where the pods live.
        folder: The containers' disks; a temporary folder, removed at the end, by default.
        image_command: What runs in a pod that names no command.
    """

    def __init__(self, cloud: Cloud, folder: Path | None, image_command: tuple[str, ...]) -> None:
        self._cloud = cloud
        self._own_folder = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="fake-runpod-"))
        self._image_command = image_command
        self._warden = Warden()
        self._containers: list[Container] = []

    def launch(self, pod: Pod) -> None:
        """Gives a new pod its container."""
        container = Container(pod, self._cloud, self.folder / pod.id, self._image_command, self._warden)
        self._containers.append(container)
        container.start()

    def close(self) -> None:
        """Ends all containers at once, and removes their disks if they were temporary."""
        for container in self._containers:
            container.close()
        for container in self._containers:
            container.join()
        self._warden.close()
        if self._own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

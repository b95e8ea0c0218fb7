"""The project's server, started again whenever one of its files changes: what `mp dev` does."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from mp_kit.serving.project import Project, start, stop

__all__ = ["Reloader", "picture"]

SUFFIXES = frozenset({".py", ".toml", ".json", ".onnx"})
_SKIPPED = frozenset({"__pycache__", "tests", "wheels", "node_modules"})

Picture = Mapping[Path, tuple[int, int]]


def picture(folder: Path) -> Picture:
    """Size and time of change of each file that the server may read."""
    found: dict[Path, tuple[int, int]] = {}
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _SKIPPED and not name.startswith(".")]
        for name in names:
            path = Path(place, name)
            if path.suffix in SUFFIXES and path.is_file():
                about = path.stat()
                found[path] = (about.st_size, about.st_mtime_ns)
    return found


class Reloader:
    """Keeps a server running over its files.

    Args:
        project: Whose server.
        port: Where it listens.
        environ: Its environment.
        say: Hears what happens.
        seconds: Between two looks at the files.
    """

    def __init__(
        self,
        project: Project,
        port: int,
        environ: Mapping[str, str],
        say: Callable[[str], object],
        seconds: float = 0.5,
    ) -> None:
        self._project, self._port, self._environ, self._say = project, port, environ, say
        self._seconds = seconds
        self._over = threading.Event()

    def stop(self) -> None:
        """Ends it; safe from a signal handler."""
        self._over.set()

    def run(self) -> None:
        """Runs until :meth:`stop`."""
        seen, process = picture(self._project.folder), self._start()
        ended = False
        try:
            while not self._over.wait(self._seconds):
                now = picture(self._project.folder)
                if now != seen:
                    changed = sorted({path.name for path, _ in set(now.items()) ^ set(seen.items())})
                    self._say(f"{', '.join(changed[:5])} changed: starting again")
                    stop(process)
                    seen, process, ended = now, self._start(), False
                elif not ended and process.poll() is not None:
                    ended = True
                    self._say(
                        f"the server ended with exit code {process.returncode}; it starts again when a file changes"
                    )
        finally:
            stop(process)

    def _start(self) -> subprocess.Popen[bytes]:
        return start(self._project, self._port, self._environ)

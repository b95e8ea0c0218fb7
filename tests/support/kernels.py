"""Notebooks as people run them: in a kernel, with somebody's environment and nothing of ours."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from jupyter_core.utils import run_sync

ROOT = Path(__file__).parents[2]
SECRETS = re.compile(
    r"\bvk_[A-Za-z0-9]{8,}_[A-Za-z0-9_-]{16,}|\bsit_[A-Za-z0-9._-]{16,}|\bwhsec_[A-Za-z0-9+/=_-]{16,}"
    r"|\bac_[A-Za-z0-9_-]{16,}|[Ss]ignature=[A-Za-z0-9%]"
)
"""Keys, tokens, webhooks' secrets, one-time codes, signed URLs."""


@dataclass(frozen=True)
class Executed:
    """A notebook that was run.

    Args:
        notebook: With its outputs.
        folder: Where it ran.
    """

    notebook: Any
    folder: Path

    @property
    def outputs(self) -> list[Any]:
        """Of all cells, in order."""
        return [output for cell in self.notebook.cells for output in cell.get("outputs", ())]

    @property
    def shown(self) -> str:
        """All that a reader sees, and what lies behind it."""
        return json.dumps(self.outputs)

    @property
    def said(self) -> str:
        """The text of it."""
        parts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in self.outputs]
        return "\n".join(parts)

    @property
    def failed(self) -> list[str]:
        """Classes of the errors that were shown."""
        return [output.ename for output in self.outputs if output.output_type == "error"]

    def count(self, kind: str) -> int:
        """How many outputs have this form."""
        return sum(kind in output.get("data", {}) for output in self.outputs)


def prepared(path: Path, parameters: Mapping[str, Any]) -> Any:
    """A committed notebook with other parameters, as papermill puts them in."""
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    notebook = load_notebook_node(str(path))
    return parameterize_notebook(notebook, dict(parameters)) if parameters else notebook


def of_cells(*sources: str) -> Any:
    """A notebook of these cells."""
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])


class Kernel:
    """A kernel for several notebooks, one after the other: what they import is loaded once, their names are forgotten.

    Args:
        folder: Where it works.
        env: All of its environment.
    """

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        from jupyter_client.manager import AsyncKernelManager

        self._folder = folder
        self._env = dict(env)
        self.manager = AsyncKernelManager(kernel_name="python3")

    def execute(self, notebook: Any) -> Executed:
        """Runs all cells; an error that its cell does not announce ends it."""
        self._run(of_cells("%reset -f"))
        self._run(notebook)
        return Executed(notebook, self._folder)

    def close(self) -> None:
        """Ends it."""
        run_sync(self.manager.shutdown_kernel)(now=True)

    def _run(self, notebook: Any) -> None:
        from nbclient import NotebookClient

        place = {"metadata": {"path": str(self._folder)}}
        client = NotebookClient(notebook, km=self.manager, timeout=200, resources=place)
        try:
            client.execute(env=self._env)
        finally:
            if client.kc is not None:
                client.kc.stop_channels()


def execute(
    notebook: Any, folder: Path, env: Mapping[str, str], *, seen: Callable[[Any], None] = lambda _: None
) -> Executed:
    """Runs all cells in a new kernel; an error that its cell does not announce ends it.

    Args:
        notebook: Gets its outputs.
        folder: Where the kernel works.
        env: All of the kernel's environment.
        seen: Hears of the client, whose kernel it may kill.
    """
    from nbclient import NotebookClient

    client = NotebookClient(notebook, timeout=200, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    seen(client)
    client.execute(env=dict(env))
    return Executed(notebook, folder)

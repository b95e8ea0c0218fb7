"""Where flows, deployments and report notebooks lie: beside ``src`` in a checkout, inside the package in a wheel."""

from __future__ import annotations

from pathlib import Path

from mp_kit.errors import SetupError

_PACKAGE = Path(__file__).resolve().parents[1]
DEPLOYMENTS = Path("deployments") / "prefect.yaml"


def root() -> Path:
    """The folder that holds ``flows/``, ``deployments/`` and ``notebooks/reports/``.

    Raises:
        SetupError: Neither a checkout nor a whole wheel.
    """
    for folder in (_PACKAGE.parents[1], _PACKAGE / "bundle"):
        if (folder / DEPLOYMENTS).is_file() and (folder / "flows").is_dir():
            return folder
    raise SetupError(
        f"The flows of mp-kit are missing beside {_PACKAGE}.",
        hint="Install the wheel again, or run from a whole checkout.",
    )

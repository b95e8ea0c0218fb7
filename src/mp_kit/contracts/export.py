"""JSON Schema of every contract: ``python -m mp_kit.contracts.export [FOLDER]``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from mp_kit import contracts
from mp_kit.contracts.common import Model
from mp_kit.contracts.versions import CONTRACTS_VERSION


def models() -> dict[str, type[Model]]:
    """Every exported contract by name, sorted."""
    found = {name: getattr(contracts, name) for name in contracts.__all__}
    return {
        name: value
        for name, value in sorted(found.items())
        if isinstance(value, type) and issubclass(value, Model) and value is not Model
    }


def json_schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema (2020-12) of each contract, titled with the contracts version."""
    return {
        name: {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$comment": f"mp-kit contracts {CONTRACTS_VERSION}",
            **model.model_json_schema(),
        }
        for name, model in models().items()
    }


def write(folder: Path) -> list[Path]:
    """Writes one ``NAME.json`` per contract and returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, schema in json_schemas().items():
        path = folder / f"{name}.json"
        path.write_text(json.dumps(schema, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        written.append(path)
    return written


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("schemas")
    sys.stdout.write(f"{len(write(target))} schemas in {target}\n")

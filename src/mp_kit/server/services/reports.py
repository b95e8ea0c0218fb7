"""Reports: a row from the start, so that one that died is seen; the HTML lies in the object store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mp_kit.server.services.ids import new_id
from mp_kit.server.storage import LocalStore, ObjectStore
from mp_kit.server.store import reports as rows
from mp_kit.server.store.engine import Tx

_FAILURE_CHARS = 2_000


def begin(tx: Tx, name: str, parameters: Mapping[str, Any], flow_run_id: str | None) -> str:
    """Notes that a report is being made.

    Returns:
        Its id.
    """
    report_id = new_id("rep")
    values = {"id": report_id, "name": name, "status": "running", "parameters": dict(parameters)}
    rows.insert(tx, {**values, "flow_run_id": flow_run_id})
    return report_id


def keep(store: ObjectStore, name: str, report_id: str, files: Mapping[str, Path]) -> str:
    """Puts a report's files into the object store.

    Args:
        store: Where.
        name: The report's name.
        report_id: Its id.
        files: Suffix (``html``, ``ipynb``) to file.

    Returns:
        The key of the HTML.
    """
    for suffix, path in files.items():
        store.put_file(_key(name, report_id, suffix), path)
    return _key(name, report_id, "html")


def place(store: ObjectStore, key: str) -> Path | str:
    """Where a report's HTML is found: a path, or its key where the store is no folder."""
    return store.path(key) if isinstance(store, LocalStore) else key


def end(tx: Tx, report_id: str, *, object_key: str | None, failure: str | None = None) -> None:
    """Notes how it ended: a report with a failure has failed, its HTML shows how far it came."""
    status = "succeeded" if failure is None else "failed"
    kept = None if failure is None else failure[:_FAILURE_CHARS]
    rows.finish(tx, report_id, {"status": status, "object_key": object_key, "failure": kept})


def _key(name: str, report_id: str, suffix: str) -> str:
    return f"reports/{name}/{report_id}.{suffix}"

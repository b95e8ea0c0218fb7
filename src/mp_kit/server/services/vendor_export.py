"""Everything about a vendor in one archive, for the vendor: a file of JSON lines per table, and what each of them is.

It is written aside and renamed, so that an archive is whole or not there. No secret is in it.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from mp_kit.errors import NotFoundError, SetupError
from mp_kit.server.services import audit, vendors
from mp_kit.server.storage import ObjectStore
from mp_kit.server.store import belongings
from mp_kit.server.store.engine import Tx

__all__ = ["Exported", "export"]

_README = """\
# {name}

Everything that the marketplace holds about vendor `{vendor}` ({name}), as it was at {at}.

Each file of `tables/` has a JSON document per line, one for each row of the marketplace's table of that name; times are
RFC 3339, money is in US dollars, binary columns are hexadecimal. `tables/audit_log.jsonl` has the entries that name the
vendor. `objects/` has the files of its training runs{objects}.

Not in here are secrets, which the marketplace cannot show or must not: hashes of keys and tokens, credentials of
connected accounts, webhooks' secrets. `tables/vendor_connections.jsonl` says which accounts were connected.

A chain of receipts (`signal_receipts`) proves what was said and when: `mp signals verify` checks it against `signals`.

| file | rows |
|---|---|
{counts}
"""


@dataclass(frozen=True)
class Exported:
    """An archive.

    Args:
        vendor_id: Whose.
        rows: Rows by table.
        objects: Files of runs that are in it.
        size_bytes: Its size.
    """

    vendor_id: str
    rows: Mapping[str, int]
    objects: int
    size_bytes: int


def export(
    tx: Tx, store: ObjectStore, named_as: str, path: Path, *, with_objects: bool, now: datetime, actor: str
) -> Exported:
    """Writes a vendor's archive.

    Args:
        tx: A transaction.
        store: The objects.
        named_as: The vendor's id or name.
        path: The archive, a ZIP file; it must not be there yet.
        with_objects: Whether the files of its runs go in.
        now: An aware instant.
        actor: Who, for the audit log.

    Raises:
        NotFoundError: There is no such vendor.
        SetupError: The file is there already, or cannot be written.
    """
    vendor = vendors.named(tx, named_as)
    if path.exists():
        raise SetupError(f"{path} is there already.", hint="Name another file, or remove that one.")
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            counts = _tables(tx, archive, vendor.id)
            objects = _objects(tx, store, archive, vendor.id) if with_objects else 0
            facts = {"name": vendor.name, "vendor": vendor.id, "at": f"{now:%Y-%m-%dT%H:%M:%SZ}"}
            archive.writestr("README.md", _readme(facts, counts, with_objects=with_objects))
        partial.rename(path)
    except OSError as error:
        raise SetupError(f"{path} cannot be written: {error.strerror or type(error).__name__}.") from error
    finally:
        partial.unlink(missing_ok=True)
    audit.record(tx, actor, "vendor.export", vendor.id, rows=sum(counts.values()), objects=objects)
    return Exported(vendor.id, counts, objects, path.stat().st_size)


def _tables(tx: Tx, archive: zipfile.ZipFile, vendor_id: str) -> dict[str, int]:
    counts = {table: _write(archive, table, belongings.rows_of(tx, table, vendor_id)) for table in belongings.owned()}
    entries = belongings.audit_about(tx, belongings.ids_of(tx, vendor_id))
    told = ({name: belongings.plain(value) for name, value in row._mapping.items()} for row in entries)  # noqa: SLF001 - SQLAlchemy's public name
    return counts | {"audit_log": _write(archive, "audit_log", told)}


def _write(archive: zipfile.ZipFile, table: str, rows: Iterable[Mapping[str, Any]]) -> int:
    count = 0
    with archive.open(f"tables/{table}.jsonl", "w") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, default=str).encode() + b"\n")
            count += 1
    return count


def _objects(tx: Tx, store: ObjectStore, archive: zipfile.ZipFile, vendor_id: str) -> int:
    count = 0
    for row in belongings.rows_of(tx, "run_artifacts", vendor_id):
        name = f"{row['run_id']}/{row['name']}"
        try:
            source = store.open(f"runs/{name}")
        except NotFoundError:
            continue  # announced, and never uploaded
        with source, archive.open(f"objects/{name}", "w", force_zip64=True) as target:
            while piece := source.read(1 << 20):
                target.write(piece)
        count += 1
    return count


def _readme(facts: Mapping[str, str], counts: Mapping[str, int], *, with_objects: bool) -> str:
    listed = "\n".join(f"| `tables/{table}.jsonl` | {count:,} |" for table, count in counts.items())
    return _README.format(**facts, counts=listed, objects="" if with_objects else " (none: they were not asked for)")

"""What belongs to a vendor, table by table: for handing it over, and for erasing who the vendor is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Row, Table, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import LargeBinary
from sqlalchemy.types import Text as TextType

from mp_kit.server.store.engine import Tx
from mp_kit.server.store.queries import named
from mp_kit.server.store.tables import audit_log, metadata

_DEPLOYMENTS = "deployment_id IN (SELECT id FROM deployments WHERE vendor_id = :vendor)"
_VERSIONS = (
    "version_id IN (SELECT v.id FROM model_versions v JOIN models m ON m.id = v.model_id WHERE m.vendor_id = :vendor)"
)
_RUNS = "run_id IN (SELECT id FROM training_runs WHERE vendor_id = :vendor)"
_BY_WAY: Mapping[str, str] = {
    "marketplace_vendors": "id = :vendor",
    "deployment_heartbeats": _DEPLOYMENTS,
    "deployment_versions": _DEPLOYMENTS,
    "model_scores": _DEPLOYMENTS,
    "signal_batches": _DEPLOYMENTS,
    "signal_chains": _DEPLOYMENTS,
    "signal_drops": _DEPLOYMENTS,
    "signal_receipts": _DEPLOYMENTS,
    "signal_rollups": _DEPLOYMENTS,
    "uncounted_batches": _DEPLOYMENTS,
    "vendor_consensus_batches": _DEPLOYMENTS,
    "model_approvals": _VERSIONS,
    "model_stage_history": _VERSIONS,
    "model_validations": _VERSIONS,
    "model_versions": "model_id IN (SELECT id FROM models WHERE vendor_id = :vendor)",
    "run_artifacts": _RUNS,
    "run_events": _RUNS,
    "run_logs": _RUNS,
    "run_mirrors": _RUNS,
    "webhook_deliveries": "endpoint_id IN (SELECT id FROM webhook_endpoints WHERE vendor_id = :vendor)",
}

SECRETS = frozenset({
    "answer", "ciphertext", "code_digest", "encrypted_connections", "former_secret", "holder_digest", "lock_token",
    "secret", "state_digest", "token_hash", "user_code", "wrapped_key",
})  # fmt: skip
"""Columns that nobody gets: secrets, what proves or seals them, and what only the marketplace's own work needs."""

OF_THE_HOUSE = frozenset({"audit_log", "consensus_settings", "dataset_rounds", "rate_buckets", "signing_keys"})
"""Tables of no vendor; of the audit log, a vendor gets the entries about it."""


def owned() -> dict[str, str]:
    """The tables with rows of vendors, each with the condition of one's, for ``:vendor``."""
    by_column = {name: "vendor_id = :vendor" for name, table in metadata.tables.items() if "vendor_id" in table.c}
    return dict(sorted((by_column | dict(_BY_WAY)).items()))


def rows_of(tx: Tx, table: str, vendor_id: str) -> Iterator[dict[str, Any]]:
    """A vendor's rows of a table, without secrets, as JSON takes them."""
    found = metadata.tables[table]
    columns = [column for column in found.c if column.name not in SECRETS]
    statement = select(*columns).where(text(owned()[table])).order_by(*found.primary_key.columns)
    streamed = statement.execution_options(yield_per=1_000)
    for row in tx.execute(streamed, {"vendor": vendor_id}):
        yield {name: plain(value) for name, value in row._mapping.items()}  # noqa: SLF001 - SQLAlchemy's public name


def ids_of(tx: Tx, vendor_id: str) -> list[str]:
    """The ids by which the audit log may name what is a vendor's, its own first."""
    found = tx.execute(text(named("vendor_ids")), {"vendor": vendor_id}).scalars()
    return [vendor_id, *found]


def audit_about(tx: Tx, needles: Sequence[str]) -> list[Row[Any]]:
    """Entries of the audit log whose actor, subject or facts name any of these, oldest first."""
    found = tx.execute(text(named("audit_ids_about")), {"needles": list(needles)}).scalars().all()
    return list(tx.execute(select(audit_log).where(audit_log.c.id.in_(found)).order_by(audit_log.c.at, audit_log.c.id)))


def under_way(tx: Tx, vendor_id: str) -> list[str]:
    """A sentence for each run, server and machine of a vendor that has not ended."""
    return [row.what for row in tx.execute(text(named("vendor_under_way")), {"vendor": vendor_id})]


def mentions(tx: Tx, needles: Sequence[str]) -> dict[str, int]:
    """Rows whose texts hold any of these, by ``table.column``; every text, JSON and binary column is looked through."""
    found: dict[str, int] = {}
    for table in metadata.tables.values():
        for column in table.c:
            as_text = _as_text(table, column.name, column.type)
            if as_text and (count := _count(tx, table, as_text, needles)):
                found[f"{table.name}.{column.name}"] = count
    return found


def plain(value: Any) -> Any:
    """A column's value as JSON takes it."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    return value.hex() if isinstance(value, bytes | memoryview) else value


def _as_text(table: Table, column: str, kind: Any) -> str:
    name = f'"{table.name}"."{column}"'
    if isinstance(kind, TextType):
        return name
    if isinstance(kind, LargeBinary):
        return f"encode({name}, 'escape')"
    return f"{name}::text" if isinstance(kind, JSONB) or "ARRAY" in str(kind).upper() or "[]" in str(kind) else ""


def _count(tx: Tx, table: Table, as_text: str, needles: Sequence[str]) -> int:
    # The names are those of our own tables; what is looked for is a parameter.
    statement = (
        f'SELECT count(*) FROM "{table.name}"'  # noqa: S608
        f" WHERE EXISTS (SELECT FROM unnest(CAST(:needles AS text[])) n WHERE strpos({as_text}, n) > 0)"
    )
    return int(tx.execute(text(statement), {"needles": list(needles)}).scalar_one())

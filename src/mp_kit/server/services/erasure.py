"""Erasing who a vendor is, for data protection; what it said stays, under an id that names nobody.

1. Signals, receipts, rounds' scores, the consensus and the ledger stay: others built on them, chains would break.
2. Names, accounts, keys, connections, addresses, webhooks, logs, specs, artifacts and reports go, or become the id.
3. Nothing of it is done while anything of the vendor's runs: a pod that nobody knows of would go on costing money.
4. Objects go first, rows last, in one transaction; killed half-way, the vendor is still found by its name, and
   erasing it again ends the work.
5. Afterwards every text in the database is looked through for what identified the vendor, and what is left is told.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select, text, update

from mp_kit.contracts import Stage
from mp_kit.errors import ConflictError, NotFoundError
from mp_kit.server.services import audit, models, vendors
from mp_kit.server.storage import STAGED, ObjectStore
from mp_kit.server.store import belongings, tables
from mp_kit.server.store import vendors as vendor_rows
from mp_kit.server.store.engine import Database, Tx
from mp_kit.server.store.queries import named

__all__ = ["Erased", "erase"]

_GONE = (
    "webhook_deliveries", "webhook_endpoints", "webhook_events", "vendor_connections", "vendor_data_keys",
    "vendor_keys", "deployment_tokens", "vendor_identities", "sign_in_trips", "auth_codes", "device_logins",
    "run_logs", "run_events", "run_mirrors", "run_artifacts", "polls", "pollings", "poll_budgets",
    "deployment_heartbeats", "hostings", "signal_drops", "reports",
)  # fmt: skip
"""Tables whose rows of the vendor go, in an order that foreign keys allow."""

_CHANGED = (
    "erase_vendor", "erase_models", "erase_versions", "erase_stage_reasons", "erase_validations", "erase_approvals",
    "erase_deployments", "erase_runs", "erase_grants", "erase_batches", "erase_consensus_batches", "erase_consensus",
)  # fmt: skip
_NAMING = frozenset({"login", "account", "subject", "name", "accounts"})
_WORDS = frozenset({"status", "kind", "provider", "from_stage", "to_stage", "digest", "events", "permissions"})
_ID = re.compile(r"([a-z]{2,5}_)?[a-z0-9]{16}(/[a-z]+)?")
_LEAST_CHARS = 3


@dataclass(frozen=True)
class Erased:
    """What an erasure did.

    Args:
        vendor_id: Whose; the id stays.
        rows: Rows that went or changed, by table or kind.
        objects: Objects that went.
        left: Rows that still hold what identified the vendor, by ``table.column``.
    """

    vendor_id: str
    rows: Mapping[str, int]
    objects: int
    left: Mapping[str, int]


def erase(db: Database, store: ObjectStore, named_as: str, *, why: str, actor: str) -> Erased:
    """Erases who a vendor is.

    Args:
        db: Transactions.
        store: Its objects.
        named_as: Its id or name.
        why: For the audit log, where it stays: name no person in it.
        actor: Who, for the audit log.

    Raises:
        NotFoundError: There is no such vendor.
        ConflictError: Something of it still runs.
    """
    with db.begin() as tx:
        vendor = vendors.named(tx, named_as)
        _require_at_rest(tx, vendor)
        vendor_rows.set_status(tx, vendor.id, "suspended")  # from here on it can begin nothing
        needles = _identifying(tx, vendor)
        keys = _report_keys(tx, vendor.id)
    gone = _remove_objects(db, store, vendor.id, keys)
    gone += _remove_reports(db, store, [vendor.name, *_logins(needles)])
    with db.begin() as tx:
        _require_at_rest(tx, vendor)
        counts = _erase_rows(tx, vendor.id, needles, actor)
        audit.record(tx, actor, "vendor.erase", vendor.id, why=why, rows=sum(counts.values()), objects=gone)
        left = belongings.mentions(tx, list(needles))
    return Erased(vendor.id, counts, gone, left)


def _require_at_rest(tx: Tx, vendor: Row[Any]) -> None:
    running = belongings.under_way(tx, vendor.id)
    if running:
        raise ConflictError(
            f"{len(running)} things of {vendor.name} still run: {'; '.join(running[:5])}.",
            hint="Nothing was erased. The vendor cancels runs and removes deployments; `mp admin sweep` ends strays.",
        )


def _identifying(tx: Tx, vendor: Row[Any]) -> dict[str, str]:
    """Texts that tell who the vendor is, each with its kind; what is too short to be looked for is left out."""
    found = {vendor.name: "name"}
    identity, key, hook = tables.vendor_identities.c, tables.vendor_keys.c, tables.webhook_endpoints.c
    for login in tx.execute(select(identity.login).where(identity.vendor_id == vendor.id)).scalars():
        found[login] = "login"
    found |= dict.fromkeys(tx.execute(select(key.name).where(key.vendor_id == vendor.id)).scalars(), "key")
    found |= dict.fromkeys(tx.execute(select(hook.url).where(hook.vendor_id == vendor.id)).scalars(), "url")
    found |= dict.fromkeys(_told_before(tx, vendor.id), "login")
    return {text: kind for text, kind in found.items() if len(text) >= _LEAST_CHARS and text != f"erased {vendor.id}"}


def _told_before(tx: Tx, vendor_id: str) -> list[str]:
    """Accounts that the audit log remembers: links that were taken away since."""
    facts = [row.detail for row in belongings.audit_about(tx, [vendor_id]) if "provider" in row.detail]
    return [str(fact["login"]) for fact in facts if fact.get("login")]


def _logins(needles: Mapping[str, str]) -> list[str]:
    return [text for text, kind in needles.items() if kind == "login"]


def _report_keys(tx: Tx, vendor_id: str) -> list[str]:
    columns = tables.reports.c
    statement = select(columns.object_key).where(columns.vendor_id == vendor_id, columns.object_key.is_not(None))
    return [str(key) for key in tx.execute(statement).scalars()]


def _remove_objects(db: Database, store: ObjectStore, vendor_id: str, report_keys: Sequence[str]) -> int:
    with db.begin() as tx:
        whose = (tables.training_runs.c.vendor_id == vendor_id, tables.deployments.c.vendor_id == vendor_id)
        runs = tx.execute(select(tables.training_runs.c.id).where(whose[0])).scalars().all()
        deployments = tx.execute(select(tables.deployments.c.id).where(whose[1])).scalars().all()
    roots = {f"runs/{run}" for run in runs} | {f"{STAGED}/runs/{run}" for run in runs}
    roots |= {f"{STAGED}/inbox/{one}" for one in deployments}
    stems = {key.rpartition(".")[0] for key in report_keys}
    doomed = [
        info.key
        for info in store.walk()
        if any("/".join(info.key.split("/")[:parts]) in roots for parts in (2, 3))
        or info.key.rpartition(".")[0] in stems
    ]
    for key in doomed:
        store.delete(key)
    return len(doomed)


def _remove_reports(db: Database, store: ObjectStore, names: Sequence[str]) -> int:
    """Takes away reports for other eyes that name the vendor: HTML cannot be half a page."""
    columns, gone = tables.reports.c, 0
    pattern = re.compile(
        "|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in names if len(name) >= _LEAST_CHARS) or r"(?!)"
    )
    with db.begin() as tx:
        found = tx.execute(select(columns.id, columns.object_key).where(columns.object_key.is_not(None))).all()
    for row in found:
        if not _names_any(store, row.object_key, pattern):
            continue
        stem = row.object_key.rpartition(".")[0]
        for suffix in ("html", "ipynb"):
            store.delete(f"{stem}.{suffix}")
        why = {"object_key": None, "status": "failed", "failure": "It named a vendor that was erased."}
        with db.begin() as tx:
            tx.execute(update(tables.reports).where(columns.id == row.id).values(**why))
        gone += 1
    return gone


def _names_any(store: ObjectStore, key: str, pattern: re.Pattern[str]) -> bool:
    try:
        with store.open(key) as file:
            return pattern.search(file.read().decode(errors="replace")) is not None
    except NotFoundError:
        return False


def _erase_rows(tx: Tx, vendor_id: str, needles: Mapping[str, str], actor: str) -> dict[str, int]:
    _retire(tx, vendor_id, actor)
    about = [*belongings.ids_of(tx, vendor_id), *(text for text, kind in needles.items() if kind != "key")]
    entries = belongings.audit_about(tx, about)
    tx.execute(text("SELECT set_config('mp.erasing', :vendor, true)"), {"vendor": vendor_id})
    wheres, given = belongings.owned(), {"vendor": vendor_id}
    counts = {table: tx.execute(text(f"DELETE FROM {table} WHERE {wheres[table]}"), given).rowcount for table in _GONE}  # noqa: S608 - names of our own
    counts |= {verb: tx.execute(text(named(verb)), given).rowcount for verb in _CHANGED}
    for row in entries:
        tx.execute(update(tables.audit_log).where(tables.audit_log.c.id == row.id).values(**_nameless(row, needles)))
    tx.execute(text("SELECT set_config('mp.erasing', '', true)"))
    return {what: count for what, count in (counts | {"audit_log": len(entries)}).items() if count}


def _retire(tx: Tx, vendor_id: str, actor: str) -> None:
    """No version of an erased vendor counts any more."""
    version, model = tables.model_versions.c, tables.models.c
    statement = (
        select(version.model_id, version.version)
        .join(tables.models, model.id == version.model_id)
        .where(model.vendor_id == vendor_id, version.stage.in_([Stage.PILOT.value, Stage.PROD.value]))
    )
    for row in tx.execute(statement).all():
        models.change_stage(tx, vendor_id, row.model_id, row.version, Stage.RETIRED, actor=actor, reason=None)


def _nameless(row: Row[Any], needles: Collection[str]) -> dict[str, Any]:
    """An audit entry without what may name somebody: of its facts, numbers, our own ids and known words stay."""
    return {"detail": _opaque(row.detail, needles), "subject": _opaque(row.subject, needles), "address": None}


def _opaque(value: Any, needles: Collection[str], key: str = "") -> Any:
    if isinstance(value, Mapping):
        return {str(name): _opaque(part, needles, str(name)) for name, part in value.items() if name not in _NAMING}
    if isinstance(value, list):
        return [_opaque(part, needles, key) for part in value]
    is_text = isinstance(value, str) and key not in _WORDS
    return "erased" if is_text and (value in needles or not _ID.fullmatch(value)) else value

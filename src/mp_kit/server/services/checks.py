"""Whether a marketplace is whole: rounds' signatures, chains of receipts, objects, the audit log, credentials."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, text

from mp_kit.contracts.rounds import ManifestSignature
from mp_kit.errors import IntegrityError, NotFoundError
from mp_kit.server.services import backup_objects, chain_checks, vault_keys
from mp_kit.server.services import rounds as round_verbs
from mp_kit.server.services.backup import Backup
from mp_kit.server.services.backup_objects import Listed
from mp_kit.server.storage import ObjectStore
from mp_kit.server.store import migrate, snapshots
from mp_kit.server.store.engine import Database, Tx
from mp_kit.server.store.snapshots import TableFacts
from mp_kit.server.store.tables import dataset_rounds
from mp_kit.server.vault import Vault
from mp_kit.signing import open_manifest

__all__ = ["Check", "against", "everything"]

_GUARDS = {"trigger audit_log audit_log_grows", "trigger signal_receipts signal_receipts_grow"}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Args:
        name: What.
        found: How much of it there is, for people.
        problems: A sentence for each thing that is wrong.
    """

    name: str
    found: str
    problems: Sequence[str] = ()


def everything(db: Database, store: ObjectStore, vault: Vault, listed: Sequence[Listed] | None = None) -> list[Check]:
    """Checks a marketplace by itself, as it is at one moment: whoever pushes meanwhile breaks no chain.

    Args:
        db: Transactions.
        store: Its objects.
        vault: Opens credentials; those that do not open are named.
        listed: Objects that must be there, byte by byte, beside those that rows need.
    """
    with db.begin() as tx:
        snapshots.see_one_state(tx)
        found = [_rounds(tx), _receipts(tx), _audit(tx), _credentials(tx, vault)]
        needed = snapshots.references(tx)
    return [*found, _needed(store, needed), *([_objects(store, listed)] if listed is not None else [])]


def against(tx: Tx, backup: Backup) -> list[Check]:
    """Checks a database that was restored, before anything is done to it, against what its backup noted."""
    revision, tables = migrate.revision(tx) or "none", snapshots.tables(tx)
    wrong = [] if revision == backup.revision else [f"the schema is at {revision}, and was at {backup.revision}"]
    there = set(snapshots.structure(tx))
    wrong += [f"{one} is missing" for one in backup.structure if one not in there]
    unlike = [_unlike(name, was, tables.get(name)) for name, was in backup.tables.items()]
    return [
        Check("schema", f"revision {revision}, {len(there)} rules", wrong),
        Check(
            "tables",
            f"{len(tables)} tables, {sum(one.rows for one in tables.values()):,} rows",
            [one for one in unlike if one],
        ),
    ]


def _unlike(name: str, was: TableFacts, now: TableFacts | None) -> str:
    if now is None or now.rows != was.rows:
        return f"table {name} has {f'{now.rows:,}' if now else 'no'} rows, and had {was.rows:,}"
    return "" if now == was else f"table {name} has other contents in as many rows ({was.rows:,})"


def _rounds(tx: Tx) -> Check:
    keys = {key.key_id: key for key in round_verbs.keys(tx)}
    columns = dataset_rounds.c
    wanted = (
        columns.id,
        columns.manifest,
        columns.manifest_sha256,
        columns.manifest_key_id,
        columns.manifest_signature,
    )
    found = tx.execute(select(*wanted).order_by(columns.id)).all()
    problems = []
    for row in found:
        signed = ManifestSignature(
            key_id=row.manifest_key_id, signature=row.manifest_signature, sha256=row.manifest_sha256
        )
        try:
            open_manifest(bytes(row.manifest), signed, keys)
        except (IntegrityError, ValueError) as error:
            problems.append(f"round {row.id}: {error if isinstance(error, IntegrityError) else 'its manifest is none'}")
    return Check("rounds", f"{len(found)} signed manifests", problems)


def _receipts(tx: Tx) -> Check:
    found = chain_checks.check_all(tx)
    told = f"{found.chains} chains, {found.receipts:,} receipts over {found.signals:,} signals"
    return Check("receipts", told, found.problems)


def _audit(tx: Tx) -> Check:
    count, since = tx.execute(text("SELECT count(*), min(at) FROM audit_log")).one()
    missing = sorted(_GUARDS - set(snapshots.structure(tx)))
    began = f" since {since:%Y-%m-%d}" if since else ""
    return Check("audit", f"{count:,} entries{began}", [f"{one} is off: the log could be changed" for one in missing])


def _credentials(tx: Tx, vault: Vault) -> Check:
    keys = sum(one.vendors + one.webhooks for one in vault_keys.uses(tx, vault))
    return Check("credentials", f"{keys} data keys", vault_keys.broken(tx, vault))


def _needed(store: ObjectStore, rows: Iterable[Any]) -> Check:
    rows = list(rows)
    problems = []
    for row in rows:
        try:
            found = store.digest(row.key) if row.sha256 else store.stat(row.key) and None
        except NotFoundError:
            problems.append(f"object {row.key} is not in the store: {row.what} needs it")
            continue
        if found not in {None, row.sha256}:
            problems.append(f"object {row.key} holds other bytes than {row.what} has: SHA-256 {found}")
    return Check("needed objects", f"{len(rows)} that rows point to", problems)


def _objects(store: ObjectStore, listed: Sequence[Listed]) -> Check:
    size = sum(one.size_bytes for one in listed)
    return Check("objects", f"{len(listed)} listed, {size:,} bytes", list(backup_objects.compare(store, listed)))

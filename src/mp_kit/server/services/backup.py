"""Backups: a dump of the database, a list of every object, and a signed manifest of both.

1. Database and manifest are of one snapshot: what the manifest counts is what the dump holds.
2. Objects are listed after the snapshot was taken. Rows point to objects that are there before them, so whatever the
   dump needs is in the list.
3. No secret is in it: ``secrets.json`` and ``MP_MASTER_KEY`` are kept elsewhere. What is sealed in the dump stays so.
4. The manifest is signed with the key that signs rounds, over its exact bytes, and is written last.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from mp_kit.contracts.rounds import SigningKey
from mp_kit.errors import IntegrityError
from mp_kit.server.services import audit, backup_objects
from mp_kit.server.services.backup_places import MARKER, Place, writing
from mp_kit.server.storage import ObjectStore, digest_of
from mp_kit.server.store import migrate, pgdump, snapshots
from mp_kit.server.store.engine import Database
from mp_kit.server.store.snapshots import TableFacts
from mp_kit.signing import Signer, verify
from mp_kit.version import __version__

__all__ = ["DUMP", "FORMAT", "Backup", "Made", "Order", "make", "read"]

FORMAT = 1
DUMP = "database.dump"
LIST = "objects.jsonl"
SIGNATURE = "backup.sig"
PURPOSE = "mp-kit/backup/v1"


@dataclass(frozen=True)
class Backup:
    """A backup's manifest.

    Args:
        made_at: When, RFC 3339.
        release: The release of mp-kit that made it.
        revision: The revision of the database's schema.
        postgres: The server's major version.
        dump_sha256: Of the dump.
        dump_bytes: Its size.
        list_sha256: Of the list of objects.
        objects: How many objects there were.
        object_bytes: Their sizes together.
        copied: Whether their bytes are in the backup.
        tables: Rows and digest of each table.
        structure: Constraints, indexes, triggers, functions, policies.
        roles: Roles that the dump grants something to.
        format: Of the manifest itself.
    """

    made_at: str
    release: str
    revision: str
    postgres: int
    dump_sha256: str
    dump_bytes: int
    list_sha256: str
    objects: int
    object_bytes: int
    copied: bool
    tables: Mapping[str, TableFacts]
    structure: Sequence[str]
    roles: Sequence[str]
    format: int = FORMAT

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(one.rows for one in self.tables.values())


@dataclass(frozen=True)
class Made:
    """A backup that was made.

    Args:
        name: What it is called in its folder.
        backup: Its manifest.
        problems: What was wrong with the marketplace already: objects that are missing, or hold other bytes.
    """

    name: str
    backup: Backup
    problems: Sequence[str] = field(default=())


@dataclass(frozen=True)
class Order:
    """What backup is wanted.

    Args:
        where: A folder of backups, or the URL of one.
        url: Of the database, for ``pg_dump``.
        env: Holds the keys of S3 and R2.
        copy: Whether objects are copied into it.
        now: An aware instant, which names it.
        actor: Who, for the audit log.
    """

    where: str
    url: str = field(repr=False)
    env: Mapping[str, str] = field(repr=False)
    copy: bool
    now: datetime
    actor: str


def make(db: Database, store: ObjectStore, signer: Signer, order: Order, say: Callable[[str], None]) -> Made:
    """Makes a backup; it has its name in its folder once it is whole, and not before.

    Args:
        db: Transactions.
        store: The objects.
        signer: Signs the manifest.
        order: What is wanted.
        say: Tells progress.

    Raises:
        ConflictError: Another backup is being made there.
        SetupError: There is no fitting ``pg_dump``, or the backup cannot be written.
    """
    name = f"mp-{order.now:%Y%m%dT%H%M%SZ}"
    with writing(order.where, name, order.env) as place:
        facts, references = _dump(db, order.url, place, say)
        say("objects")
        listed, problems = backup_objects.list_all(store, place, copy=order.copy)
        lines = backup_objects.written(listed)
        place.put(LIST, lines)
        facts |= {"list_sha256": hashlib.sha256(lines).hexdigest(), "objects": len(listed), "copied": order.copy}
        facts |= {"object_bytes": sum(one.size_bytes for one in listed), "made_at": f"{order.now:%Y-%m-%dT%H:%M:%SZ}"}
        made = Backup(release=__version__, **facts)
        _sign(place, signer, json.dumps(asdict(made), indent=1, sort_keys=True).encode())
    problems += _absent(references, {one.key for one in listed})
    with db.begin() as tx:
        audit.record(tx, order.actor, "backup.make", name, rows=made.rows, objects=made.objects, problems=len(problems))
    return Made(name, made, tuple(problems))


def read(place: Place, own: SigningKey) -> tuple[Backup, list[backup_objects.Listed], bool]:
    """A backup's manifest and list of objects, once dump, list and manifest are found to be what was written.

    Args:
        place: The backup.
        own: The marketplace's key.

    Returns:
        Both, and whether the marketplace's key signed them: another key's signature shows damage and no forgery.

    Raises:
        IntegrityError: A file was damaged or changed: it says which.
    """
    with place.open(MARKER) as file:
        payload = file.read()
    key, signature = _proof(place)
    verify(PURPOSE, payload, signature, key.key_id, {key.key_id: key}).require(MARKER)
    facts = json.loads(payload)
    if facts["format"] != FORMAT:
        raise IntegrityError(f"{MARKER} has format {facts['format']}, and this release reads {FORMAT}.")
    facts["tables"] = {name: TableFacts(*one) for name, one in facts["tables"].items()}
    backup = Backup(**facts)
    _require_bytes(place, DUMP, backup.dump_sha256)
    _require_bytes(place, LIST, backup.list_sha256)
    with place.open(LIST) as file:
        return backup, backup_objects.read_list(file), key == own


def _proof(place: Place) -> tuple[SigningKey, str]:
    with place.open(SIGNATURE) as file:
        told = file.read()
    try:
        signed = json.loads(told)
        return SigningKey(key_id=signed["key_id"], public_key=signed["public_key"]), str(signed["signature"])
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"{SIGNATURE} was damaged: it is no signature.") from error


def _absent(references: Sequence[Any], there: Collection[str]) -> list[str]:
    missing = [row for row in references if row.key not in there]
    return [f"object {row.key} is not in the store: {row.what} needs it" for row in missing]


def _dump(db: Database, url: str, place: Place, say: Callable[[str], None]) -> tuple[dict[str, Any], list[Any]]:
    path = place.file(DUMP)
    with db.begin() as tx:  # open until pg_dump has ended: the snapshot lives as long
        snapshot = snapshots.freeze(tx)
        major = snapshots.server_major(tx)
        say("database")
        pgdump.dump(url, major, snapshot, path)
        facts: dict[str, Any] = {
            "revision": migrate.revision(tx) or "",
            "postgres": major,
            "tables": snapshots.tables(tx),
            "structure": snapshots.structure(tx),
            "roles": snapshots.roles(tx),
        }
        references = snapshots.references(tx)
    with path.open("rb") as file:
        facts |= {"dump_sha256": digest_of(file), "dump_bytes": path.stat().st_size}
    place.keep(DUMP, path)
    return facts, references


def _sign(place: Place, signer: Signer, payload: bytes) -> None:
    proof = signer.public.model_dump(include={"key_id", "public_key"}) | {"signature": signer.sign(PURPOSE, payload)}
    place.put(SIGNATURE, json.dumps(proof, indent=1).encode())
    place.put(MARKER, payload)


def _require_bytes(place: Place, name: str, sha256: str) -> None:
    with place.open(name) as file:
        found = digest_of(file)
    if found != sha256:
        raise IntegrityError(
            f"{name} was damaged or changed since the backup was made: SHA-256 {found}, noted was {sha256}.",
            hint="Nothing was restored. Take another backup.",
        )

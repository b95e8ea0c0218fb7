"""Rounds: published once, immutable, one of them current.

Publication in this order, so that a crash anywhere leaves no half round visible and running it again finishes it:

1. every file goes to the object store under its content's key (a second put is a no-op);
2. the manifest is made and signed over its exact bytes;
3. one transaction stores the row and makes the round current.

The fingerprint is made of what the round contains and how it was made, not of when: the same input again is the
same round, and says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from mp_kit.contracts import (
    CURRENT,
    Manifest,
    ManifestFile,
    ManifestSignature,
    Round,
    RoundFile,
    SigningKey,
    WebhookEventType,
)
from mp_kit.errors import ConflictError, NoCurrentRoundError, NotFoundError
from mp_kit.server import clock
from mp_kit.server.services import audit
from mp_kit.server.services.webhook_events import emit
from mp_kit.server.store import rounds as rows
from mp_kit.server.store.engine import Tx
from mp_kit.signing import Signer, canonical_bytes

_FINGERPRINT_DIGITS = 8


@dataclass(frozen=True)
class Draft:
    """A round whose files are stored, ready to be published.

    Args:
        manifest: All of it but the round's id and time, as :class:`Manifest` fields.
        files: The public files.
        held_back: Files that vendors never see (labels of the test rows).
        metadata: For people: quality report, counts.
    """

    manifest: Mapping[str, Any]
    files: Sequence[ManifestFile]
    held_back: Sequence[ManifestFile] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over what the round contains and how it was made."""
        contents = {
            "manifest": dict(self.manifest),
            "files": [[file.name, file.sha256] for file in self.files],
            "held_back": [[file.name, file.sha256] for file in self.held_back],
        }
        return hashlib.sha256(canonical_bytes(contents)).hexdigest()


@dataclass(frozen=True)
class Published:
    """What became of a publication.

    Args:
        round_id: The round.
        created: False when the same round was there before.
        made_current: The round is current now and was not before.
        restored: It was retired, and is not any more: the current round is in the lists.
        replaced: The round that was current until now, where another one is.
    """

    round_id: str
    created: bool
    made_current: bool
    restored: bool = False
    replaced: str | None = None


def publish(tx: Tx, signer: Signer, draft: Draft, *, actor: str, current: bool = True) -> Published:
    """Publishes a round, or finds that it was published before.

    Args:
        tx: One transaction: the row and the flip of ``is_current``.
        signer: Signs the manifest.
        draft: What to publish; its files are in the object store already.
        actor: Who publishes, for the audit log.
        current: Make it the current round.
    """
    rows.lock(tx)
    found = rows.find_by_fingerprint(tx, draft.fingerprint)
    round_id = found.id if found is not None else _insert(tx, signer, draft)
    flips = current and not (found is not None and found.is_current)
    if found is None:
        audit.record(tx, actor, "round.publish", round_id, files=len(draft.files))
        emit(tx, WebhookEventType.ROUND_PUBLISHED, None, round_id=round_id, is_current=current)
    if not flips:
        return Published(round_id, created=found is None, made_current=False)
    before = rows.find(tx, CURRENT)
    rows.make_current(tx, round_id)
    audit.record(tx, actor, "round.make_current", round_id)
    restored = found is not None and found.retired_at is not None
    replaced = before.id if before is not None else None
    return Published(round_id, created=found is None, made_current=True, restored=restored, replaced=replaced)


def get(tx: Tx, round_id: str) -> Round:
    """A round by id, or the current one.

    Raises:
        NoCurrentRoundError: ``current`` was asked for and there is none.
        NotFoundError: No such round.
    """
    return to_wire(_require(rows.find(tx, round_id), round_id))


def newest(tx: Tx, limit: int) -> list[Round]:
    """Rounds, newest first."""
    return [to_wire(row) for row in rows.list_newest(tx, limit)]


def listed(tx: Tx, limit: int, *, retired: bool) -> list[tuple[Round, datetime | None]]:
    """Rounds, newest first, with when each was retired; those that were only if they are asked for."""
    return [(to_wire(row), row.retired_at) for row in rows.list_newest(tx, limit, retired=retired)]


def manifest(tx: Tx, round_id: str) -> tuple[bytes, ManifestSignature]:
    """A round's manifest: its exact bytes and their signature."""
    row = _require(rows.find_manifest(tx, round_id), round_id)
    signed = ManifestSignature(key_id=row.manifest_key_id, signature=row.manifest_signature, sha256=row.manifest_sha256)
    return bytes(row.manifest), signed


def keys(tx: Tx) -> list[SigningKey]:
    """Public keys of every manifest that was ever signed here."""
    return [SigningKey(key_id=row.id, public_key=row.public_key) for row in rows.list_keys(tx)]


def set_current(tx: Tx, round_id: str, *, actor: str) -> Round:
    """Makes a published round the current one."""
    rows.lock(tx)
    row = _require(rows.find(tx, round_id), round_id)
    if row.retired_at is not None:
        raise ConflictError(
            f"Round {row.id} is retired and cannot be current.", hint="Publishing the same bars again brings it back."
        )
    rows.make_current(tx, row.id)
    audit.record(tx, actor, "round.make_current", row.id)
    return get(tx, row.id)


def retire(tx: Tx, round_id: str, *, actor: str, force: bool = False) -> None:
    """Takes a round out of the lists; its rows and files stay for those who trained on it.

    Args:
        tx: The caller's transaction.
        round_id: Which.
        actor: Who retires it, for the audit log.
        force: The current one, too: there is none then.

    Raises:
        NotFoundError: No such round.
        ConflictError: It is the current one.
    """
    rows.lock(tx)
    row = _require(rows.find(tx, round_id), round_id)
    if row.is_current and not force:
        raise ConflictError(
            f"Round {row.id} is the current one: without it vendors would have none.",
            hint="Make another one current first (mp admin round set-current), or say --force.",
        )
    rows.retire(tx, row.id)
    audit.record(tx, actor, "round.retire", row.id)


def to_wire(row: Row[Any]) -> Round:
    """A round as the wire shows it."""
    return Round(
        round_id=row.id,
        name=row.name,
        description=row.description,
        schema_version=row.schema_version,
        is_current=row.is_current,
        created_at=row.created_at,
        expires_at=row.expires_at,
        files=[RoundFile.model_validate(file) for file in row.files],
        metadata=row.metadata,
        manifest=ManifestSignature(
            key_id=row.manifest_key_id, signature=row.manifest_signature, sha256=row.manifest_sha256
        ),
    )


def _insert(tx: Tx, signer: Signer, draft: Draft) -> str:
    created_at = clock.now()
    round_id = _name(draft)
    document = Manifest(round_id=round_id, created_at=created_at, files=list(draft.files), **draft.manifest)
    payload = canonical_bytes(document.model_dump(mode="json"))
    signed = signer.sign_manifest(payload)
    rows.keep_key(tx, signer.key_id, signer.public.public_key)
    rows.insert(
        tx,
        {
            "id": round_id,
            "name": document.name,
            "description": document.description,
            "schema_version": document.manifest_version,
            "fingerprint": draft.fingerprint,
            "files": [RoundFile.model_validate(file.model_dump()).model_dump(mode="json") for file in draft.files],
            "held_back": [file.model_dump(mode="json") for file in draft.held_back],
            "metadata": dict(draft.metadata),
            "manifest": payload,
            "manifest_sha256": signed.sha256,
            "manifest_key_id": signed.key_id,
            "manifest_signature": signed.signature,
            "created_at": created_at,
        },
    )
    return round_id


def _name(draft: Draft) -> str:
    """Last bar's date, timeframe and the start of the fingerprint: readable, sortable, unique."""
    last = max((file.max_time for file in draft.files if file.max_time is not None), default=clock.now())
    return f"{last:%Y-%m-%d}-{draft.manifest['timeframe']}-{draft.fingerprint[:_FINGERPRINT_DIGITS]}"


def _require(row: Row[Any] | None, round_id: str) -> Row[Any]:
    if row is not None:
        return row
    if round_id == CURRENT:
        raise NoCurrentRoundError("There is no current round.")
    raise NotFoundError(f"There is no round {round_id!r}.", hint="See them all: mp data list")

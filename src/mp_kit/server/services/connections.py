"""Vendors' accounts elsewhere: set, listed, tested, removed; opened only inside, for those who act for the vendor.

1. A credential goes in and does not come out: what is read is name, last four characters, status.
2. It is opened for its own vendor alone; the vault refuses it anywhere else.
3. RunPod's is neither removed nor set to another account's while something lives there.
4. No transaction is open while a service is asked, and what it said counts only for the key that it was asked about.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from pydantic import SecretStr
from sqlalchemy import Row

from mp_kit.contracts import Connection, ConnectionName, TrainingSpec, check_credential
from mp_kit.errors import ConflictError, CredentialError, IntegrityError, NotFoundError
from mp_kit.server.providers.probes import Probes
from mp_kit.server.services import audit, connection_use
from mp_kit.server.store import connections as rows
from mp_kit.server.store.engine import Tx
from mp_kit.server.vault import Vault

__all__ = ["forget", "get", "job_env", "list_of", "put", "remove", "replace", "secret", "test"]

Begin = Callable[[], AbstractContextManager[Tx]]
_SHOWN = 4


def replace(
    begin: Begin, vault: Vault, probes: Probes, vendor_id: str, name: str, value: SecretStr, *, actor: str
) -> Connection:
    """Stores a credential as its vendor wishes, unless machines that it pays for would be out of everybody's reach.

    Args:
        begin: Opens a transaction; none is open while RunPod is asked.
        vault: Seals it.
        probes: Ask RunPod, where something lives on the account, what the keys show.
        vendor_id: Whose.
        name: One of runpod, huggingface, wandb.
        value: The key.
        actor: Who sets it, for the audit log.

    Raises:
        ConflictError: It is not of the RunPod account on which something lives.
        UnavailableError: RunPod does not answer, and something lives there.
        RateLimitedError: Too many are asking at once.
        MarketplaceError: As :func:`put`.
    """
    known = _known(name)
    clean = SecretStr(check_credential(known, value.get_secret_value()))
    with begin() as tx:
        there = connection_use.living(tx, vendor_id) if known is ConnectionName.RUNPOD else []
        if not there:
            return put(tx, vault, vendor_id, name, clean, actor=actor)
        former = _opened(tx, vault, vendor_id, known)
    connection_use.require_same_account(probes, there, former, clean)
    with begin() as tx:
        return put(tx, vault, vendor_id, name, clean, actor=actor)


def put(tx: Tx, vault: Vault, vendor_id: str, name: str, value: SecretStr, *, actor: str) -> Connection:
    """Stores a credential in place of an earlier one, whatever that one is needed for; it is unchecked then.

    Args:
        tx: One transaction.
        vault: Seals it.
        vendor_id: Whose.
        name: One of runpod, huggingface, wandb.
        value: The key.
        actor: Who sets it, for the audit log.

    Raises:
        NotFoundError: No such connection exists.
        InvalidInputError: The value cannot be the service's key.
        IntegrityError: The vendor's data key cannot be unwrapped.
    """
    known = _known(name)
    clean = SecretStr(check_credential(known, value.get_secret_value()))
    data_key = rows.keep_data_key(tx, vendor_id, vault.new_data_key(vendor_id))
    sealed = vault.seal(data_key, vendor_id, known, clean)
    row = rows.upsert_connection(tx, vendor_id, known, sealed, clean.get_secret_value()[-_SHOWN:])
    audit.record(tx, actor, "connection.set", _subject(vendor_id, known))
    return _shown(row)


def list_of(tx: Tx, vendor_id: str) -> list[Connection]:
    """The vendor's connections, by name."""
    return [_shown(row) for row in rows.list_of(tx, vendor_id)]


def get(tx: Tx, vendor_id: str, name: str) -> Connection:
    """What may be read of a connection; NotFoundError when it is not set."""
    return _shown(_row(tx, vendor_id, name))


def remove(tx: Tx, vendor_id: str, name: str, *, actor: str) -> Connection:
    """Forgets a credential, whatever it is needed for, and says what it was; NotFoundError when it is not set.

    It needs no key, so that what can no longer be opened can be removed.
    """
    known = _known(name)
    row = rows.remove(tx, vendor_id, known)
    if row is None:
        raise _absent(known)
    audit.record(tx, actor, "connection.remove", _subject(vendor_id, known))
    return _shown(row)


def forget(tx: Tx, vault: Vault, vendor_id: str, name: str, *, actor: str) -> Connection:
    """Removes a credential as its vendor wishes, unless machines that it pays for would be out of everybody's reach.

    Args:
        tx: One transaction.
        vault: Tells whether the key is still good for anything: what no longer opens may always go.
        vendor_id: Whose.
        name: Which.
        actor: Who removes it, for the audit log.

    Raises:
        NotFoundError: It is not set.
        ConflictError: It is RunPod's, and a run is open or a server wanted there.
    """
    known = _known(name)
    if known is ConnectionName.RUNPOD and _opened(tx, vault, vendor_id, known) is not None:
        connection_use.require_unused(tx, vendor_id)
    return remove(tx, vendor_id, name, actor=actor)


def secret(tx: Tx, vault: Vault, vendor_id: str, name: str, *, purpose: str = "This") -> SecretStr:
    """Opens a credential, for use inside.

    Args:
        tx: One transaction.
        vault: Opens it.
        vendor_id: Whose.
        name: Which.
        purpose: What needs it, as the subject of the refusal's sentence.

    Raises:
        CredentialError: The vendor has not set it.
        IntegrityError: It cannot be opened.
    """
    known = ConnectionName(name)
    row = rows.find(tx, vendor_id, known)
    if row is None:
        raise CredentialError(
            f"{purpose} needs the vendor's {known.service} account, which is not connected: "
            f"`mp connections set {known.value}`, or m.connections.set({known.value!r}) in a notebook.",
            hint="Connect the account, or order without it.",
        )
    return vault.open(row.wrapped_key, vendor_id, known, row.ciphertext)


def job_env(tx: Tx, vault: Vault, vendor_id: str, spec: TrainingSpec) -> dict[str, str]:
    """The credentials in a training job's environment: those that its spec asks for, and no others.

    Args:
        tx: One transaction.
        vault: Opens them.
        vendor_id: Whose job it is.
        spec: What is trained.

    Returns:
        ``HF_TOKEN`` when the model is pushed, ``WANDB_API_KEY`` when the training is logged there.

    Raises:
        CredentialError: The vendor has not set one that is needed.
        IntegrityError: One cannot be opened.
    """
    purposes = {}
    if spec.hf_repo_id:
        purposes[ConnectionName.HUGGINGFACE] = f"Pushing to {spec.hf_repo_id}"
    if spec.wandb.enabled:
        purposes[ConnectionName.WANDB] = "Logging the training"
    return {
        name.variable: secret(tx, vault, vendor_id, name, purpose=purpose).get_secret_value()
        for name, purpose in purposes.items()
    }


def test(begin: Begin, vault: Vault, probes: Probes, vendor_id: str, name: str, *, actor: str) -> Connection:
    """Asks the service whether it takes the credential, and notes the answer.

    Args:
        begin: Opens a transaction: one before the service is asked, one after.
        vault: Opens the credential.
        probes: Ask.
        vendor_id: Whose.
        name: Which.
        actor: Who asks, for the audit log.

    Returns:
        The connection with its new status and a sentence that says why.

    Raises:
        NotFoundError: It is not set.
        ConflictError: It was set anew or removed while the service was asked.
        RateLimitedError: Too many are being tested at once.
        IntegrityError: It cannot be opened.
    """
    known = _known(name)
    with begin() as tx:
        row = _row(tx, vendor_id, name)
        value = vault.open(row.wrapped_key, vendor_id, known, row.ciphertext)
    verdict = probes.ask(known, value)
    with begin() as tx:
        after = rows.set_status(tx, vendor_id, known, row.ciphertext, verdict.status)
        if after is None:
            raise ConflictError(f"The {known.value} connection was changed during its test.", hint="Test it again.")
        audit.record(tx, actor, "connection.test", _subject(vendor_id, known), status=verdict.status.value)
    return _shown(after).model_copy(update={"detail": verdict.detail})


def _opened(tx: Tx, vault: Vault, vendor_id: str, name: ConnectionName) -> SecretStr | None:
    try:
        return secret(tx, vault, vendor_id, name)
    except (CredentialError, IntegrityError):
        return None


def _known(name: str) -> ConnectionName:
    try:
        return ConnectionName(name)
    except ValueError:  # the name is not repeated: somebody may have put the key in its place
        raise NotFoundError(
            "There is no connection of that name.", hint=f"It is one of {', '.join(ConnectionName)}."
        ) from None


def _absent(name: ConnectionName) -> NotFoundError:
    return NotFoundError(f"{name.service} is not connected.", hint=f"Connect it: `mp connections set {name.value}`.")


def _row(tx: Tx, vendor_id: str, name: str) -> Row[Any]:
    known = _known(name)
    row = rows.find(tx, vendor_id, known)
    if row is None:
        raise _absent(known)
    return row


def _shown(row: Row[Any]) -> Connection:
    return Connection(name=row.name, last4=row.last4, status=row.status, checked_at=row.checked_at)


def _subject(vendor_id: str, name: ConnectionName) -> str:
    return f"{vendor_id}/{name.value}"

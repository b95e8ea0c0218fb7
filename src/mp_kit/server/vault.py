"""Vendors' credentials at rest: an envelope of two keys, so that a copy of the database alone opens nothing.

1. A credential is sealed with AES-256-GCM under its vendor's data key; the data key is wrapped, likewise, under the
   master key. Both keys are derived from what is kept by HKDF-SHA256, for this use alone.
2. Vendor and connection are associated data: a sealed value opens for the vendor and the name that it was made for,
   and nowhere else.
3. What is stored is ``FORMAT.KEY ID.BASE64URL(nonce, ciphertext, tag)``. The key id says which key it takes, so that
   the master key can change while everything is in use: :meth:`Vault.rewrap` needs the data keys alone, and a key id
   that is not known makes a running process ask again which master keys there are (``reread``), as does each wrapping.
4. Each seal draws a nonce of its own. With 96 random bits a data key is good for 2^32 seals (NIST SP 800-38D, 8.3).
5. Whatever passes through is told to :mod:`mp_kit.server.redaction` first. No error says more than ids.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

from mp_kit.errors import IntegrityError
from mp_kit.server import redaction

__all__ = ["Vault", "key_id_of"]

_WRAPPED = "mpk1"
_SEALED = "mpc1"
_KEY_BYTES = 32
_ID_BYTES = 6
_NONCE_BYTES = 12
_TAG_BYTES = 16

_AGAIN = "Remove the connection and set it again: `mp connections remove NAME`, `mp connections set NAME`."
_MASTER = (
    "Put back the MP_MASTER_KEY under which credentials were stored (the environment wins over the home's "
    "secrets.json). If it is lost, each vendor removes its connections and sets them again."
)


class _Key(NamedTuple):
    """An AES key under the id that what it made bears."""

    id: str
    cipher: AESGCM


class _Masters(NamedTuple):
    """The master key that wraps, and all that unwrap, by their ids; replaced whole, since threads share it."""

    current: _Key
    known: Mapping[str, _Key]


class Vault:
    """Seals and opens vendors' credentials.

    Args:
        master_key: The text of MP_MASTER_KEY; it must be drawn at random, since nothing slows down guessing.
        retired: Former master keys: they still unwrap, and wrap nothing new.
        reread: Gives both anew, as they are kept now: how a running process hears of a rotation.
    """

    def __init__(
        self,
        master_key: str,
        retired: Sequence[str] = (),
        reread: Callable[[], tuple[str, Sequence[str]]] | None = None,
    ) -> None:
        self._masters = _masters(master_key, retired)
        self._reread = reread

    def __repr__(self) -> str:
        return f"Vault(master key {self.current_id}, {len(self.retired_ids)} retired)"

    @property
    def current_id(self) -> str:
        """The id of the master key that wraps."""
        return self._masters.current.id

    @property
    def retired_ids(self) -> list[str]:
        """The ids of the former master keys at hand, which unwrap only."""
        return [known for known in self._masters.known if known != self.current_id]

    def new_data_key(self, vendor_id: str) -> str:
        """A fresh data key for a vendor, wrapped."""
        return self._wrap(vendor_id, secrets.token_bytes(_KEY_BYTES))

    def seal(self, wrapped: str, vendor_id: str, name: str, value: SecretStr) -> str:
        """Seals a credential.

        Args:
            wrapped: The vendor's data key.
            vendor_id: Whose.
            name: Which connection.
            value: The credential.

        Raises:
            IntegrityError: The data key cannot be unwrapped.
        """
        redaction.remember(value.get_secret_value())
        key = self._data_key(wrapped, vendor_id)
        return _lock(_SEALED, key, value.get_secret_value().encode(), _bound("credential", key.id, vendor_id, name))

    def open(self, wrapped: str, vendor_id: str, name: str, sealed: str) -> SecretStr:
        """Opens a credential.

        Args:
            wrapped: The vendor's data key.
            vendor_id: Whose.
            name: Which connection.
            sealed: What :meth:`seal` gave for the same vendor and name.

        Raises:
            IntegrityError: The master key is another one, or the value was cut, changed or moved here from another
                vendor or connection.
        """
        what = f"The {name} credential of vendor {vendor_id}"
        key = self._data_key(wrapped, vendor_id)
        key_id, body = _parse(_SEALED, sealed, what)
        if key_id != key.id:
            raise IntegrityError(
                f"{what} was sealed under data key {key_id}, and the vendor's is {key.id}: it is not this vendor's.",
                hint=_AGAIN,
            )
        value = _unlock(key, body, _bound("credential", key.id, vendor_id, name), what).decode()
        redaction.remember(value)
        return SecretStr(value)

    def is_current(self, wrapped: str) -> bool:
        """Whether a data key is wrapped under the master key of today."""
        return wrapped.startswith(self.current_prefix)

    @property
    def current_prefix(self) -> str:
        """How a data key begins that is wrapped under the master key of today."""
        return f"{_WRAPPED}.{self.current_id}."

    def refresh(self) -> None:
        """Takes over the master keys as they are kept now."""
        if self._reread is not None:
            master_key, retired = self._reread()
            redaction.remember(master_key, *retired)
            self._masters = _masters(master_key, retired)

    def check(self, wrapped: str, vendor_id: str) -> None:
        """Raises IntegrityError unless a data key can be unwrapped."""
        self._unwrap(wrapped, vendor_id)

    def rewrap(self, wrapped: str, vendor_id: str) -> str:
        """Wraps a data key under the master key of today; what it sealed stays as it is.

        Raises:
            IntegrityError: The data key cannot be unwrapped with any master key at hand.
        """
        return self._wrap(vendor_id, self._unwrap(wrapped, vendor_id))

    def _wrap(self, vendor_id: str, data_key: bytes) -> str:
        self.refresh()  # a key that was dropped meanwhile would lock this one up for ever
        master = self._masters.current
        return _lock(_WRAPPED, master, data_key, _bound("data key", master.id, vendor_id))

    def _master(self, key_id: str) -> _Key | None:
        if key_id not in self._masters.known:
            self.refresh()
        return self._masters.known.get(key_id)

    def _unwrap(self, wrapped: str, vendor_id: str) -> bytes:
        what = f"The data key of vendor {vendor_id}"
        key_id, body = _parse(_WRAPPED, wrapped, what)
        master = self._master(key_id)
        if master is None:
            raise IntegrityError(
                f"{what} was wrapped under master key {key_id}; MP_MASTER_KEY is {self.current_id} now.", hint=_MASTER
            )
        return _unlock(master, body, _bound("data key", key_id, vendor_id), what)

    def _data_key(self, wrapped: str, vendor_id: str) -> _Key:
        return _derive(self._unwrap(wrapped, vendor_id), "data")


def key_id_of(wrapped: str) -> str:
    """The id of the master key that a data key is wrapped under; empty where it is stored in no format of ours."""
    prefix, _, rest = wrapped.partition(".")
    return rest.partition(".")[0] if prefix == _WRAPPED else ""


def _masters(master_key: str, retired: Sequence[str]) -> _Masters:
    current = _derive(master_key.encode(), "master")
    return _Masters(current, {key.id: key for key in [*(_derive(old.encode(), "master") for old in retired), current]})


def _derive(material: bytes, purpose: str) -> _Key:
    """The AES key and its id: both of one HKDF output, so that the id tells nothing of the key."""
    length = _KEY_BYTES + _ID_BYTES
    drawn = HKDF(SHA256(), length, salt=None, info=f"mp-kit vault 1 {purpose} key".encode()).derive(material)
    return _Key(drawn[_KEY_BYTES:].hex(), AESGCM(drawn[:_KEY_BYTES]))


def _bound(kind: str, *parts: str) -> bytes:
    """Associated data; JSON, so that no two lists of parts read alike."""
    return json.dumps(["mp-kit", kind, *parts]).encode()


def _lock(prefix: str, key: _Key, plain: bytes, bound: bytes) -> str:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    body = base64.urlsafe_b64encode(nonce + key.cipher.encrypt(nonce, plain, bound)).decode()
    return f"{prefix}.{key.id}.{body}"


def _unlock(key: _Key, body: bytes, bound: bytes, what: str) -> bytes:
    try:
        return key.cipher.decrypt(body[:_NONCE_BYTES], body[_NONCE_BYTES:], bound)
    except InvalidTag:
        raise IntegrityError(
            f"{what} does not open: it was changed, cut, or moved here from another vendor or connection.", hint=_AGAIN
        ) from None


def _parse(prefix: str, stored: str, what: str) -> tuple[str, bytes]:
    """Key id and body of a stored text."""
    parts = stored.split(".")
    if len(parts) != 3 or parts[0] != prefix:  # noqa: PLR2004 - format, key id, body
        raise IntegrityError(f"{what} is stored in no format that this release reads ({prefix}).", hint=_AGAIN)
    try:
        body = base64.b64decode(parts[2], altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        body = b""
    if len(body) <= _NONCE_BYTES + _TAG_BYTES:
        raise IntegrityError(f"{what} is cut or garbled where it is stored.", hint=_AGAIN)
    return parts[1], body

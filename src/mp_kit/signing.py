"""Signatures over exact bytes: manifests today, receipts on the same footing.

Rules:

1. What is signed is a byte string. A verifier checks the bytes that it received and only then parses them; nothing
   is ever serialised again to be checked.
2. The bytes are framed with a purpose before signing (``mp-kit/manifest/v1``), so that a signature for one purpose
   never passes for another.
3. A key is named by the first 16 hex digits of the SHA-256 of its raw public key; a changed key is a new name.
4. Verification answers with a result that says what is wrong; only :meth:`Verification.require` raises.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mp_kit.contracts.rounds import Manifest, ManifestSignature, SigningKey
from mp_kit.errors import IntegrityError

MANIFEST_PURPOSE = "mp-kit/manifest/v1"


def canonical_bytes(document: Mapping[str, Any]) -> bytes:
    """The one byte string for a JSON document: sorted keys, no spaces, UTF-8, no NaN.

    Raises:
        ValueError: The document holds a number that JSON cannot say.
    """
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def key_id(public_key: bytes) -> str:
    """Names a raw public key."""
    return hashlib.sha256(public_key).hexdigest()[:16]


@dataclass(frozen=True)
class Verification:
    """Whether a signature holds, and if not, why.

    Args:
        ok: It holds.
        reason: What is wrong; empty when it holds.
    """

    ok: bool
    reason: str = ""

    def require(self, what: str) -> None:
        """Raises IntegrityError, naming ``what``, unless the signature holds."""
        if not self.ok:
            raise IntegrityError(
                f"The signature of {what} does not hold: {self.reason}.",
                hint="Nothing of it was used. Fetch it again; if it happens twice, tell the operator.",
            )


class Signer:
    """Holds an Ed25519 private key and signs with it.

    Args:
        seed: The 32 raw bytes of the private key.
    """

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.key_id = key_id(self._public)

    def __repr__(self) -> str:
        return f"Signer(key_id={self.key_id!r})"

    @property
    def public(self) -> SigningKey:
        """The public half, as the wire gives it."""
        return SigningKey(key_id=self.key_id, public_key=base64.b64encode(self._public).decode())

    def sign(self, purpose: str, payload: bytes) -> str:
        """Base64 of the signature over the framed payload."""
        return base64.b64encode(self._key.sign(_frame(purpose, payload))).decode()

    def sign_manifest(self, payload: bytes) -> ManifestSignature:
        """Signs a manifest's exact bytes."""
        return ManifestSignature(
            key_id=self.key_id,
            signature=self.sign(MANIFEST_PURPOSE, payload),
            sha256=hashlib.sha256(payload).hexdigest(),
        )


def verify(purpose: str, payload: bytes, signature: str, named: str, keys: Mapping[str, SigningKey]) -> Verification:
    """Checks a signature over the bytes as received.

    Args:
        purpose: What the bytes are said to be.
        payload: The bytes as received.
        signature: Base64 of the signature.
        named: Id of the key that is said to have signed.
        keys: Public keys that are trusted, by id.
    """
    trusted = keys.get(named)
    if trusted is None:
        return Verification(ok=False, reason=f"key {named} is not among the trusted ones ({', '.join(keys) or 'none'})")
    try:
        public = base64.b64decode(trusted.public_key, validate=True)
        if key_id(public) != named:
            return Verification(ok=False, reason=f"key {named} does not carry its own name")
        Ed25519PublicKey.from_public_bytes(public).verify(
            base64.b64decode(signature, validate=True), _frame(purpose, payload)
        )
    except (binascii.Error, ValueError) as error:
        return Verification(ok=False, reason=f"key or signature is unreadable ({error})")
    except InvalidSignature:
        return Verification(ok=False, reason="the bytes are not the ones that were signed")
    return Verification(ok=True)


def open_manifest(payload: bytes, signed: ManifestSignature, keys: Mapping[str, SigningKey]) -> Manifest:
    """Verifies a manifest's bytes, then parses them.

    Raises:
        IntegrityError: The signature does not hold over these bytes.
    """
    verify(MANIFEST_PURPOSE, payload, signed.signature, signed.key_id, keys).require("the round's manifest")
    return Manifest.model_validate_json(payload)


def _frame(purpose: str, payload: bytes) -> bytes:
    return b"%s %d " % (purpose.encode(), len(payload)) + payload

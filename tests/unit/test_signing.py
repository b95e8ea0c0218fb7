"""Signatures hold over exact bytes, and over nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from mp_kit.contracts import Manifest, ManifestSignature, SigningKey, Timeframe
from mp_kit.errors import IntegrityError
from mp_kit.signing import MANIFEST_PURPOSE, Signer, Verification, canonical_bytes, key_id, open_manifest, verify

SEED = bytes(range(32))
SIGNER = Signer(SEED)
OTHER = Signer(bytes(32))
KEYS = {SIGNER.key_id: SIGNER.public}
MANIFEST = Manifest(
    round_id="rnd_1",
    name="ecb 1d",
    timeframe=Timeframe.D1,
    symbols=["EURUSD"],
    horizon=5,
    embargo=5,
    created_at=datetime(2026, 1, 2, tzinfo=UTC),
    source={"kind": "ecb"},
    code_version="0.1.0",
    files=[],
)
PAYLOAD = canonical_bytes(MANIFEST.model_dump(mode="json"))
SIGNED = SIGNER.sign_manifest(PAYLOAD)
GOOD = {"purpose": MANIFEST_PURPOSE, "payload": PAYLOAD, "signature": SIGNED.signature, "named": SIGNER.key_id}


def _misnamed() -> dict[str, SigningKey]:
    return {SIGNER.key_id: SigningKey(key_id=SIGNER.key_id, public_key=OTHER.public.public_key)}


def _unreadable(text: str) -> dict[str, SigningKey]:
    return {SIGNER.key_id: SigningKey(key_id=SIGNER.key_id, public_key=text)}


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "one bit of the payload": ({"payload": PAYLOAD[:-1] + bytes([PAYLOAD[-1] ^ 1])}, "not the ones that were signed"),
    "a space more": ({"payload": PAYLOAD + b" "}, "not the ones that were signed"),
    "the same JSON, spaced": ({"payload": json.dumps(json.loads(PAYLOAD)).encode()}, "not the ones"),
    "another purpose": ({"purpose": "mp-kit/receipt/v1"}, "not the ones that were signed"),
    "another's signature": ({"signature": OTHER.sign(MANIFEST_PURPOSE, PAYLOAD)}, "not the ones that were signed"),
    "unknown key": ({"named": OTHER.key_id}, "not among the trusted ones"),
    "no key trusted": ({"keys": {}}, "none"),
    "a key under another's name": ({"keys": _misnamed()}, "does not carry its own name"),
    "a key that is no base64": ({"keys": _unreadable("*")}, "unreadable"),
    "a signature that is no base64": ({"signature": "not base64!"}, "unreadable"),
    "a signature cut short": ({"signature": base64.b64encode(b"x" * 63).decode()}, "not the ones"),
    "no signature": ({"signature": ""}, "not the ones"),
}


@pytest.mark.parametrize(("change", "why"), BAD.values(), ids=BAD)
def test_verify_says_what_is_wrong(change: dict[str, Any], why: str):
    """A result with a reason, never an exception."""
    result = verify(**{**GOOD, "keys": KEYS, **change})
    assert not result.ok
    assert why in result.reason


def test_verify_holds():
    """Over the very bytes, with another trusted key beside."""
    assert Verification(ok=True) == verify(**GOOD, keys={**KEYS, OTHER.key_id: OTHER.public})


def test_require_raises_with_what_and_why():
    """And with what to do."""
    with pytest.raises(IntegrityError, match="signature of the file does not hold: it is torn") as caught:
        Verification(ok=False, reason="it is torn").require("the file")
    assert "Nothing of it was used" in caught.value.hint
    Verification(ok=True).require("the file")


def test_signature_is_plain_ed25519_over_the_frame():
    """What another language would check."""
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(SIGNER.public.public_key))
    framed = f"mp-kit/manifest/v1 {len(PAYLOAD)} ".encode() + PAYLOAD
    public.verify(base64.b64decode(SIGNED.signature), framed)
    assert hashlib.sha256(PAYLOAD).hexdigest() == SIGNED.sha256


@given(st.binary(max_size=200), st.integers(0, 10_000))
def test_any_flipped_bit_is_found(payload: bytes, at: int):
    """In payload or signature."""
    signature = SIGNER.sign("p", payload)
    assert verify("p", payload, signature, SIGNER.key_id, KEYS).ok
    whole = bytearray(base64.b64decode(signature) + payload)
    whole[at // 8 % len(whole)] ^= 1 << at % 8
    torn = base64.b64encode(bytes(whole[:64])).decode()
    assert not verify("p", bytes(whole[64:]), torn, SIGNER.key_id, KEYS).ok


def test_key_is_named_by_its_digest():
    """16 hex digits; another key, another name."""
    public = base64.b64decode(SIGNER.public.public_key)
    assert hashlib.sha256(public).hexdigest()[:16] == SIGNER.key_id == key_id(public)
    assert SIGNER.key_id != OTHER.key_id
    assert SIGNER.key_id == Signer(SEED).key_id


def test_repr_shows_no_private_key():
    """The name only."""
    assert f"Signer(key_id={SIGNER.key_id!r})" == repr(SIGNER)


@pytest.mark.parametrize("seed", [b"", b"x" * 31, b"x" * 33])
def test_wrong_seed_is_refused(seed: bytes):
    """32 bytes it must be."""
    with pytest.raises(ValueError, match="32"):
        Signer(seed)


def test_open_manifest_verifies_then_parses():
    """The document that was signed."""
    assert MANIFEST == open_manifest(PAYLOAD, SIGNED, KEYS)


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff", PAYLOAD.replace(b"rnd_1", b"rnd_2")])
def test_open_manifest_parses_nothing_unverified(payload: bytes):
    """Bytes that would not even parse fail by their signature."""
    with pytest.raises(IntegrityError, match="round's manifest"):
        open_manifest(payload, SIGNED, KEYS)


def test_open_manifest_refuses_a_foreign_key():
    """Named in the sentence."""
    foreign = ManifestSignature(key_id="feed", signature=SIGNED.signature, sha256=SIGNED.sha256)
    with pytest.raises(IntegrityError, match="key feed is not among the trusted ones"):
        open_manifest(PAYLOAD, foreign, KEYS)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_canonical_bytes_refuse_what_json_cannot_say(value: float):
    """NaN has no JSON."""
    with pytest.raises(ValueError, match="JSON"):
        canonical_bytes({"a": value})


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers()))
def test_canonical_bytes_do_not_depend_on_order(document: dict[str, int]):
    """One document, one string of bytes."""
    backwards = dict(reversed(document.items()))
    assert canonical_bytes(document) == canonical_bytes(backwards)
    assert document == json.loads(canonical_bytes(document))


def test_canonical_bytes_are_the_ones_written_here():
    """Sorted, unspaced, UTF-8; a change of them would break every old signature."""
    assert '{"a":[1,null,"é"],"b":1.5}'.encode() == canonical_bytes({"b": 1.5, "a": [1, None, "é"]})

"""Signatures of webhooks as https://www.standardwebhooks.com has them: symmetric, version 1.

1. Signed are ``ID.TIMESTAMP.BODY``, the three as they are sent: HMAC-SHA256, in base64, behind ``v1,``.
2. A secret is ``whsec_`` and base64 of 24 to 64 bytes; while one is replaced, a message bears a signature of each.
3. The received bytes are verified, then parsed. Signatures are compared in constant time.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import SecretStr

from mp_kit.errors import IntegrityError, InvalidInputError

WEBHOOK_ID_HEADER = "webhook-id"
WEBHOOK_TIMESTAMP_HEADER = "webhook-timestamp"
WEBHOOK_SIGNATURE_HEADER = "webhook-signature"

_PREFIX = "whsec_"
_VERSION = "v1,"
_SECRET_BYTES = range(24, 65)
_NEW_BYTES = 32
_MOST_SIGNATURES = 16

Secret = str | SecretStr


def new_webhook_secret() -> SecretStr:
    """A fresh secret of 256 random bits."""
    return SecretStr(_PREFIX + base64.b64encode(secrets.token_bytes(_NEW_BYTES)).decode())


def sign_webhook(message_id: str, timestamp: int, body: bytes, signing: Sequence[Secret]) -> dict[str, str]:
    """The headers of a message.

    Args:
        message_id: Stays the same whenever the message is sent again.
        timestamp: Unix seconds of this attempt.
        body: The exact bytes that are sent.
        signing: The secrets to sign with: one, or two while one replaces the other.

    Returns:
        ``webhook-id``, ``webhook-timestamp`` and ``webhook-signature``.

    Raises:
        InvalidInputError: A secret is no ``whsec_`` secret.
    """
    signatures = [_VERSION + _mac(message_id, str(timestamp), body, _key(secret)) for secret in signing]
    return {
        WEBHOOK_ID_HEADER: message_id,
        WEBHOOK_TIMESTAMP_HEADER: str(timestamp),
        WEBHOOK_SIGNATURE_HEADER: " ".join(signatures),
    }


def verify_webhook(
    headers: Mapping[str, str], body: bytes, secret: Secret, tolerance: float = 300.0, *, now: float | None = None
) -> dict[str, Any]:
    """Checks that a message came from who holds the secret, just now and unchanged; pure, for receivers.

    Args:
        headers: The request's headers, in any case of letters.
        body: The request's body, the exact bytes; parsed and dumped again it would not verify.
        secret: The endpoint's ``whsec_…`` secret.
        tolerance: Seconds that the message's time may differ from now, either way: older ones may be replayed.
        now: Unix seconds; the clock's by default.

    Returns:
        The parsed body: ``{"type", "timestamp", "data"}``. The header ``webhook-id`` is the same whenever the message
        comes again: do its work once.

    Raises:
        IntegrityError: A header is missing, no signature fits, or the time is too far from now.
        InvalidInputError: The secret is no ``whsec_`` secret, or what was signed is no JSON object.

    Example:
        >>> event = mp_kit.verify_webhook(request.headers, request.body, "whsec_…")
        >>> event["type"]
        'run.finished'
    """
    key = _key(secret)
    told = {name.lower(): value for name, value in headers.items()}
    message_id, sent = _header(told, WEBHOOK_ID_HEADER), _header(told, WEBHOOK_TIMESTAMP_HEADER)
    given = _header(told, WEBHOOK_SIGNATURE_HEADER).split(" ")[:_MOST_SIGNATURES]
    wanted = (_VERSION + _mac(message_id, sent, body, key)).encode()
    if not any(hmac.compare_digest(wanted, one.encode()) for one in given):
        raise IntegrityError(
            "No signature of the message fits.",
            hint="Check that the secret is this endpoint's and that the body is what was received, byte by byte.",
        )
    _check_time(sent, tolerance, time.time() if now is None else now)
    return _parse(body)


def _mac(message_id: str, timestamp: str, body: bytes, key: bytes) -> str:
    signed = f"{message_id}.{timestamp}.".encode() + body
    return base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def _key(secret: Secret) -> bytes:
    text = secret.get_secret_value() if isinstance(secret, SecretStr) else secret
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith(_PREFIX) or len(key) not in _SECRET_BYTES:
        raise InvalidInputError(
            f"This is no webhook secret: it begins with {_PREFIX}, then base64 of {_SECRET_BYTES.start} to "
            f"{_SECRET_BYTES.stop - 1} bytes.",
            hint="A lost secret is replaced by: mp webhooks rotate ENDPOINT",
        )
    return key


def _header(told: Mapping[str, str], name: str) -> str:
    value = told.get(name, "")
    if not value:
        raise IntegrityError(f"The message has no {name} header.")
    return value


def _check_time(sent: str, tolerance: float, now: float) -> None:
    if not sent.isascii() or not sent.isdecimal():
        raise IntegrityError(f"The message's {WEBHOOK_TIMESTAMP_HEADER} is no number of seconds.")
    apart = now - int(sent)
    if abs(apart) > tolerance:
        where = "old" if apart > 0 else "ahead"
        raise IntegrityError(
            f"The message is {abs(apart):.0f} s {where}; {tolerance:g} s are tolerated.",
            hint="Check this machine's clock; a message that was held back may be a replay.",
        )


def _parse(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise InvalidInputError("The message is signed, and its body is no JSON object.")
    return document

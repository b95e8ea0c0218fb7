"""Signatures of webhooks: the standard's own example, and everything that must not pass."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

import mp_kit
from mp_kit.contracts import WebhookRequest, new_webhook_secret, sign_webhook
from mp_kit.errors import IntegrityError, InvalidInputError

# The example of the standard's reference libraries.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID, AT, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
HEADERS = {"webhook-id": ID, "webhook-timestamp": str(AT), "webhook-signature": SIGNATURE}
OTHER = "whsec_" + base64.b64encode(b"another secret of 32 bytes......").decode()


def verify(headers: dict[str, str] | None = None, body: bytes = BODY, secret: Any = SECRET, **how: Any) -> Any:
    return mp_kit.verify_webhook(HEADERS if headers is None else headers, body, secret, **{"now": AT, **how})


def test_standards_example_by_hand():
    """The same bytes as the formula written out, and as the standard publishes them."""
    key = base64.b64decode(SECRET[len("whsec_") :])
    mac = hmac.new(key, b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330." + BODY, hashlib.sha256)
    assert SIGNATURE == "v1," + base64.b64encode(mac.digest()).decode()
    assert HEADERS == sign_webhook(ID, AT, BODY, [SECRET])
    assert {"test": 2432232314} == verify()


TAMPERED: dict[str, dict[str, Any]] = {
    "another body": {"body": BODY.replace(b"4", b"5")},
    "the same document, dumped again": {"body": b'{"test":2432232314}'},
    "another secret": {"secret": OTHER},
    "another id": {"headers": HEADERS | {"webhook-id": "msg_2"}},
    "another time": {"headers": HEADERS | {"webhook-timestamp": str(AT + 1)}},
    "another signature": {"headers": HEADERS | {"webhook-signature": SIGNATURE.replace("g", "h")}},
    "another version": {"headers": HEADERS | {"webhook-signature": SIGNATURE.replace("v1", "v2")}},
    "no version": {"headers": HEADERS | {"webhook-signature": SIGNATURE[3:]}},
    "letters that no base64 has": {"headers": HEADERS | {"webhook-signature": "v1,ä"}},
    "too many to look at": {"headers": HEADERS | {"webhook-signature": "v1,x " * 16 + SIGNATURE}},
    "no id": {"headers": {name: value for name, value in HEADERS.items() if name != "webhook-id"}},
    "no time": {"headers": HEADERS | {"webhook-timestamp": ""}},
    "no headers": {"headers": {}},
    "301 s old": {"now": AT + 301},
    "301 s ahead": {"now": AT - 301},
    "not so tolerant": {"now": AT + 2, "tolerance": 1},
}


@pytest.mark.parametrize("case", TAMPERED.values(), ids=TAMPERED)
def test_what_does_not_verify(case: dict[str, Any]):
    """IntegrityError, without the secret or a signature in it."""
    with pytest.raises(IntegrityError) as caught:
        verify(**case)
    assert SECRET[8:] not in str(caught.value)
    assert SIGNATURE[3:] not in str(caught.value)


def test_a_time_that_is_none():
    """Signed all the same, as only the holder of the secret could."""
    mac = hmac.new(base64.b64decode(SECRET[6:]), f"{ID}.soon.".encode() + BODY, "sha256").digest()
    headers = HEADERS | {"webhook-timestamp": "soon", "webhook-signature": "v1," + base64.b64encode(mac).decode()}
    with pytest.raises(IntegrityError, match="no number"):
        verify(headers)


@pytest.mark.parametrize("body", [b"", b"[1]", b"{", b"\xff", b"[" * 100_000], ids=lambda body: body[:3])
def test_a_signed_body_that_is_no_object(body: bytes):
    """Signed, and still not to be worked with."""
    with pytest.raises(InvalidInputError, match="no JSON object"):
        verify(sign_webhook(ID, AT, body, [SECRET]), body)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_AAAA", "whsec_***", SECRET[6:], "vk_" + SECRET[6:]])
def test_what_is_no_secret(secret: str):
    """Said before anything is compared; a short key would be guessed."""
    with pytest.raises(InvalidInputError, match="no webhook secret"):
        verify(secret=secret)


@pytest.mark.parametrize("edge", [AT - 300, AT + 300])
def test_tolerance_includes_its_ends(edge: int):
    """Five minutes either way."""
    assert verify(now=edge)


def test_header_names_in_any_case():
    """As HTTP has them."""
    assert verify({name.title(): value for name, value in HEADERS.items()}, secret=SecretStr(SECRET))


def test_overlap_of_two_secrets():
    """While a secret is replaced, holders of the old and of the new one both verify."""
    headers = sign_webhook(ID, AT, BODY, [new_webhook_secret(), SECRET, OTHER])
    assert verify(headers) == verify(headers, secret=OTHER)
    assert 3 == len(headers["webhook-signature"].split(" "))


def test_new_secrets_are_strong_and_hidden():
    """256 bits, another one each time, in no repr."""
    drawn = [new_webhook_secret() for _ in range(50)]
    assert 50 == len({secret.get_secret_value() for secret in drawn})
    assert 32 == len(base64.b64decode(drawn[0].get_secret_value()[6:]))
    assert "whsec_" not in repr(drawn[0])


@pytest.mark.parametrize("event", ["ping"])
def test_what_cannot_be_wanted(event: str):
    """The test that nobody subscribes to; the sentence lists those that there are."""
    with pytest.raises(ValidationError, match=r"there are signal\.stored"):
        WebhookRequest(url="https://example.com/", events=[event])


def test_events_are_a_set():
    """Named twice, wanted once."""
    wanted = WebhookRequest(url="https://example.com/", events=["run.finished", "consensus.updated", "run.finished"])
    assert ["consensus.updated", "run.finished"] == wanted.events

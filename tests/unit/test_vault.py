"""The vault: what it seals opens for the same vendor and name, and for nobody else."""

from __future__ import annotations

import base64
import secrets

import pytest
from pydantic import SecretStr

from mp_kit.errors import IntegrityError
from mp_kit.server.redaction import redact
from mp_kit.server.vault import Vault

MASTER = base64.b64encode(bytes(range(32))).decode()
CANARY = "hf_CanaryThatMustNotBeSeen01234567"
VAULT = Vault(MASTER)
ACME = VAULT.new_data_key("ven_acme")
OTHER = VAULT.new_data_key("ven_other")
SEALED = VAULT.seal(ACME, "ven_acme", "huggingface", SecretStr(CANARY))


def flipped(stored: str) -> str:
    """The same text with one bit of its last byte changed."""
    prefix, key_id, body = stored.split(".")
    raw = bytearray(base64.urlsafe_b64decode(body))
    raw[-1] ^= 1
    return ".".join([prefix, key_id, base64.urlsafe_b64encode(bytes(raw)).decode()])


REFUSED = {
    "another vendor's data key": (VAULT, OTHER, "ven_other", "huggingface", SEALED, "not this vendor's"),
    "another vendor with the same key": (VAULT, ACME, "ven_other", "huggingface", SEALED, "data key of vendor ven_oth"),
    "another name": (VAULT, ACME, "ven_acme", "runpod", SEALED, "moved here"),
    "a bit changed": (VAULT, ACME, "ven_acme", "huggingface", flipped(SEALED), "changed"),
    "cut by a little": (VAULT, ACME, "ven_acme", "huggingface", SEALED[:-4], "changed, cut"),
    "cut by much": (VAULT, ACME, "ven_acme", "huggingface", SEALED[:30], "cut or garbled"),
    "no base64": (VAULT, ACME, "ven_acme", "huggingface", SEALED[:40] + "ä", "cut or garbled"),
    "no value of ours": (VAULT, ACME, "ven_acme", "huggingface", CANARY, "no format"),
    "a format to come": (VAULT, ACME, "ven_acme", "huggingface", "mpc2" + SEALED[4:], "no format"),
    "a data key in its place": (VAULT, ACME, "ven_acme", "huggingface", ACME, "no format"),
    "data key changed": (VAULT, flipped(ACME), "ven_acme", "huggingface", SEALED, "data key of vendor ven_acme does"),
    "wrong master key": (Vault("another master key"), ACME, "ven_acme", "huggingface", SEALED, "under master key"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_does_not_belong_is_refused(case: tuple[Vault, str, str, str, str, str]):
    """The error says what and how to mend it, and neither value nor key."""
    vault, data_key, vendor_id, name, sealed, told = case
    with pytest.raises(IntegrityError, match=told) as caught:
        vault.open(data_key, vendor_id, name, sealed)
    said = f"{caught.value} {caught.value.hint}"
    assert CANARY not in said
    assert MASTER not in said
    assert caught.value.hint


def test_opens_what_it_sealed():
    """For the same vendor and name, in any process with the same master key."""
    assert CANARY == Vault(MASTER).open(ACME, "ven_acme", "huggingface", SEALED).get_secret_value()


def test_two_seals_differ():
    """Equal credentials do not show as equal."""
    assert SEALED != VAULT.seal(ACME, "ven_acme", "huggingface", SecretStr(CANARY))
    assert CANARY not in SEALED


def test_rewrap_changes_the_master_key_alone():
    """With the old key retired everything opens; after the rewrap the old key is needed no more."""
    new = secrets.token_urlsafe(32)
    both = Vault(new, retired=[MASTER])
    assert (False, CANARY) == (
        both.is_current(ACME),
        both.open(ACME, "ven_acme", "huggingface", SEALED).get_secret_value(),
    )
    wrapped = both.rewrap(ACME, "ven_acme")
    assert both.is_current(wrapped)
    assert CANARY == Vault(new).open(wrapped, "ven_acme", "huggingface", SEALED).get_secret_value()
    with pytest.raises(IntegrityError, match="under master key"):
        VAULT.open(wrapped, "ven_acme", "huggingface", SEALED)


def test_repr_shows_no_key():
    """Ids only."""
    assert MASTER not in repr(Vault(MASTER, retired=["another master key"]))


def test_what_passed_through_is_redacted():
    """From the moment on that it was sealed, also as part of a URL."""
    odd = "0123456789+canary/of=the+vault"
    VAULT.seal(ACME, "ven_acme", "wandb", SecretStr(odd))
    assert "a *** b ***" == redact(f"a {odd} b 0123456789%2Bcanary%2Fof%3Dthe%2Bvault")

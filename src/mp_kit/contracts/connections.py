"""A vendor's accounts elsewhere: RunPod, Hugging Face, Weights & Biases. Credentials go in and never come out."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from pydantic import ConfigDict, SecretStr

from mp_kit.contracts.common import Instant, Model
from mp_kit.errors import InvalidInputError


class ConnectionName(StrEnum):
    """Accounts elsewhere that a vendor may connect."""

    RUNPOD = "runpod"
    HUGGINGFACE = "huggingface"
    WANDB = "wandb"

    @property
    def service(self) -> str:
        """The service as people call it."""
        return _SERVICES[self].name

    @property
    def variable(self) -> str:
        """The environment variable in which people keep its key."""
        return _SERVICES[self].variable


class _Service(NamedTuple):
    name: str
    variable: str
    prefix: str


_SERVICES = {
    ConnectionName.RUNPOD: _Service("RunPod", "RUNPOD_API_KEY", "rpa_"),
    ConnectionName.HUGGINGFACE: _Service("Hugging Face", "HF_TOKEN", "hf_"),
    ConnectionName.WANDB: _Service("Weights & Biases", "WANDB_API_KEY", "wandb_"),
}
_OUR_PREFIXES = ("vk_", "sit_", "ac_", "whsec_")
_CREDENTIAL_LENGTH = range(16, 513)


class ConnectionStatus(StrEnum):
    """What the service said of a credential when it was last asked."""

    UNCHECKED = "unchecked"  # never asked since it was set
    OK = "ok"
    REFUSED = "refused"  # unknown, revoked, or without the rights
    UNREACHABLE = "unreachable"  # the service did not answer: nothing is known of the credential


class ConnectionWrite(Model):
    """A credential, write-only."""

    model_config = ConfigDict(hide_input_in_errors=True)

    value: SecretStr


class Connection(Model):
    """What may be read of a credential.

    ``status`` is one of :class:`ConnectionStatus`; ``detail`` is a sentence that only the answer to a test bears.
    """

    name: str
    last4: str
    status: str
    checked_at: Instant | None = None
    detail: str | None = None


def check_credential(name: ConnectionName, value: str) -> str:
    """Refuses what cannot be the service's key, without repeating it.

    Args:
        name: The service.
        value: The key as typed or read.

    Returns:
        The key without white space around it.

    Raises:
        InvalidInputError: It is too short or too long, has odd characters, or is the key of something else.
    """
    clean = value.strip()
    problem = _problem_of(name, clean)
    if problem:
        raise InvalidInputError(
            f"This is no key of {name.service}: {problem}.", details=[{"loc": ["value"], "msg": problem}]
        )
    return clean


def _problem_of(name: ConnectionName, value: str) -> str | None:
    if len(value) not in _CREDENTIAL_LENGTH:
        return f"it must have {_CREDENTIAL_LENGTH.start} to {_CREDENTIAL_LENGTH.stop - 1} characters"
    if not all("!" <= character <= "~" for character in value):
        return "it has spaces or characters that no key has"
    if value.startswith(_OUR_PREFIXES):
        return "it is a key of this marketplace"
    others = {service.prefix: service.name for other, service in _SERVICES.items() if other != name}
    owner = next((owner for prefix, owner in others.items() if value.startswith(prefix)), None)
    return f"it looks like one of {owner}" if owner else None

"""The master keys as they are kept at this moment, and changing them where the home keeps them."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from mp_kit.errors import SetupError
from mp_kit.server.settings import SECRETS_FILE, read_json, retired_keys, secret_of, write_private

__all__ = ["drop_retired", "kept_now", "renew"]

MASTER_KEY = "MP_MASTER_KEY"
RETIRED_KEYS = "MP_MASTER_KEY_RETIRED"
_BYTES = 32


def kept_now(home: Path) -> tuple[str, tuple[str, ...]]:
    """The master key and the retired ones; what the environment says wins.

    Raises:
        SetupError: There is none, or the home's secrets cannot be read.
    """
    kept = read_json(home / SECRETS_FILE)
    return secret_of(MASTER_KEY, os.environ, kept), retired_keys(os.environ, kept)


def renew(home: Path) -> None:
    """Draws a new master key into the home's secrets; the one of before becomes a retired one.

    Raises:
        SetupError: The environment sets the key, or the home keeps none.
    """
    kept = _kept(home)
    retired = " ".join([*retired_keys({}, kept), kept[MASTER_KEY]])
    fresh = base64.b64encode(secrets.token_bytes(_BYTES)).decode()
    write_private(home / SECRETS_FILE, {**kept, MASTER_KEY: fresh, RETIRED_KEYS: retired})


def drop_retired(home: Path) -> int:
    """Forgets the home's retired master keys; returns how many.

    Raises:
        SetupError: The environment sets the keys, or the home keeps none.
    """
    kept = _kept(home)
    write_private(home / SECRETS_FILE, {name: value for name, value in kept.items() if name != RETIRED_KEYS})
    return len(retired_keys({}, kept))


def _kept(home: Path) -> Mapping[str, str]:
    kept = read_json(home / SECRETS_FILE)
    if os.environ.get(MASTER_KEY) or os.environ.get(RETIRED_KEYS) or not kept.get(MASTER_KEY):
        raise SetupError(
            f"The master key is not kept in {home / SECRETS_FILE}: the environment sets it.",
            hint=f"Change {MASTER_KEY} and {RETIRED_KEYS} where they are set; docs/backup.md says in which order.",
        )
    return kept

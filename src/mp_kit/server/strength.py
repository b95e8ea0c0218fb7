"""Whether a marketplace's secrets are any good: a start over weak ones is refused, with how to make better ones.

A secret has 32 characters or more, is not guessable by its letters, is not a document's example, and is used once.
What is refused is named, never shown.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from mp_kit.errors import SetupError
from mp_kit.server.settings import Settings

__all__ = ["MAKE", "refuse_weak", "weakness", "weaknesses"]

MAKE = "openssl rand -base64 32"
"""Makes a good secret, and a good MP_SIGNING_SEED."""

_MIN_CHARS = 32
_MIN_BITS = 80.0
"""By a secret's own letters: 16 random bytes in hexadecimal digits have some 110 of these, a repeated word some 60."""

_EXAMPLES = re.compile(
    r"(?i)your_|your-|change_?-?me|example|placeholder|password|passwd|pepper|secret|signing|insecure|letmein"
    r"|do.?not.?use|replace|minioadmin|<[^>]*>|^\.+$|^x+$"
)
"""Words of documents' examples (``your_jwt_signing_secret``); random letters spell none of them in a lifetime."""

_GIVEN = ("AWS_SECRET_ACCESS_KEY", "CLOUDFLARE_R2_SECRET_KEY")


def weakness(value: str) -> str | None:
    """Why a secret is no good, without showing any of it; None where nothing is to be said against it.

    Args:
        value: The secret.
    """
    if _EXAMPLES.search(value):
        return "is an example's value or made of common words"
    if len(value) < _MIN_CHARS:
        return f"is shorter than {_MIN_CHARS} characters"
    if _bits(value) < _MIN_BITS:
        return "repeats itself: its letters can be guessed"
    return None


def weaknesses(settings: Settings) -> dict[str, str]:
    """What is wrong with a marketplace's secrets, by the names of their variables."""
    own = _own(settings)
    found = {name: fault for name, value in own.items() if (fault := weakness(value))}
    uses = Counter(own.values())
    found |= {
        name: "is the same as another one" for name, value in own.items() if uses[value] > 1 and name not in found
    }
    for name, value in _given(settings).items():
        if value and _EXAMPLES.search(value):
            found[name] = "is an example's value"
    return found


def refuse_weak(settings: Settings) -> None:
    """Raises where a secret is no good.

    Raises:
        SetupError: It names each one and says why, and how to make a good one.
    """
    found = weaknesses(settings)
    if found:
        told = "; ".join(f"{name} {fault}" for name, fault in sorted(found.items()))
        raise SetupError(
            f"Secrets are not good enough: {told}.",
            hint=f"Make one for each variable with `{MAKE}`; docs/settings.md says what a changed one ends.",
        )


def _own(settings: Settings) -> Mapping[str, str]:
    return {
        "INFRA_TOKEN_PEPPER": settings.token_pepper,
        "MP_JWT_SECRET": settings.jwt_secret,
        "MP_SIGNING_SEED": settings.signing_seed,
        "MP_URL_KEY": settings.url_key,
        "MP_SERVICE_KEY": settings.service_key,
        "MP_MASTER_KEY": settings.master_key,
    }


def _given(settings: Settings) -> Mapping[str, str]:
    """Secrets that others made: only an example's value is ours to refuse."""
    stores = {name: settings.store_env.get(name, "") for name in _GIVEN}
    github = {"MP_GITHUB_CLIENT_SECRET": settings.github_client_secret}
    return {**stores, **github, "MP_DATABASE_URL": _password(settings.database_url)}


def _password(url: str) -> str:
    try:
        return unquote(urlsplit(url).password or "")
    except ValueError:  # no URL: whoever connects says so
        return ""


def _bits(value: str) -> float:
    """Shannon's entropy of a text by the frequencies of its own letters, in bits."""
    counts = Counter(value)
    return -sum(count * math.log2(count / len(value)) for count in counts.values())

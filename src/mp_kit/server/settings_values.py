"""What a variable of the environment says, or why it does not do: errors name the variable, never a secret's value."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from mp_kit.errors import SetupError

__all__ = ["count", "networks", "pattern", "url", "word"]


def word(name: str, env: Mapping[str, str], default: str, known: tuple[str, ...]) -> str:
    """One of the known words, in lower case."""
    value = (env.get(name) or default).lower()
    if value not in known:
        raise SetupError(f"{name} must be one of: {', '.join(known)}.")
    return value


def count(name: str, env: Mapping[str, str], default: int) -> int:
    """A whole number of at least 1."""
    value = env.get(name) or str(default)
    if not value.isascii() or not value.isdecimal() or int(value) < 1:
        raise SetupError(f"{name} must be a whole number of at least 1.")
    return int(value)


def networks(name: str, env: Mapping[str, str]) -> tuple[str, ...]:
    """Addresses and networks, as they are listed with commas or spaces."""
    listed = tuple(env.get(name, "").replace(",", " ").split())
    for one in listed:
        try:
            ipaddress.ip_network(one)
        except ValueError as error:
            raise SetupError(
                f"{name} has {one[:50]!r}, which is no address or network.",
                hint="List addresses such as 10.0.0.7 and networks such as 10.0.0.0/8, with their host bits zero.",
            ) from error
    return listed


def url(name: str, env: Mapping[str, str], default: str) -> str:
    """An http(s) URL with a host, without a password and a slash at its end."""
    value = (env.get(name) or default).rstrip("/")
    try:
        parts = urlsplit(value)
        is_good = parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:  # brackets that do not close
        is_good = False
    if not is_good:
        raise SetupError(f"{name} must be an http(s) URL with a host and without a password.")
    return value


def pattern(name: str, env: Mapping[str, str], default: str) -> str:
    """A URL with {pod} and {port} in it."""
    value = url(name, env, default)
    if "{pod}" not in value or "{port}" not in value:
        raise SetupError(f"{name} must have {{pod}} and {{port}} in it, as {default} has.")
    return value

"""``mp login``: check a key, then store it."""

from __future__ import annotations

import getpass
import sys
from dataclasses import replace
from typing import Annotated

import typer

from mp_kit.cli.output import Json, emit, say
from mp_kit.cli.session import session
from mp_kit.errors import AuthError, InvalidInputError

Url = Annotated[str | None, typer.Option("--api-url", help="Root of the marketplace; the profile's by default.")]
Key = Annotated[
    str | None, typer.Option("--api-key", help="vk_… key; '-' reads it from stdin; asked for on a terminal.")
]


def login(api_url: Url = None, api_key: Key = None, json: Json = False) -> None:
    """Checks an API key with the marketplace and stores it, readable by you only.

    Signing in trusts the marketplace anew: the key that signs its manifests is pinned at the next pull.
    """
    from pydantic import SecretStr

    from mp_kit.client import config

    url = config.resolve(api_url).api_url.rstrip("/")
    key = _key(api_key)
    vendor = session(url, key).me()
    profile = config.unpinned(replace(config.moved(config.load(), url), api_key=SecretStr(key)), url)
    stored = config.save(profile)
    say(f"The key is stored in {stored}.")
    facts = {"vendor_id": vendor.id, "name": vendor.name, "api_url": url}
    emit(facts, as_json=json, text=f"Signed in as {vendor.name}.")


def _key(given: str | None) -> str:
    if given == "-":
        key = sys.stdin.readline().strip()
    elif given is not None:
        key = given.strip()
    elif sys.stdin.isatty():
        key = getpass.getpass("API key (vk_…): ").strip()
    else:
        raise AuthError("No API key was given.", hint="Pass --api-key vk_…, or --api-key - and the key on stdin.")
    if key.startswith("sit_"):
        raise InvalidInputError("This is a deployment token (sit_…).", hint="Sign in with the vendor's key (vk_…).")
    if not key:
        raise AuthError("The API key is empty.", hint="Pass --api-key vk_….")
    return key

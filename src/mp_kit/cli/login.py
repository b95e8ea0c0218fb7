"""``mp login`` and ``mp logout``: check a key, or get one by a code, and store it; forget it."""

from __future__ import annotations

import getpass
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from mp_kit.cli.output import Json, emit, say
from mp_kit.cli.session import session
from mp_kit.errors import AuthError, InvalidInputError, TokenExpiredError

if TYPE_CHECKING:
    from pydantic import SecretStr

    from mp_kit.client.marketplace import Marketplace, VendorView

Url = Annotated[str | None, typer.Option("--api-url", help="Root of the marketplace; the profile's by default.")]
Key = Annotated[
    str | None,
    typer.Option("--api-key", help="vk_… key, or ac_… code; '-' reads it from stdin; asked for on a terminal."),
]
Device = Annotated[bool, typer.Option("--device", help="Get a key: shows a URL and a code to approve in a browser.")]
Wait = Annotated[float, typer.Option("--wait", min=5, max=600, help="With --device: seconds to wait at most.")]


def login(
    api_url: Url = None, api_key: Key = None, device: Device = False, wait: Wait = 600, json: Json = False
) -> None:
    """Checks an API key with the marketplace and stores it, readable by you only; --device gets one.

    Signing in trusts the marketplace anew: the key that signs its manifests is pinned at the next pull.
    """
    from mp_kit.client import config

    url = config.resolve(api_url).api_url.rstrip("/")
    key = "" if device and api_key is None else _key(api_key)
    if key and not key.startswith("ac_"):
        _with_key(url, key, as_json=json)
    else:
        _with_code(url, key or None, wait, as_json=json)


def logout(json: Json = False) -> None:
    """Forgets the profile's key and deployment tokens, and says which; they live on until they are revoked."""
    from mp_kit.client import config

    before = config.load()
    forgot = _ids([before.api_key] if before.api_key else []) + sorted(before.deployments)
    if before.path is not None and (before.api_key or before.deployments):
        stored = config.change(lambda profile: replace(profile, api_key=None, deployments={}))
        if before.path != stored:
            before.path.unlink(missing_ok=True)  # an older place, whose key would lie there for ever
    if os.environ.get(config.TOKEN_VARIABLE):
        say(f"{config.TOKEN_VARIABLE} is set: commands use it on.")
    facts = {"forgot": forgot, "api_url": before.api_url}
    emit(facts, as_json=json, text=f"Forgotten: {', '.join(forgot)}." if forgot else "No key and no token was stored.")
    if forgot:
        say("They are good until they end: mp keys revoke KEY, mp link-infra --revoke, each signed in.")


def _ids(keys: list[SecretStr]) -> list[str]:
    """The public part of keys, by which `mp keys` names them."""
    return ["_".join(key.get_secret_value().split("_")[:2]) for key in keys]


def _with_key(url: str, key: str, *, as_json: bool) -> None:
    from pydantic import SecretStr

    from mp_kit.client.sign_in import keep

    vendor = _vendor(session(url, key))
    say(f"The key is stored in {keep(url, SecretStr(key))}.")
    _signed_in(url, vendor.id, vendor.name, as_json=as_json)


def _vendor(market: Marketplace) -> VendorView:
    """Whose key it is; of one that is not taken no more is told than on the login page, bar that it has expired."""
    try:
        return market.me()
    except TokenExpiredError:
        raise
    except AuthError as error:
        raise AuthError(
            "This key is not known, or it has ended.",
            hint="Get another: mp login --device, or ask the operator for a code (ac_…).",
            request_id=error.request_id,
        ) from error


def _with_code(url: str, code: str | None, wait: float, *, as_json: bool) -> None:
    vendor = session(url).sign_in(code, wait=wait)
    _signed_in(url, vendor.id, vendor.name, as_json=as_json)


def _signed_in(url: str, vendor_id: str, name: str, *, as_json: bool) -> None:
    facts = {"vendor_id": vendor_id, "name": name, "api_url": url}
    emit(facts, as_json=as_json, text=f"Signed in as {name}.")


def _key(given: str | None) -> str:
    """The key; on a terminal an empty one means: by a code."""
    if given is None and sys.stdin.isatty():
        key = getpass.getpass("API key (vk_…), or Enter to sign in with a code: ").strip()
    elif given is None:
        raise AuthError(
            "No API key was given.", hint="Pass --api-key vk_…, --api-key - and the key on stdin, or --device."
        )
    else:
        key = (sys.stdin.readline() if given == "-" else given).strip()
        if not key:
            raise AuthError("The API key is empty.", hint="Pass --api-key vk_…, or --device.")
    if key.startswith("sit_"):
        raise InvalidInputError("This is a deployment token (sit_…).", hint="Sign in with the vendor's key (vk_…).")
    return key

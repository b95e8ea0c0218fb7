"""Signing in without a key: a code is shown, a person approves it in the browser, a key comes (after RFC 8628).

1. Nothing is read from stdin and no browser is opened: URL and code are shown, the rest is the person's.
2. The wait is bounded: by what the caller allows, and by the code's own life.
3. The device code and the key are never shown.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Protocol

from pydantic import SecretStr

from mp_kit.client import config, display, html
from mp_kit.client.http import Api, Call, read
from mp_kit.contracts.sign_in import DeviceAnswer, DeviceCode, DeviceStatus
from mp_kit.contracts.vendors import IssuedKey
from mp_kit.errors import AuthError, TimeoutExceededError
from mp_kit.version import __version__

DEVICE = "/api/vendors/device"
EXCHANGE = "/api/marketplace/vendor/auth/exchange"
NOTEBOOK_SECONDS = 120.0
_LONGEST_NAME = 60


class Display(Protocol):
    """Where a person sees the code, and what became of it."""

    def ask(self, code: DeviceCode, seconds: float) -> None:
        """Shows URL and code."""

    def tell(self, sentence: str) -> None:
        """Shows what became of it."""


@dataclass(frozen=True)
class OnStderr:
    """For terminals and scripts."""

    def ask(self, code: DeviceCode, seconds: float) -> None:
        """Two lines."""
        sys.stderr.write(f"Open {code.verification_uri} and enter the code {code.user_code}\n")
        sys.stderr.write(f"Waiting for your approval, {seconds:.0f} s at most; Ctrl-C ends the wait.\n")

    def tell(self, sentence: str) -> None:
        """A line."""
        sys.stderr.write(f"{sentence}\n")


class InKernel:
    """For notebooks: plain HTML that is replaced when something happens."""

    def __init__(self) -> None:
        self._handle = display.live_html()

    def ask(self, code: DeviceCode, seconds: float) -> None:
        """A card with a link and the code."""
        below = f'<p>Open {_link(code.verification_uri)} and enter the code <b style="font-size:150%">'
        below += f"{escape(code.user_code)}</b>. Waiting for {seconds:.0f} s at most.</p>"
        self._handle.update(html.card("Sign in to the marketplace", {}, below))

    def tell(self, sentence: str) -> None:
        """A card with the sentence."""
        self._handle.update(html.card("Sign in to the marketplace", {}, f"<p>{escape(sentence)}</p>"))


def here() -> Display:
    """What fits where we run."""
    return InKernel() if display.in_kernel() else OnStderr()


def who_asks() -> str:
    """What the person who approves is shown: this program and this machine."""
    where = "notebook" if display.in_kernel() else "mp"
    name = f"{where} {__version__} on {platform.node() or 'an unnamed machine'}"
    return "".join(letter for letter in name if letter.isprintable())[:_LONGEST_NAME].strip()


def sign_in(api: Api, shown: Display, *, seconds: float, sleep: Callable[[float], None]) -> IssuedKey:
    """Shows a code, waits for the approval, and trades it for a key.

    Args:
        api: Where to.
        shown: Where the person sees the code.
        seconds: How long to wait at most.
        sleep: Waits.

    Raises:
        TimeoutExceededError: Nobody approved in time.
        AuthError: Somebody said no, or the code ended.
    """
    reply = api.send(Call("POST", DEVICE, json={"client": who_asks()}))
    code = read(DeviceCode, reply, DEVICE)
    allowed = min(seconds, float(code.expires_in))
    shown.ask(code, allowed)
    return exchange(api, _approved(api, code, allowed, sleep))


def exchange(api: Api, code: str) -> IssuedKey:
    """Trades a one-time code for a key.

    Raises:
        AuthError: The code is unknown, used or has ended.
    """
    return read(IssuedKey, api.send(Call("POST", EXCHANGE, json={"auth_code": code})), EXCHANGE)


def keep(api_url: str, key: SecretStr) -> Path:
    """Stores a key in the profile, and trusts the marketplace anew: its signing key is pinned at the next pull."""
    return config.change(lambda profile: config.unpinned(replace(config.moved(profile, api_url), api_key=key), api_url))


def _approved(api: Api, code: DeviceCode, seconds: float, sleep: Callable[[float], None]) -> str:
    waited, interval = 0.0, float(max(1, code.interval))
    while waited + interval <= seconds:
        sleep(interval)
        waited += interval
        call = Call("POST", f"{DEVICE}/token", json={"device_code": code.device_code}, repeatable=True)
        answer = read(DeviceAnswer, api.send(call), f"{DEVICE}/token")
        if answer.auth_code is not None:
            return answer.auth_code
        if answer.status == DeviceStatus.DENIED:
            raise AuthError("The sign-in was denied.", hint="Begin again, and approve it yourself.")
        if answer.status == DeviceStatus.EXPIRED:
            raise AuthError("The code has ended before anybody approved it.", hint="Begin again.")
        interval = float(max(1, answer.interval))
    raise TimeoutExceededError(
        f"Nobody approved the code {code.user_code} within {seconds:.0f} s.",
        hint="Begin again, and enter the new code: m.sign_in() in Python, `mp login --device` in a shell.",
    )


def _link(url: str) -> str:
    shown = escape(url)
    return f'<a href="{shown}" target="_blank" rel="noopener">{shown}</a>' if url.startswith("http") else shown

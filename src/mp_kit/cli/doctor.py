"""``mp doctor``: what works, and what to do about what does not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mp_kit.cli.output import FAILED, OK, Json, emit
from mp_kit.cli.session import session
from mp_kit.errors import MarketplaceError, NoCurrentRoundError

if TYPE_CHECKING:
    from mp_kit.client.marketplace import Marketplace

SKEW_SECONDS = 60
ROOM_BYTES = 1 << 30
OPEN_TO_OTHERS = 0o077


@dataclass(frozen=True)
class Check:
    """A finding.

    Args:
        name: What was looked at.
        ok: It is well.
        found: What was found.
        todo: What to do; empty when it is well.
        warning: Nothing is broken, but something is missing that is soon needed.
    """

    name: str
    ok: bool
    found: str
    todo: str = ""
    warning: bool = False


def doctor(json: Json = False) -> int:
    """Checks set-up and connection; each check says what to do. Exit 1 if one fails."""
    checks = list(run_checks())
    emit([asdict(check) for check in checks], as_json=json, text="\n".join(map(_line, checks)))
    return OK if all(check.ok for check in checks) else FAILED


def _line(check: Check) -> str:
    mark = "warn" if check.warning else "ok  " if check.ok else "FAIL"
    return f"{mark}  {check.name}: {check.found}" + (f"\n      do: {check.todo}" if check.todo else "")


def run_checks() -> Iterator[Check]:
    """Looks at one thing after the other; what can't work without an earlier one is left out."""
    yield _profile()
    yield _room()
    try:
        market = session()
    except MarketplaceError as error:
        yield Check("marketplace", ok=False, found=error.message, todo=error.hint)
        return
    reach = _guarded("connection", lambda: _health(market))
    yield reach
    if reach.ok:
        yield _guarded("key", lambda: f"signed in as {market.me().name}")
        yield _guarded("current round", lambda: _round(market))


def _guarded(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, ok=True, found=look())
    except NoCurrentRoundError as error:
        return Check(name, ok=True, found=error.message, todo=error.hint, warning=True)
    except MarketplaceError as error:
        return Check(name, ok=False, found=error.message, todo=error.hint or "Ask the operator.")


def _profile() -> Check:
    from mp_kit.client import config

    try:
        found = config.load()
    except MarketplaceError as error:
        return Check("profile", ok=False, found=error.message, todo=error.hint)
    if found.path is None:
        return Check("profile", ok=True, found="none; the environment may do")
    if found.path.stat().st_mode & OPEN_TO_OTHERS:
        return Check("profile", ok=False, found=f"{found.path} can be read by others", todo=f"chmod 600 {found.path}")
    return Check("profile", ok=True, found=str(found.path))


def _room() -> Check:
    free = shutil.disk_usage(os.getcwd()).free  # noqa: PTH109 - disk_usage takes a string as well
    text = f"{free / ROOM_BYTES:.1f} GiB free here"
    if free < ROOM_BYTES:
        return Check("disk", ok=False, found=text, todo="Free some space, or pull to another folder: --output DIR.")
    return Check("disk", ok=True, found=text)


def _health(market: Marketplace) -> str:
    found = market.health()
    skew = abs((datetime.now(UTC) - found.timestamp).total_seconds())
    late = f"; its clock and yours differ by {skew:.0f} s: signals may be refused" if skew > SKEW_SECONDS else ""
    return f"{market.api_url} is {found.status}, {found.service} {found.version}{late}"


def _round(market: Marketplace) -> str:
    manifest = market.rounds.manifest()
    return f"{manifest.round_id}, {len(manifest.files)} files; its signature holds"

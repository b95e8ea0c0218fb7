"""Versions of the contracts, and which clients this code understands.

Apart from the package's version, and stepped by what changed: a break is a major step, an addition a minor one, also
while the major version is 0. So every 0.x client works with every later 0.x marketplace. A client of another major
version is refused by name and range. ``scripts/contracts.py check`` finds the step; docs/versioning.md tells how.
"""

from __future__ import annotations

import re

from mp_kit.errors import ContractsVersionError

CONTRACTS_VERSION = "0.3.0"
"""The version that this code speaks; sent with every answer."""

SUPPORTED_RANGE = ">=0.1.0,<1.0.0"
"""What :func:`negotiate` accepts, in words for the error."""

_VERSION = re.compile(r"^v?(\d{1,9})\.(\d{1,9})(?:\.(\d{1,9}|x))?(?:[-+][0-9A-Za-z.\-+]+)?$")


def negotiate(header: str | None) -> tuple[int, int] | None:
    """Reads a client's contracts version.

    Args:
        header: The header's value; ``None`` for clients older than the header.

    Returns:
        (major, minor), or ``None`` when the client sent nothing.

    Raises:
        ContractsVersionError: The version is unreadable or of an unsupported major.
    """
    if header is None or not header.strip():
        return None
    match = _VERSION.match(header.strip())
    if match is None:
        raise ContractsVersionError(
            f"The contracts version {header[:40]!r} is not of the form MAJOR.MINOR.PATCH.",
            hint=f"Send a version in {SUPPORTED_RANGE}, such as {CONTRACTS_VERSION}, or leave the header out.",
        )
    major, minor = int(match[1]), int(match[2])
    if major != 0 or minor < 1:
        raise ContractsVersionError(
            f"Contracts version {header.strip()} is not supported here; supported is {SUPPORTED_RANGE}.",
            hint=f"Use a client whose contracts version is in {SUPPORTED_RANGE}.",
        )
    return major, minor

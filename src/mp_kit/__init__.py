"""A marketplace for trading models that lives in notebooks and Prefect.

The vendor's vocabulary::

    import mp_kit as mp

    m = mp.connect()
    m.rounds.current().plot("EURUSD")

``%load_ext mp_kit`` brings the magics ``%mp`` (any command) and ``%%mp train``.

Importing it reads no file and opens no connection; each name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mp_kit.version import __version__

if TYPE_CHECKING:
    from mp_kit import contracts, errors
    from mp_kit.client.marketplace import Marketplace, connect
    from mp_kit.contracts.webhook_signatures import verify_webhook
    from mp_kit.errors import (
        AttributionError,
        AuthError,
        BarsError,
        BudgetError,
        ConflictError,
        ContractsVersionError,
        CredentialError,
        DatabaseDownError,
        ForbiddenError,
        IdempotencyError,
        IntegrityError,
        InternalError,
        InvalidInputError,
        MalformedJsonError,
        MarketplaceError,
        MethodNotAllowedError,
        MissingExtraError,
        NetworkError,
        NoCurrentRoundError,
        NotBuiltYetError,
        NotFoundError,
        ProviderError,
        RateLimitedError,
        RouteNotFoundError,
        SetupError,
        TimeoutExceededError,
        TokenExpiredError,
        TooLargeError,
        TransferError,
        UnavailableError,
        UnsupportedMediaError,
    )
    from mp_kit.rehearsal.opening import sandbox

__all__ = [
    "AttributionError",
    "AuthError",
    "BarsError",
    "BudgetError",
    "ConflictError",
    "ContractsVersionError",
    "CredentialError",
    "DatabaseDownError",
    "ForbiddenError",
    "IdempotencyError",
    "IntegrityError",
    "InternalError",
    "InvalidInputError",
    "MalformedJsonError",
    "Marketplace",
    "MarketplaceError",
    "MethodNotAllowedError",
    "MissingExtraError",
    "NetworkError",
    "NoCurrentRoundError",
    "NotBuiltYetError",
    "NotFoundError",
    "ProviderError",
    "RateLimitedError",
    "RouteNotFoundError",
    "SetupError",
    "TimeoutExceededError",
    "TokenExpiredError",
    "TooLargeError",
    "TransferError",
    "UnavailableError",
    "UnsupportedMediaError",
    "__version__",
    "connect",
    "contracts",
    "errors",
    "sandbox",
    "verify_webhook",
]

_MODULES = {"contracts", "errors"}
_HOMES = {
    "Marketplace": "mp_kit.client.marketplace",
    "connect": "mp_kit.client.marketplace",
    "sandbox": "mp_kit.rehearsal.opening",
    "verify_webhook": "mp_kit.contracts.webhook_signatures",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"mp_kit.{name}")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES.get(name, "mp_kit.errors")
    return globals().setdefault(name, getattr(importlib.import_module(home), name))


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext mp_kit``: the magics ``%mp`` and ``%%mp train``."""
    importlib.import_module("mp_kit.cli.magics").load(shell)


def __dir__() -> list[str]:
    return __all__

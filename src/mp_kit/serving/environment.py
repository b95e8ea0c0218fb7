"""A server's environment: the variables of the wire's inference contract, read once and checked.

1. Without ``MARKETPLACE_TOKEN`` the server answers and sends nothing: that is how it runs on a laptop.
2. The token never appears in a repr.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import SecretStr

from mp_kit.errors import SetupError

__all__ = ["ServerEnv"]

SIGNALS_PATH = "/api/signals/store"
CONSENSUS_PATH = "/api/consensus/store"

_HIGHEST_PORT = 65_535
_OFF = {"0", "false", "no", "off"}


@dataclass(frozen=True)
class ServerEnv:
    """What a server knows about itself.

    Attributes:
        port: Where to listen.
        host: On which address.
        ping_path: The load balancer's path.
        vendor_id: Whose server it is.
        deployment_id: Which deployment it is.
        token: The deployment's token.
        api_url: Root of the marketplace.
        model_version: Overrules the model's own.
        heartbeat_seconds: Between two signs of life.
        push: Whether answers to live bars are sent to the marketplace.
        asks_callers: Whether callers of ``/infer`` must show a token of this deployment's, or of its vendor's.
    """

    port: int = 8000
    host: str = "0.0.0.0"  # noqa: S104 - a container's port is meant to be reached
    ping_path: str = "/ping"
    vendor_id: str | None = None
    deployment_id: str | None = None
    token: SecretStr | None = field(default=None, repr=False)
    api_url: str | None = None
    model_version: str | None = None
    heartbeat_seconds: float = 30.0
    push: bool = True
    asks_callers: bool = False

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> ServerEnv:
        """Reads the variables; empty ones count as missing.

        Raises:
            SetupError: One is wrong, or there is a token and nowhere to send to; the message names it.
        """
        given = {name: value.strip() for name, value in environ.items() if value.strip()}
        token = given.get("MARKETPLACE_TOKEN")
        api_url = _api_url(given)
        if token and not api_url:
            raise SetupError(
                "MARKETPLACE_TOKEN is set, but not where the marketplace is.", hint="Set MARKETPLACE_API_URL, too."
            )
        ping = given.get("HEALTH_CHECK_PATH", "/ping")
        if not ping.startswith("/"):
            raise SetupError(f"HEALTH_CHECK_PATH is {ping!r}; it must begin with a slash.")
        return cls(
            port=_port(given.get("PORT", "8000")),
            host=given.get("HOST", "0.0.0.0"),  # noqa: S104 - as above
            ping_path=ping,
            vendor_id=given.get("VENDOR_ID"),
            deployment_id=given.get("DEPLOYMENT_ID"),
            token=SecretStr(token) if token else None,
            api_url=api_url,
            model_version=given.get("MODEL_VERSION"),
            heartbeat_seconds=_seconds(given.get("HEARTBEAT_INTERVAL", "30")),
            push=given.get("PUSH_SIGNALS", "1").lower() not in _OFF,
            asks_callers=_asks_callers(given, api_url),
        )


def _api_url(given: Mapping[str, str]) -> str | None:
    """``MARKETPLACE_API_URL``, else what the older URLs of single routes begin with."""
    if url := given.get("MARKETPLACE_API_URL"):
        return url.rstrip("/")
    for name, path in (("INFRA_SIGNALS_URL", SIGNALS_PATH), ("INFRA_CONSENSUS_URL", CONSENSUS_PATH)):
        if url := given.get(name):
            root, found, rest = url.rstrip("/").partition(path)
            if not found or rest:
                raise SetupError(
                    f"{name} does not end with {path}, so the marketplace's root cannot be told from it.",
                    hint="Set MARKETPLACE_API_URL to the root.",
                )
            return root
    return None


def _asks_callers(given: Mapping[str, str], api_url: str | None) -> bool:
    asked = given.get("INFER_CALLERS", "anyone").lower()
    if asked not in {"anyone", "token"}:
        raise SetupError(f"INFER_CALLERS is {asked!r}; it must be anyone or token.")
    if asked == "token" and not (api_url and given.get("VENDOR_ID") and given.get("DEPLOYMENT_ID")):
        raise SetupError(
            "INFER_CALLERS=token needs MARKETPLACE_API_URL, VENDOR_ID and DEPLOYMENT_ID: callers are asked about there."
        )
    return asked == "token"


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= _HIGHEST_PORT):
        raise SetupError(f"PORT is {text!r}; it must be a number from 0 (any free one) to {_HIGHEST_PORT}.")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 3_600:  # noqa: PLR2004 - an hour
        raise SetupError(f"HEARTBEAT_INTERVAL is {text!r}; it must be from 1 to 3600 seconds (30 is usual).")
    return seconds

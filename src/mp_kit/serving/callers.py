"""Who may call ``/infer`` of a server that anybody can reach: its vendor's keys and its deployment's tokens.

1. The marketplace is asked about the caller's token (a token may ask about itself), with that token and nothing else.
2. What it said holds for a minute. While it does not answer, whoever was known within the last hour still is, and
   anybody else hears 503: an outage of the marketplace silences no server, and opens none.
3. What cannot be a token is refused without asking, so that strangers cost the marketplace little.
4. Tokens are kept as digests, and no more of them than a bounded number.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx

from mp_kit.contracts.vendors import Introspection
from mp_kit.errors import AuthError, ForbiddenError, UnavailableError

__all__ = ["Callers"]

KEPT_SECONDS = 60.0
OUTAGE_SECONDS = 3_600.0
_KEPT = 1_024
_SECONDS = 5.0
_TOKEN = re.compile(r"(?:vk|sit)_[0-9a-z]{16}_[A-Za-z0-9_-]{43}")


@dataclass(frozen=True)
class _Known:
    at: float
    may: bool


class Callers:
    """Lets callers in, or not.

    Args:
        api_url: Root of the marketplace.
        vendor_id: Whose server it is.
        deployment_id: Which deployment it is.
        transport: An httpx transport in place of the network.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        api_url: str,
        vendor_id: str | None,
        deployment_id: str | None,
        *,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._vendor_id, self._deployment_id, self._clock = vendor_id, deployment_id, clock
        self._http = httpx.Client(base_url=api_url, transport=transport, timeout=_SECONDS, follow_redirects=False)
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def admit(self, headers: Mapping[str, str]) -> None:
        """Lets a request in.

        Args:
            headers: By lower-case name.

        Raises:
            AuthError: There is no token.
        ForbiddenError: It is another vendor's or deployment's, or no good any more.
            UnavailableError: It is not known, and the marketplace does not answer.
        """
        scheme, _, token = headers.get("authorization", "").strip().partition(" ")
        if scheme.lower() != "bearer" or not _TOKEN.fullmatch(token.strip()):
            raise AuthError(
                "POST /infer asks for a token: Authorization: Bearer …",
                hint="This deployment's token (mp link-infra --deployment ID --print-token), or its vendor's key.",
            )
        if not self._may(token.strip()):
            raise ForbiddenError("The token is neither this deployment's nor its vendor's, or it has ended.")

    def _may(self, token: str) -> bool:
        digest, now = hashlib.sha256(token.encode()).hexdigest(), self._clock()
        with self._lock:
            known = self._known.get(digest)
        if known is not None and now - known.at <= KEPT_SECONDS:
            return known.may
        try:
            may = self._ask(token)
        except UnavailableError:
            if known is not None and known.may and now - known.at <= OUTAGE_SECONDS:
                return True
            raise
        self._keep(digest, _Known(now, may))
        return may

    def _ask(self, token: str) -> bool:
        try:
            answer = self._http.post("/api/tokens/introspect", json={}, headers={"Authorization": f"Bearer {token}"})
            answer.raise_for_status()
            told = Introspection.model_validate(answer.json()["data"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            message = "The marketplace, which knows callers, does not answer."
            raise UnavailableError(message, retry_after=5.0) from None
        if not told.active or told.vendor_id is None or told.vendor_id != self._vendor_id:
            return False
        return told.deployment_id in {None, self._deployment_id}

    def _keep(self, digest: str, known: _Known) -> None:
        with self._lock:
            self._known[digest] = known
            self._known.move_to_end(digest)
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)

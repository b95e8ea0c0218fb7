"""The vendor's front door: everything a vendor can do, one readable line each."""

from __future__ import annotations

import contextlib
import time
import weakref
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import httpx
from pydantic import SecretStr

from mp_kit.client import config, display
from mp_kit.client import sign_in as signing_in
from mp_kit.client.catalog import Catalog
from mp_kit.client.connections import Connections
from mp_kit.client.consensus import ConsensusBox
from mp_kit.client.data import Data
from mp_kit.client.deployments import Deployments
from mp_kit.client.http import Api, Call, Patience, read
from mp_kit.client.keys import Keys
from mp_kit.client.models import Models
from mp_kit.client.opener import Opener, TransportOpener, Urllib3Opener
from mp_kit.client.outboxes import default_folder
from mp_kit.client.results import Shown
from mp_kit.client.rounds import Rounds
from mp_kit.client.scores import Scores
from mp_kit.client.signals import SignalBox
from mp_kit.client.training import Training
from mp_kit.client.trust import Trust
from mp_kit.client.views import HealthView
from mp_kit.client.webhooks import Webhooks
from mp_kit.contracts.vendors import Vendor
from mp_kit.errors import MarketplaceError, SetupError


class VendorView(Shown, Vendor):
    """A vendor, as it sees itself."""

    __repr__ = Shown.__repr__
    __str__ = Shown.__str__

    def _title(self) -> str:
        return f"Vendor {self.name} ({self.status.value})"

    def _facts(self) -> Mapping[str, Any]:
        return {"id": self.id, "created_at": self.created_at, "key_expires_at": self.key_expires_at}


class Marketplace:
    """A connection to one marketplace.

    Args:
        api_url: Root of the marketplace; by default from ``MP_API_URL`` or the profile of ``mp login``.
        token: ``vk_`` or ``sit_`` token; by default from ``MP_TOKEN`` or the profile.
        transport: An httpx transport in place of the network, for files too (``FakeMarketplace().transport``).
        timeout: Seconds for each of connect, read, write.
        patience: How long requests go on trying.
        sleep: Waits between attempts and looks; tests pass their own.
        outbox: Folder of the outboxes of pushed signals; ``$XDG_STATE_HOME/mp/outbox`` by default, and memory where a
            transport takes the place of the network.
        clock: What time heartbeats and test signals say it is; a sandbox passes its own.

    Raises:
        SetupError: No marketplace is configured.

    Example:
        >>> import mp_kit as mp
        >>> m = mp.connect()
        >>> m.rounds.current().plot("EURUSD")
    """

    def __init__(
        self,
        api_url: str | None = None,
        token: str | SecretStr | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        timeout: float = 30.0,
        patience: Patience | None = None,
        sleep: Callable[[float], None] = time.sleep,
        outbox: Path | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        found = config.resolve(api_url, token)
        self._transport = transport
        self._timeout, self._patience = timeout, patience
        self._sleep = sleep
        self._outbox = outbox or (default_folder() if transport is None else None)
        self._trust = Trust(found.api_url, in_profile=transport is None)
        self._api = Api(
            found.api_url,
            found.token,
            transport=transport,
            timeout=timeout,
            patience=patience,
            sleep=sleep,
            clock=clock,
        )

    def __repr__(self) -> str:
        signed = "signed in" if self._api.has_token else "not signed in"
        return (
            f"Marketplace {self._api.base_url} ({signed})\n"
            "  parts: rounds, data, train, models, deployments, signals, scores, consensus, connections,\n"
            "         webhooks, keys, catalog\n"
            "  verbs: me(), health(), sign_in()"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections and the outboxes; what waits in them stays on disk.

        Example:
            >>> m.close()
        """
        if "signals" in self.__dict__:
            self.signals.close()
        self._api.close()

    @property
    def api_url(self) -> str:
        """Root of the marketplace."""
        return self._api.base_url

    @cached_property
    def rounds(self) -> Rounds:
        """The published rounds."""
        return Rounds(self._api, self._trust, self._bars)

    @cached_property
    def data(self) -> Data:
        """The rounds' data."""
        return Data(self._api, self.rounds, self._opener)

    @cached_property
    def train(self) -> Training:
        """The vendor's training runs."""
        return Training(self._api, self._opener, self._sleep)

    @cached_property
    def models(self) -> Models:
        """The vendor's models."""
        return Models(self._api)

    @cached_property
    def deployments(self) -> Deployments:
        """The vendor's deployments."""
        return Deployments(self._api)

    @cached_property
    def signals(self) -> SignalBox:
        """The vendor's signals."""
        return SignalBox(self._api, self._outbox, self._sleep, self._trust)

    @cached_property
    def scores(self) -> Scores:
        """Scores of signals: the leaderboard, one's own, and the same numbers made here."""
        return Scores(self._api, self.rounds, self.data)

    @cached_property
    def connections(self) -> Connections:
        """The vendor's accounts elsewhere."""
        return Connections(self._api)

    @cached_property
    def webhooks(self) -> Webhooks:
        """Where the marketplace tells the vendor what happened."""
        return Webhooks(self._api)

    @cached_property
    def keys(self) -> Keys:
        """The vendor's API keys."""
        return Keys(self._api)

    @cached_property
    def consensus(self) -> ConsensusBox:
        """The marketplace's consensus."""
        return ConsensusBox(self._api)

    @cached_property
    def catalog(self) -> Catalog:
        """The public catalogue of models."""
        return Catalog(self._api)

    def me(self) -> VendorView:
        """Who the marketplace takes us for.

        Raises:
            AuthError: Nobody: the token is missing, unknown or expired.

        Example:
            >>> m.me()
        """
        return self._api.get(VendorView, "/api/vendors/me")

    def health(self) -> HealthView:
        """How the marketplace is; outside of the envelope's ``data``.

        Example:
            >>> m.health().status
        """
        return read(HealthView, self._api.send(Call("GET", "/api/health")), "/api/health")

    def with_token(self, token: str | SecretStr) -> Marketplace:
        """The same marketplace as somebody else, such as a deployment; this connection stays what it is.

        Args:
            token: ``vk_`` or ``sit_`` token.

        Example:
            >>> m.with_token(deployment.infra_token).signals.push(frame)
        """
        how: dict[str, Any] = {"timeout": self._timeout, "patience": self._patience, "outbox": self._outbox}
        return Marketplace(self.api_url, token, transport=self._transport, sleep=self._sleep, **how)

    @property
    def has_key(self) -> bool:
        """A key is there; whether it is good only the marketplace knows."""
        return self._api.has_token

    def sign_in(
        self, code: str | None = None, *, wait: float = signing_in.NOTEBOOK_SECONDS, keep: bool = True
    ) -> VendorView:
        """Signs in without a key: shows a URL and a code, and waits until somebody approves it in the browser.

        Args:
            code: A one-time code (``ac_…``) from the operator: then there is nothing to wait for.
            wait: Seconds to wait at most.
            keep: The key is stored in the profile, as by ``mp login``.

        Returns:
            Who we are now.

        Raises:
            TimeoutExceededError: Nobody approved in time.
            AuthError: Somebody said no, or the one-time code is used or has ended.

        Example:
            >>> m.sign_in()
        """
        shown = signing_in.here()
        try:
            if code is None:
                issued = signing_in.sign_in(self._api, shown, seconds=wait, sleep=self._sleep)
            else:
                issued = signing_in.exchange(self._api, code)
        except MarketplaceError as error:
            shown.tell(f"Not signed in. {error.message}")
            raise
        except KeyboardInterrupt:
            shown.tell("Not signed in: you ended the wait. Begin again: m.sign_in()")
            raise
        self._api.use(SecretStr(issued.api_key))
        shown.tell(f"Signed in as {issued.vendor_name}.{self._keep(issued.api_key) if keep else ''}")
        return self.me()

    def _keep(self, key: str) -> str:
        try:
            return f" The key is stored in {signing_in.keep(self.api_url, SecretStr(key))}."
        except SetupError as error:  # the key is good all the same, and this session has it
            return f" The key could not be stored: {error.message}"

    def _bars(self, role: str, **how: Any) -> Any:
        return self.data.arrow(role, **how)

    def _opener(self) -> Opener:
        return Urllib3Opener() if self._transport is None else TransportOpener(self._transport)


_last: weakref.ref[Marketplace] | None = None


def last_connection() -> Marketplace | None:
    """What :func:`connect` made last, while somebody holds it: the connection that ``%mp`` uses."""
    return _last() if _last is not None else None


def connect(
    api_url: str | None = None, token: str | SecretStr | None = None, *, sign_in: bool | None = None, **how: Any
) -> Marketplace:
    """Connects as environment, profile or arguments say; the same as :class:`Marketplace`.

    In a notebook's kernel without a key it offers to sign in: a URL and a code are shown, and it waits two minutes at
    most. Where nobody approves, the connection is good for what is public, and says so.

    Args:
        api_url: As of :class:`Marketplace`.
        token: As of :class:`Marketplace`.
        sign_in: True or False to offer that anywhere or nowhere.
        **how: As of :class:`Marketplace`.
    """
    global _last  # noqa: PLW0603 - magics have no argument that would say which connection they mean
    market = Marketplace(api_url, token, **how)
    _last = weakref.ref(market)
    offered = display.in_kernel() and how.get("transport") is None if sign_in is None else sign_in
    if offered and not market.has_key:
        with contextlib.suppress(MarketplaceError):  # it was told where the code was shown
            market.sign_in()
    return market

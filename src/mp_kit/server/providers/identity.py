"""Who somebody is at a service elsewhere: what every such service has to be able to do, and nothing more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["Identity", "IdentityProvider"]


@dataclass(frozen=True)
class Identity:
    """An account elsewhere, as its service names it.

    Args:
        provider: The service's host: the same subject is another person at another one.
        subject: What never changes and is never given to another person. It alone is compared.
        login: The account's name of today, for people.
    """

    provider: str
    subject: str
    login: str


class IdentityProvider(Protocol):
    """A service where people prove who they are (OAuth 2.0: authorization code, state, PKCE)."""

    @property
    def name(self) -> str:
        """The service's host, as in :class:`Identity`."""

    def authorize_url(self, state: str, challenge: str, *, choose: bool = False) -> str:
        """Where a person's browser is sent.

        Args:
            state: Comes back with the answer.
            challenge: SHA-256 of the verifier, in base64url (RFC 7636).
            choose: The person is to be asked which account it is, even where one is signed in there.
        """

    def identify(self, code: str, verifier: str) -> Identity:
        """Trades the code that came back for the account, within some seconds.

        Raises:
            ForbiddenError: The code is wrong, used, or not this verifier's.
            UnavailableError: The service does not answer, or not as it should.
            RateLimitedError: Others are being asked about already.
        """

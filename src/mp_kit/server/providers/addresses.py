"""Which addresses a URL of somebody else's may lead us to: none of ours, whatever a name resolves to today.

1. The form is checked first: scheme, user name, port, host. Then the host is resolved, here, and every address that
   comes is checked: one forbidden address forbids the URL.
2. Whoever sends connects to a checked address, never to the name, and checks again each time: names change.
3. Forbidden is what IANA's registries do not call globally reachable, what carries an IPv4 address inside that is
   forbidden, and the addresses at which clouds answer their own machines.
4. A rehearsal on one machine may allow loopback and private networks, and http; link-local stays forbidden, because
   clouds keep their credentials there.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from mp_kit.errors import InvalidInputError

__all__ = ["AddressGuard", "Resolver", "Target", "system_resolver"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], Sequence[str]]
"""From host and port to addresses; raises OSError when the name leads nowhere."""

_PORTS = {"https": 443, "http": 80}
_FIRST_FREE_PORT = 1024
_LAST_PORT = 65_535
_HOST = re.compile(r"^[A-Za-z0-9._\-]{1,253}$")
_V6_IN_BRACKETS = re.compile(r"^[0-9A-Fa-f:.]{2,45}$")
_PATH = re.compile(r"^[!-~]*$")
_FORBIDDEN = tuple(
    ipaddress.ip_network(text)
    for text in (
        "168.63.129.16/32",  # Azure answers its own machines there, at a public address
        "192.0.0.0/24",  # for protocols; Oracle's cloud answers its own machines there
        "192.88.99.0/24",  # 6to4 relays
        "::/96",  # IPv4-compatible, deprecated
        "64:ff9b::/96",  # NAT64: an IPv4 address inside
        "64:ff9b:1::/48",  # NAT64 of a local network
        "2001::/32",  # Teredo: an IPv4 address inside
        "2002::/16",  # 6to4: an IPv4 address inside
        "fec0::/10",  # site-local, deprecated
    )
)


@dataclass(frozen=True)
class Target:
    """A URL that may be sent to, and where exactly.

    Args:
        scheme: https, or http where that is allowed.
        host: As it stands in the URL, for certificates and the Host header.
        port: Of the connection.
        path: Path and query.
        addresses: Checked; to be connected to in this order.
    """

    scheme: str
    host: str
    port: int
    path: str
    addresses: tuple[str, ...]


def system_resolver(host: str, port: int) -> Sequence[str]:
    """The machine's own resolver."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True)
class AddressGuard:
    """Says where a URL leads, or that it must not be followed.

    Args:
        allow_private: Loopback, private networks and http are allowed: for rehearsals on one machine.
        resolve: From names to addresses.
    """

    allow_private: bool = False
    resolve: Resolver = system_resolver

    def check(self, url: str) -> Target:
        """Resolves a URL and checks every address, of a webhook or of a server that is to be asked.

        Raises:
            InvalidInputError: Its form, its host or an address is not allowed; the sentence says which rule.
        """
        scheme, host, port, path = self._read(url)
        try:
            addresses = tuple(self.resolve(host, port))
        except (OSError, UnicodeError):
            addresses = ()
        if not addresses:
            raise _refused("its host does not resolve")
        for address in addresses:
            self._check_address(address)
        return Target(scheme, host, port, path, addresses)

    def _read(self, url: str) -> tuple[str, str, int, str]:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise _refused("it cannot be read as a URL") from None
        if parts.scheme not in ({"https", "http"} if self.allow_private else {"https"}):
            raise _refused("it must begin with https://")
        if "@" in parts.netloc:
            raise _refused("it must bear no user name or password")
        if parts.fragment:
            raise _refused("it must have no fragment")
        if not (_HOST.match(host) or (":" in host and _V6_IN_BRACKETS.match(host))):
            raise _refused("its host must be a name or an address in ASCII (punycode for others)")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if not _PATH.match(path) or url != url.strip():
            raise _refused("its path has spaces or characters that must be percent-encoded")
        return parts.scheme, host, self._port(parts.scheme, port), path

    def _port(self, scheme: str, port: int | None) -> int:
        usual = _PORTS[scheme]
        if port is None or port == usual:
            return usual
        if not _FIRST_FREE_PORT <= port <= _LAST_PORT:
            raise _refused(f"its port must be {usual} or at least {_FIRST_FREE_PORT}")
        return port

    def _check_address(self, text: str) -> None:
        try:
            address: Address = ipaddress.ip_address(text)
        except ValueError:
            raise _refused("its host resolves to no address that we know") from None
        mapped = getattr(address, "ipv4_mapped", None)
        if not self._allowed(mapped or address):
            raise _refused("its host leads to an address that is not public")

    def _allowed(self, address: Address) -> bool:
        if getattr(address, "scope_id", None) is not None:
            return False
        if address.is_link_local or address.is_multicast or address.is_unspecified or address.is_reserved:
            return self.allow_private and address.is_loopback  # ::1 lies in a range that is reserved otherwise
        if self.allow_private and (address.is_loopback or address.is_private):
            return True
        return address.is_global and not any(address in network for network in _FORBIDDEN)


def _refused(because: str) -> InvalidInputError:
    """Without the URL, which may hold a secret of its owner's."""
    return InvalidInputError(
        f"This URL may not be sent to: {because}.",
        hint="It takes a public https address, such as https://hooks.example.com/marketplace.",
        details=[{"loc": ["url"], "msg": because}],
    )

"""When a message is sent again, and to which addresses none is ever sent."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from receivers import Receiver, receiving

from mp_kit.errors import InvalidInputError
from mp_kit.server.providers.addresses import AddressGuard
from mp_kit.server.providers.webhook_post import Poster
from mp_kit.server.redaction import redact
from mp_kit.server.services.webhook_delivery import Schedule, backoff

PUBLIC = "93.184.216.34"


def guard(*addresses: str, private: bool = False) -> AddressGuard:
    """A guard whose names lead to these addresses."""
    return AddressGuard(allow_private=private, resolve=lambda *_: list(addresses or [PUBLIC]))


def test_backoff_grows_from_five_seconds_to_a_day():
    """As docs/webhooks.md says."""
    waits = [round(backoff(Schedule(), attempt, None, 0.5)) for attempt in range(1, 11)]
    assert [5, 20, 80, 320, 1280, 5120, 20480, 81920, 86400, 86400] == waits
    assert (4, 6) == (round(backoff(Schedule(), 1, None, 0.0)), round(backoff(Schedule(), 1, None, 1.0)))
    assert (60.0, 86400.0) == (backoff(Schedule(), 1, 60.0, 0.5), backoff(Schedule(), 1, 1e9, 0.5))


FORMS = {
    "http": "http://example.com/",
    "another scheme": "ftp://example.com/",
    "a file": "file:///etc/passwd",
    "no scheme": "example.com/hook",
    "no host": "https:///hook",
    "a user": "https://user@example.com/",
    "a password": "https://user:secret@example.com/",
    "a user that looks like a host": "https://example.com@127.0.0.1/",
    "a fragment": "https://example.com/#x",
    "a mail server's port": "https://example.com:25/",
    "no port": "https://example.com:0/",
    "a port beyond all": "https://example.com:70000/",
    "a port in letters": "https://example.com:https/",
    "brackets that do not close": "https://[::1/",
    "a zone": "https://[fe80::1%25eth0]/",
    "letters that DNS has not": "https://exämple.com/",
    "a space in the path": "https://example.com/a b",
    "a line's end in the path": "https://example.com/a\r\nX-Header: 1",
    "a space in front": " https://example.com/",
    "a NUL": "https://example.com/\x00",
    "nothing": "",
}


@pytest.mark.parametrize("url", FORMS.values(), ids=FORMS)
def test_form_is_refused(url: str):
    """Before anything is resolved; the URL, which may hold a secret, is not repeated."""
    with pytest.raises(InvalidInputError) as caught:
        AddressGuard(resolve=lambda *_: pytest.fail("resolved")).check(url)
    assert "secret" not in str(caught.value)


ADDRESSES = [
    *("127.0.0.1", "127.8.9.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254"),  # noqa: S104 - looked for, not bound
    *("100.64.0.1", "100.100.100.200", "192.0.0.192", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1"),
    *("255.255.255.255", "168.63.129.16", "192.0.2.1", "192.88.99.1", "::", "::1", "::ffff:127.0.0.1"),
    *("::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:100.64.0.1", "::127.0.0.1", "64:ff9b::7f00:1"),
    *("64:ff9b:1::1", "2002:7f00:1::", "2001:0:1::1", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "fc00::1"),
    *("fec0::1", "ff02::1", "2001:db8::1", "nonsense"),
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_address_is_refused(address: str):
    """Alone, and beside a public one: one forbidden address forbids the URL."""
    for addresses in ([address], [PUBLIC, address]):
        with pytest.raises(InvalidInputError, match="address that"):
            guard(*addresses).check("https://example.com/")


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "224.0.0.1", "::", "::ffff:169.254.169.254"])
def test_link_local_is_refused_in_rehearsals_too(address: str):
    """Clouds keep their credentials there."""
    with pytest.raises(InvalidInputError):
        guard(address, private=True).check("http://example.com/")


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "10.0.0.1", "192.168.7.7", "fd00::1", "::ffff:127.0.0.1", PUBLIC]
)
def test_rehearsals_may_stay_at_home(address: str):
    """Loopback and private networks, over http."""
    assert (address,) == guard(address, private=True).check("http://example.com:8000/x").addresses


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost", "[::1]"])
def test_ways_to_write_loopback(host: str):
    """Whatever the resolver makes of them is checked; nothing resolves to a public address."""
    with pytest.raises(InvalidInputError, match=r"not public|does not resolve"):
        AddressGuard().check(f"https://{host}/")


def test_a_target_is_what_was_checked():
    """Host, port, path and query as written; the addresses of one resolution."""
    found = guard(PUBLIC, "2606:2800:220:1::1").check("https://Hooks.Example.com:8443/a?b=%20c")
    assert ("https", "hooks.example.com", 8443, "/a?b=%20c") == (found.scheme, found.host, found.port, found.path)
    assert (PUBLIC, "2606:2800:220:1::1") == found.addresses


@pytest.mark.parametrize("failure", [socket.gaierror(-2, "unknown"), UnicodeError("label too long"), None])
def test_a_name_that_leads_nowhere(failure: Exception | None):
    """Or to nothing."""

    def resolve(*_: object) -> list[str]:
        if failure is not None:
            raise failure
        return []

    with pytest.raises(InvalidInputError, match="does not resolve"):
        AddressGuard(resolve=resolve).check("https://example.com/")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of our own for hooks.test, and its key, in one file."""
    path, now = tmp_path_factory.mktemp("tls") / "both.pem", datetime.now(UTC)
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.test")]), critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM) + private)
    return path


@pytest.fixture
def secured(certificate: Path) -> Iterator[Receiver]:
    """A receiver over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with receiving(context) as found:
        yield found


def named(receiver: Receiver, host: str) -> str:
    return receiver.url.replace("127.0.0.1", host)


def test_tls_is_checked_against_the_urls_host(secured: Receiver, certificate: Path):
    """Connected to the address that was checked, in the name that the URL has; the Host header too."""
    poster = Poster(guard("127.0.0.1", private=True), tls=lambda: ssl.create_default_context(cafile=certificate))
    assert poster.post(named(secured, "hooks.test"), {"webhook-id": "m"}, b"{}").is_taken
    assert secured.got[0][0]["host"].startswith("hooks.test:")
    other = poster.post(named(secured, "other.test"), {}, b"{}")
    assert (None, True) == (other.status, "certificate does not verify" in (other.error or ""))


def test_a_certificate_that_nobody_vouches_for(secured: Receiver):
    """Nothing is sent."""
    answer = Poster(guard("127.0.0.1", private=True)).post(named(secured, "hooks.test"), {}, b"{}")
    assert ([], True) == (secured.got, "certificate does not verify" in (answer.error or ""))


def test_tls_that_is_none():
    """The other side speaks plain HTTP."""
    with receiving() as plain:
        answer = Poster(guard("127.0.0.1", private=True), seconds=3).post(
            plain.url.replace("http:", "https:"), {}, b"{}"
        )
    assert (None, False) == (answer.status, answer.is_taken)


def test_an_address_that_hangs_is_not_waited_for(secured: Receiver):
    """A socket that takes connections and says nothing, not even its part of the handshake: the deadline ends it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://hooks.test:{silent.getsockname()[1]}/"
        answer = Poster(guard("127.0.0.1", private=True), seconds=0.3).post(url, {}, b"{}")
    assert (None, "it did not answer within 0.3 s") == (answer.status, answer.error)
    assert [] == secured.got


def test_the_next_address_is_tried():
    """The first refuses."""
    with receiving() as plain:
        poster = Poster(guard("127.0.0.99", "127.0.0.1", private=True))
        assert 204 == poster.post(named(plain, "hooks.test"), {}, b"{}").status


def test_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch):
    """What the environment says of proxies is not for messages."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1/")
    with receiving() as plain:
        assert Poster(guard("127.0.0.1", private=True)).post(plain.url, {}, b"{}").is_taken


def test_secrets_are_redacted_whole():
    """Base64 has + and /, at which another rule would stop."""
    assert "whsec_*** it was" == redact("whsec_abc+defgh/ijk+l== it was")

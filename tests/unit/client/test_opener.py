"""Bytes from a socket into a buffer, whatever way the server frames them."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from misbehaving import CONTENT, Handler, Store, serve

from mp_kit.client.opener import Body, Urllib3Opener
from mp_kit.errors import NetworkError, TimeoutExceededError


@pytest.fixture
def store() -> Iterator[Store]:
    with serve() as running:
        yield running


@pytest.fixture
def opener() -> Iterator[Urllib3Opener]:
    made = Urllib3Opener(stall_seconds=0.2)
    yield made
    made.close()


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's certificate for 127.0.0.1 that this process trusts."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    pem = Encoding.PEM
    (tmp_path / "certificate.pem").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(pem))
    (tmp_path / "key.pem").write_bytes(key.private_bytes(pem, PrivateFormat.PKCS8, NoEncryption()))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate.pem", tmp_path / "key.pem")
    return context


def all_of(body: Body, piece: int = 700) -> bytes:
    """Reads to the end through one small buffer."""
    into, found = memoryview(bytearray(piece)), b""
    while count := body.readinto(into):
        found += into[:count]
    return found


def send_chunked(handler: Handler) -> bool:
    """The content in chunks, its length not told."""
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for start in range(0, len(CONTENT), 1000):
        piece = CONTENT[start : start + 1000]
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
    handler.wfile.write(b"0\r\n\r\n")
    return True


def send_until_close(handler: Handler) -> bool:
    """The content, and its end is the connection's."""
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(CONTENT)
    handler.close_connection = True
    return True


@pytest.mark.parametrize("misdeed", [None, send_chunked, send_until_close], ids=["length", "chunked", "close"])
def test_readinto_brings_all(store: Store, opener: Urllib3Opener, misdeed: object):
    """Three framings, the same bytes."""
    store.misdeed = misdeed
    with opener.open(store.url, {}) as body:
        assert CONTENT == all_of(body)
        assert 0 == body.readinto(memoryview(bytearray(10)))


def test_readinto_over_tls(trusted: ssl.SSLContext, opener: Urllib3Opener):
    """Also more than a record brings, over one connection."""
    peers: set[object] = set()
    with serve(trusted) as store:
        store.content = CONTENT * 20
        store.misdeed = lambda handler: bool(peers.add(handler.client_address))
        for _ in range(2):
            with opener.open(store.url, {}) as body:
                assert store.content == all_of(body, 64 * 1024)
    assert 1 == len(peers)


def test_certificate_that_nobody_vouches_for_is_refused(
    trusted: ssl.SSLContext, opener: Urllib3Opener, monkeypatch: pytest.MonkeyPatch
):
    """No byte of it is read."""
    monkeypatch.delenv("SSL_CERT_FILE")
    with serve(trusted) as store, pytest.raises(NetworkError), opener.open(store.url, {}):
        pass
    assert 0 == store.hits


@pytest.mark.parametrize("misdeed", [None, send_chunked], ids=["length", "chunked"])
def test_answer_read_to_its_end_leaves_its_connection_to_the_next(store: Store, opener: Urllib3Opener, misdeed: object):
    """One connection for three answers."""
    peers: set[object] = set()
    store.misdeed = lambda handler: peers.add(handler.client_address) or bool(misdeed and misdeed(handler))
    for _ in range(3):
        with opener.open(store.url, {}) as body:
            assert CONTENT == all_of(body)
    assert 1 == len(peers)


def test_answer_left_in_the_middle_takes_its_connection_along(store: Store, opener: Urllib3Opener):
    """The rest of its body is no head of the next answer."""
    for _ in range(2):
        with opener.open(store.url, {}) as body:
            assert CONTENT[:9] == body.read(9)


def test_readinto_of_a_broken_connection(store: Store, opener: Urllib3Opener):
    """A reset is a network error that names the host and not the URL."""

    def reset(handler: Handler) -> bool:
        handler.send_response(200)
        handler.send_header("Content-Length", "4500")
        handler.end_headers()
        handler.wfile.flush()
        handler.rfile.readline()  # until the client has begun to read
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close()
        handler.close_connection = True
        return True

    store.misdeed = reset
    with opener.open(f"{store.url}?signature=secret", {}) as body:
        body._plain.fp.raw._sock.sendall(b"go on\r\n")
        with pytest.raises(NetworkError, match="broke") as caught:
            all_of(body)
    assert "secret" not in str(caught.value)


def test_readinto_of_a_silent_connection(store: Store, opener: Urllib3Opener):
    """Given up after the time that was set."""

    def stall(handler: Handler) -> bool:
        handler.send_response(200)
        handler.send_header("Content-Length", "4500")
        handler.end_headers()
        handler.wfile.flush()
        handler.rfile.readline()  # until the client goes
        return True

    store.misdeed = stall
    with opener.open(store.url, {}) as body, pytest.raises(TimeoutExceededError, match="nothing in time"):
        all_of(body)

"""A real SMTP server of ours: it keeps what it gets, asks for TLS and a password if told to, may refuse or be slow."""

from __future__ import annotations

import base64
import contextlib
import socketserver
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path


@dataclass
class Mailbox:
    """What came.

    Args:
        port: On 127.0.0.1.
        mails: Messages taken.
        logins: User and password of each login, with whether they came over TLS.
        refuses: Answer 550 to every receiver.
        pause: Seconds before the greeting.
        tls: Offered by STARTTLS.
    """

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    logins: list[tuple[str, str, bool]] = field(default_factory=list)
    refuses: bool = False
    pause: float = 0.0
    tls: ssl.SSLContext | None = None


@contextlib.contextmanager
def mailbox(*, tls: ssl.SSLContext | None = None, refuses: bool = False, pause: float = 0.0) -> Iterator[Mailbox]:
    """A server for the length of a block."""
    box = Mailbox(refuses=refuses, pause=pause, tls=tls)
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Handler, bind_and_activate=True)
    server.daemon_threads, server.box = True, box  # type: ignore[attr-defined] # what handlers look at
    box.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield box
    server.shutdown()
    server.server_close()
    thread.join(5)


def certificate(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Contexts of a server called localhost, and of a client that trusts it alone."""
    key, made = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", str(key), "-out", str(made)],
        check=True, capture_output=True,
    )  # fmt: skip
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(made, key)
    return server, ssl.create_default_context(cafile=str(made))


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        box: Mailbox = self.server.box  # type: ignore[attr-defined] # see mailbox
        with contextlib.suppress(OSError):
            time.sleep(box.pause)
            self._say("220 here")
            while line := self.rfile.readline().decode().strip():
                if self._answer(box, line) is False:
                    break
        for part in (self.rfile, self.wfile, self.connection):  # of TLS, where it came to that
            part.close()

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())
        self.wfile.flush()

    def _answer(self, box: Mailbox, line: str) -> bool | None:
        verb = line.split(maxsplit=1)[0].upper()
        secure = isinstance(self.connection, ssl.SSLSocket)
        if verb == "EHLO":
            offered = ["AUTH PLAIN"] + (["STARTTLS"] if box.tls and not secure else [])
            lines = ["here", *offered]
            self._say("\r\n".join([*(f"250-{one}" for one in lines[:-1]), f"250 {lines[-1]}"]))
        elif verb == "STARTTLS" and box.tls:
            self._say("220 go on")
            self.rfile.close()
            self.connection = box.tls.wrap_socket(self.connection, server_side=True)
            self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", buffering=0)
        elif verb == "AUTH":
            _, user, password = base64.b64decode(line.split()[2]).decode().split("\0")
            box.logins.append((user, password, secure))
            self._say("235 welcome")
        elif verb == "RCPT" and box.refuses:
            self._say("550 nobody of that name")
        elif verb == "DATA":
            self._say("354 go on")
            box.mails.append(self._mail())
            self._say("250 taken")
        elif verb == "QUIT":
            self._say("221 bye")
            return False
        else:
            self._say("250 ok")
        return None

    def _mail(self) -> EmailMessage:
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        found = message_from_bytes(b"".join(lines), policy=policy.default)
        assert isinstance(found, EmailMessage)
        return found

"""Mails through a real SMTP server: taken, refused, slow, without TLS; the password is never shown."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
from mailboxes import certificate, mailbox

from mp_kit.errors import SetupError, UnavailableError
from mp_kit.server.providers import mail
from mp_kit.server.providers.mail import Mailer, check_url

TO = ("ops@example.com",)


def test_send_with_starttls_and_login(tmp_path: Path):
    """The password goes over TLS alone; text and attachment arrive whole."""
    server, client = certificate(tmp_path)
    with mailbox(tls=server) as box:
        url = f"smtp://me:se%40cret@localhost:{box.port}"
        Mailer(url, TO, tls=client).send("A\nreport", "It is attached.", [("r.html", b"<p>\xc3\xa4</p>")])
    [found] = box.mails
    assert [("me", "se@cret", True)] == box.logins
    assert ("A report", "ops@example.com", "mp-kit@localhost") == (found["Subject"], found["To"], found["From"])
    [attached] = found.iter_attachments()
    assert ("r.html", b"<p>\xc3\xa4</p>") == (attached.get_filename(), attached.get_content().strip().encode())


def test_send_refused_says_why_and_no_password():
    """The server's own words, without the URL."""
    with mailbox(refuses=True) as box, pytest.raises(UnavailableError, match="nobody of that name") as raised:
        Mailer(f"smtp://127.0.0.1:{box.port}", TO).send("x", "y")
    assert "://" not in str(raised.value)


def test_send_elsewhere_without_tls_is_not_tried(monkeypatch: pytest.MonkeyPatch):
    """A server that offers no TLS gets neither password nor mail, but on this machine."""
    monkeypatch.setattr(mail, "_is_here", lambda _: False)
    with mailbox() as box, pytest.raises(UnavailableError, match="no TLS"):
        Mailer(f"smtp://me:secret-word@127.0.0.1:{box.port}", TO).send("x", "y")
    assert ([], []) == (box.logins, box.mails)


def test_send_with_a_stranger_certificate(tmp_path: Path):
    """Who is not trusted gets nothing."""
    server, _ = certificate(tmp_path)
    with mailbox(tls=server) as box, pytest.raises(UnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
        Mailer(f"smtp://me:secret-word@localhost:{box.port}", TO).send("x", "y")
    assert ([], []) == (box.logins, box.mails)


def test_send_ends_when_the_server_is_slow_or_away():
    """Neither waits for longer than its bound."""
    began = time.monotonic()
    with mailbox(pause=3) as box, pytest.raises(UnavailableError):
        Mailer(f"smtp://127.0.0.1:{box.port}", TO, seconds=0.2).send("x", "y")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(UnavailableError):
            Mailer(f"smtp://127.0.0.1:{nobody.getsockname()[1]}", TO, seconds=0.2).send("x", "y")
    assert time.monotonic() - began < 3


def test_mailer_shows_no_password():
    """Neither does its repr."""
    assert "secret-word" not in repr(Mailer("smtp://me:secret-word@host", TO))


@pytest.mark.parametrize("url", ["", "http://host", "smtp://", "smtp://me:secret-word@host:port", "host:25"])
def test_check_url_refuses_without_showing(url: str):
    """It names the variable."""
    with pytest.raises(SetupError, match="MP_SMTP_URL") as raised:
        check_url(url)
    assert "secret-word" not in str(raised.value)

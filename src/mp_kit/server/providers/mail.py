"""Sending one mail through the operator's SMTP server: TLS before any password, an end to every wait.

1. ``smtps://`` is TLS from the first byte; ``smtp://`` asks for STARTTLS and takes it where it is offered.
2. A user and a password are sent over TLS alone, and a mail to another machine too; in clear only to this one.
3. No error shows the URL: the password stands in it.
"""

from __future__ import annotations

import ipaddress
import smtplib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from urllib.parse import unquote, urlsplit

from mp_kit.errors import SetupError, UnavailableError

__all__ = ["Mailer", "check_url"]

_SECONDS = 15.0
_PORTS = {"smtp": 587, "smtps": 465}


@dataclass(frozen=True)
class Mailer:
    """Where mails leave.

    Args:
        url: ``smtp(s)://[user:password@]host[:port]``.
        to: Their receivers.
        sender: The From address; made of the user or the host where left out.
        seconds: Longest wait for each answer of the server.
        tls: Who is trusted; the system's authorities by default.
    """

    url: str = field(repr=False)
    to: tuple[str, ...]
    sender: str = ""
    seconds: float = _SECONDS
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    def send(self, subject: str, text: str, attached: Sequence[tuple[str, bytes]] = ()) -> None:
        """Sends one mail.

        Args:
            subject: In one line.
            text: The body.
            attached: Name and bytes of HTML files.

        Raises:
            UnavailableError: The server is not there, refuses, offers no TLS, or is too slow.
        """
        mail = EmailMessage()
        mail["Subject"] = " ".join(subject.split())
        mail["From"] = self.sender or _sender(self.url)
        mail["To"] = ", ".join(self.to)
        mail.set_content(text)
        for name, payload in attached:
            mail.add_attachment(payload.decode(errors="replace"), subtype="html", filename=name)
        try:
            self._deliver(mail)
        except (OSError, smtplib.SMTPException) as error:
            raise UnavailableError(f"The mail server did not take the mail: {_said(error)}.") from None

    def _deliver(self, mail: EmailMessage) -> None:
        parts = urlsplit(self.url)
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        context = self.tls or ssl.create_default_context()
        if parts.scheme == "smtps":
            server: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=self.seconds, context=context)
        else:
            server = smtplib.SMTP(host, port, timeout=self.seconds)
        with server:
            if parts.scheme == "smtp":
                _secure(server, context, host)
            if parts.username:
                server.login(unquote(parts.username), unquote(parts.password or ""))
            server.send_message(mail)


def check_url(url: str) -> str:
    """An SMTP server's URL, as it is.

    Raises:
        SetupError: It is none; the message does not show it.
    """
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in _PORTS and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # a port that is no number
        is_good = False
    if not is_good:
        raise SetupError("MP_SMTP_URL must be smtp://[user:password@]host[:port], or smtps://….")
    return url


def _secure(server: smtplib.SMTP, context: ssl.SSLContext, host: str) -> None:
    server.ehlo()
    if server.has_extn("starttls"):
        server.starttls(context=context)
    elif not _is_here(host):
        raise smtplib.SMTPNotSupportedError("it offers no TLS")


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _said(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        said = error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        return f"{error.smtp_code} {said[:200]}"
    return f"{type(error).__name__}: {error}"[:300]


def _sender(url: str) -> str:
    parts = urlsplit(url)
    user = unquote(parts.username or "")
    return user if "@" in user else f"mp-kit@{parts.hostname}"

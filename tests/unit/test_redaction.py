"""What must never stand in a log."""

from __future__ import annotations

import io
import logging

import pytest

from mp_kit.server.redaction import RedactionFilter, redact

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ2ZW4ifQ.c2lnbmF0dXJl"

SECRETS = {
    "vendor key": ("key vk_a0r2rtfx3v8ym66k_SRbrMz26qiCUKl", "key vk_***"),
    "deployment token": ("Bearer sit_abc123_XYZ-_789secret", "Bearer sit_***"),
    "access code": ("ac_0123456789", "ac_***"),
    "webhook secret": ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_***"),
    "hugging face token": ("hf_abcdefghijklmnopqrstuvwxyz of hf_repo_id", "hf_*** of hf_repo_id"),
    "jwt": (f"token={JWT} x", "token=eyJ*** x"),
    "local signature": ("/files/a?expires=1&signature=00ff&x=1", "/files/a?expires=1&signature=***&x=1"),
    "s3 signature": ("?X-Amz-Signature=deadbeef&b", "?X-Amz-Signature=***&b"),
    "encoded signature": ("q%3D1&signature%3Dabc", "q%3D1&signature%3D***"),
    "database password": ("postgresql://mp:hunter2@db/x", "postgresql://mp:***@db/x"),
}


@pytest.mark.parametrize("name", SECRETS)
def test_redact_hides(name: str):
    """Each kind of secret keeps its prefix and loses the rest."""
    text, expected = SECRETS[name]
    assert expected == redact(text)


@pytest.mark.parametrize("text", ["vendor ven_s0tge64tbxwv6656", "run run_7m2k of 57,000 bars", "the signature holds"])
def test_redact_leaves_plain_text(text: str):
    """Ids and sentences stay."""
    assert text == redact(text)


def test_filter_covers_arguments_and_tracebacks():
    """A secret in an argument or in an exception does not reach the stream."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RedactionFilter())
    logger = logging.getLogger("redaction-test")
    logger.propagate = False
    logger.addHandler(handler)
    try:
        int("vk_0123456789_abcdef")
    except ValueError:
        logger.exception("sent %s", "sit_0123456789_abcdef")
    logger.removeHandler(handler)
    assert "abcdef" not in stream.getvalue()
    assert "sent sit_***" in stream.getvalue()
    assert "vk_***" in stream.getvalue()


def test_filter_survives_arguments_that_do_not_fit():
    """A broken log call is still redacted, and does not raise."""
    record = logging.LogRecord("n", logging.INFO, "p", 1, "%d of %d", ("vk_0123456789_abcdef",), None)
    assert RedactionFilter().filter(record)
    assert "abcdef" not in record.getMessage()

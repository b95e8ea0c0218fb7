"""What must never stand in a log."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest

from mp_kit.server.redaction import RedactionFilter, redact, remember
from mp_kit.server.spawning import tail

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ2ZW4ifQ.c2lnbmF0dXJl"

SECRETS = {
    "vendor key": ("key vk_a0r2rtfx3v8ym66k_SRbrMz26qiCUKl", "key vk_***"),
    "deployment token": ("Bearer sit_abc123_XYZ-_789secret", "Bearer sit_***"),
    "access code": ("ac_0123456789", "ac_***"),
    "webhook secret": ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_***"),
    "hugging face token": ("hf_abcdefghijklmnopqrstuvwxyz of hf_repo_id", "hf_*** of hf_repo_id"),
    "github token": ("token gho_16C7e42F292c6912E7710c838347Ae178B4a.", "token gho_***."),
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


def test_remembered_value_goes_whole():
    """A key without a shape is known by itself, wherever it stands, and the longer of two goes first."""
    remember("0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdef.more")
    text = "key=0123456789abcdef0123456789abcdef.more, key=x0123456789abcdef0123456789abcdefx"
    assert "key=***, key=x***x" == redact(text)


def test_short_values_are_let_be():
    """Else common words would go with them."""
    remember("", "run", "secret7")
    assert "a run of secret7" == redact("a run of secret7")


def test_remembered_value_in_a_log_of_an_error():
    """A library's exception that repeats what it was given."""
    remember("5f4dcc3b5aa765d61d8327deb882cf99")
    record = logging.LogRecord("n", logging.INFO, "p", 1, "sent %r", ("5f4dcc3b5aa765d61d8327deb882cf99",), None)
    assert RedactionFilter().filter(record)
    assert "sent '***'" == record.getMessage()


def test_most_recent_values_are_kept():
    """Memory is bounded."""
    remember(*(f"a value of the test {number:05d}" for number in range(5_000)))
    assert "a***" == redact("aa value of the test 04999")
    assert "a value of the test 00000" == redact("a value of the test 00000")


def test_the_end_of_a_log_can_be_stored(tmp_path: Path):
    """A process may print any byte."""
    log = tmp_path / "wrapper.log"
    log.write_bytes(b"one\ntwo \x00 \xff\n")
    assert "two \N{REPLACEMENT CHARACTER} \N{REPLACEMENT CHARACTER}" == tail(log, 1)

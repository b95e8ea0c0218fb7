"""Masks what looks like a secret: our tokens, JWTs, signatures of presigned URLs, passwords in URLs.

1. What is replaced keeps its prefix, so that a reader sees which kind of secret stood there.
2. Of a text from outside, what no database and no JSON takes is replaced where it comes in (:func:`storable`).
"""

from __future__ import annotations

import re

__all__ = ["mask", "storable"]

_HIDDEN = r"\1***"
_RULES = (
    re.compile(r"\b(whsec_)[A-Za-z0-9+/=]{6,}"),  # base64
    re.compile(r"\b((?:vk|sit|ac|whsec)_)[A-Za-z0-9_\-.]{6,}"),
    re.compile(r"\b((?:hf|rpa)_)[A-Za-z0-9]{20,}"),  # Hugging Face, RunPod
    re.compile(r"\b(gh[opsur]_)[A-Za-z0-9_]{20,}"),  # GitHub
    re.compile(r"\b(eyJ)[A-Za-z0-9_\-]{5,}\.[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]*"),
    re.compile(r"(?i)((?:x-amz-(?:signature|credential|security-token)|signature)(?:=|%3D))[^&\s\"'<>]+"),
    re.compile(r"(?i)(\bbearer\s+)[A-Za-z0-9_\-.=+/]{6,}"),
    re.compile(r"(?i)(\b[a-z][a-z0-9+.\-]*://[^\s/:@]*:)[^\s/@]+(?=@)"),
)

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def mask(text: str) -> str:
    """Replaces the tail of whatever looks like a secret by ``***``.

    Args:
        text: Any text: a log line, a notebook's output, an error.
    """
    for rule in _RULES:
        text = rule.sub(_HIDDEN, text)
    return text


def storable(text: str) -> str:
    """Puts a replacement character for each NUL and each half of a surrogate pair: Postgres takes neither.

    Args:
        text: A text of somebody else's: a line of a log, a refusal.
    """
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)

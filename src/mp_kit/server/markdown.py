"""Words of others in Markdown of ours: they stay words, and become no links, pictures, headings or HTML."""

from __future__ import annotations

import re

__all__ = ["literal"]

_MEANS_SOMETHING = re.compile(r"([\\`*_{}\[\]()#+\-.!|~^:=\"'$])")


def literal(text: str) -> str:
    """A text of one line that any Markdown shows as it is.

    Args:
        text: A vendor's name, a reason that a job gave.
    """
    told = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MEANS_SOMETHING.sub(r"\\\1", told)

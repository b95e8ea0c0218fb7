"""Our docstrings' ``Example:`` read as Google's ``Examples:``, so that the site shows code and not quotations."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension


class Examples(Extension):
    """What mkdocstrings loads (mkdocs.yml)."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Renames the section in a docstring."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)

"""The threat model names tests that there are, for every kind of threat."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/security.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if re.match(r"\| (\*\*)?[STRIDE](\*\*)? \|", line)]
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


def _functions(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_threat_has_a_test_that_is_there():
    """A renamed test, or one that is gone, is found here."""
    absent = []
    for row in ROWS:
        named = NAMED.findall(row)
        assert named, f"no proof: {row}"
        for file, function in named:
            place = ROOT / "tests" / file
            if not place.exists() or function not in _functions(place):
                absent.append(f"{file}::{function}")
    assert [] == absent


def test_every_letter_of_stride_has_threats():
    """Spoofing, tampering, repudiation, disclosure, denial, elevation."""
    assert set("STRIDE") == {re.sub(r"[|* ]", "", row[:8])[0] for row in ROWS}
    assert len(ROWS) > 25

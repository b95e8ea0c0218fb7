"""docs/quickstart.md, typed as it stands: every command of it, in one shell, against a marketplace that runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from paperwork import ROOT, snippets

pytestmark = [pytest.mark.hardening, pytest.mark.timeout(300)]

BEFORE = ("make venv", "mp up")
"""Blocks that set up what the test has already."""


def typed(url: str) -> str:
    """The commands of the page, one after the other; each is shown before it runs, the first that fails ends it."""
    blocks = [one.text for one in snippets(ROOT / "docs" / "quickstart.md") if one.language == "bash"]
    chosen = [text for text in blocks if not text.startswith(BEFORE)]
    assert (len(BEFORE), True) == (len(blocks) - len(chosen), len(chosen) > 4)
    return "set -eux -o pipefail\n" + "\n".join(chosen).replace("http://127.0.0.1:3010", url)


def test_every_command_works_as_it_stands(marketplace: Any, tmp_path: Path):
    """From the vendor's key to the public catalogue: nothing is asked, nothing fails, the signal is there."""
    shell = type(marketplace.vendor)(tmp_path, {"MP_HOME": str(marketplace.home)})
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    done = subprocess.run(
        ["bash", "-c", typed(marketplace.url)],
        env=shell.environment | {"PATH": path},
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert 0 == done.returncode, done.stdout[-2_000:] + done.stderr[-4_000:]
    assert "My desk" in done.stdout
    assert re.search(r"EURUSD.*(BUY|SELL|HOLD)", done.stdout)

"""Ports of ``mp up``."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from mp_kit.server import up


def test_prefect_gets_a_port_where_the_lock_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whatever another account puts into the common folder, `mp up` starts."""
    (tmp_path / f"mp-prefect-{os.getuid()}.lock").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with up._prefect_port(3010) as port:
        assert 3010 != port
        assert up._is_free(port)
    assert not (tmp_path / "elsewhere").exists()

"""``mp admin store`` over the files of a home."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mp_kit.server import settings
from mp_kit.server.storage import local_tidy

LEFT = "runs/r/.model.onnx." + "0" * 32


@pytest.fixture
def left(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a killed put left; all ages are over."""
    settings.ensure_secrets(home)
    monkeypatch.setenv("MP_HOME", str(home))
    monkeypatch.setenv("MP_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    monkeypatch.setattr(local_tidy, "BROKEN_LIFE", timedelta(0))
    path = home / "objects" / LEFT
    path.parent.mkdir(parents=True)
    path.write_bytes(b"1234")
    return path


def test_sweep_dry_run_shows_and_removes_nothing(mp: Any, left: Path):
    """What would go, and since when."""
    said = mp("admin", "store", "sweep", "--dry-run", "--json")
    since = datetime.fromtimestamp(left.stat().st_ctime, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    row = {"kind": "temporary", "key": LEFT, "size_bytes": 4, "since": since}
    assert (0, {"found": [row], "count": 1, "size_bytes": 4, "dry_run": True}) == (said.code, said.data)
    assert left.exists()


def test_sweep_removes(mp: Any, left: Path):
    """Once; then there is nothing."""
    first, second = mp("admin", "store", "sweep"), mp("admin", "store", "sweep")
    assert LEFT in first.out
    assert "1, 4 bytes, are gone." in first.out
    assert ("There is nothing to remove.\n", False) == (second.out, left.exists())


def test_rules_of_a_folder(mp: Any, left: Path):
    """None, and what to do."""
    said = mp("admin", "store", "rules", "--json")
    assert (0, "none") == (said.code, said.data["state"])
    assert "mp admin store sweep" in said.data["detail"]
    assert left.exists()

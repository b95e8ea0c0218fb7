from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mp_kit.cli import app, session
from mp_kit.testing import FakeMarketplace


@dataclass(frozen=True)
class Said:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Stdout as JSON."""
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """The error in stderr's last line."""
        return json.loads(self.err.strip().splitlines()[-1])["error"]


Mp = Callable[..., Said]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user of our own, in a folder of our own."""
    names = ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "MP_API_URL", "INFRA_API_URL", "MP_TOKEN")
    for name in (*names, "MARKETPLACE_TOKEN", "DEPLOYMENT_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeMarketplace:
    found = FakeMarketplace()
    monkeypatch.setattr(session, "transport", found.transport)
    return found


@pytest.fixture
def mp(capsys: pytest.CaptureFixture[str]) -> Mp:
    def call(*args: str) -> Said:
        capsys.readouterr()
        code = app.main([*args])
        return Said(code, *capsys.readouterr())

    return call


@pytest.fixture
def signed_in(mp: Mp, fake: FakeMarketplace) -> FakeMarketplace:
    assert 0 == mp("login", "--api-url", fake.url, "--api-key", fake.api_key).code
    return fake

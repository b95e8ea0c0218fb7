from __future__ import annotations

from pathlib import Path

import pytest

from mp_kit.client.marketplace import Marketplace
from mp_kit.testing import FakeMarketplace


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of this machine's user gets into a test, and nothing of a test to the user."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "MP_API_URL", "INFRA_API_URL", "MP_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture
def fake() -> FakeMarketplace:
    return FakeMarketplace()


@pytest.fixture
def market(fake: FakeMarketplace) -> Marketplace:
    return Marketplace(fake.url, fake.api_key, transport=fake.transport, sleep=lambda _: None)

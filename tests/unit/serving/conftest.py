from __future__ import annotations

import pytest
from servers import Momentum, windows

from mp_kit.serving.app import Application
from mp_kit.serving.window import Windows


@pytest.fixture(scope="module")
def bars() -> Windows:
    return windows()


@pytest.fixture
def app() -> Application:
    """An application with a model that is ready."""
    made = Application()
    made.load(Momentum())
    return made

"""A server's environment."""

from __future__ import annotations

import pytest

from mp_kit.errors import SetupError
from mp_kit.serving.environment import ServerEnv


def test_empty_environment_is_a_laptop():
    """It listens and sends nothing."""
    env = ServerEnv.read({"PORT": "", "MARKETPLACE_TOKEN": " "})
    assert (8000, None, None, 30.0, "/ping") == (
        env.port,
        env.token,
        env.api_url,
        env.heartbeat_seconds,
        env.ping_path,
    )


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"PORT": "http"}, "PORT"),
        ({"PORT": "70000"}, "PORT"),
        ({"PORT": "-1"}, "PORT"),
        ({"HEARTBEAT_INTERVAL": "soon"}, "HEARTBEAT_INTERVAL"),
        ({"HEARTBEAT_INTERVAL": "0"}, "HEARTBEAT_INTERVAL"),
        ({"HEARTBEAT_INTERVAL": "nan"}, "HEARTBEAT_INTERVAL"),
        ({"HEALTH_CHECK_PATH": "ping"}, "HEALTH_CHECK_PATH"),
        ({"MARKETPLACE_TOKEN": "sit_a_b"}, "MARKETPLACE_TOKEN"),
        ({"INFRA_SIGNALS_URL": "https://m.test/v2/other"}, "INFRA_SIGNALS_URL"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else value,
)
def test_wrong_variable_is_named(given: dict[str, str], word: str):
    """And its value, where it is no secret."""
    with pytest.raises(SetupError, match=word) as caught:
        ServerEnv.read(given)
    assert "sit_a_b" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "root"),
    [
        ({"MARKETPLACE_API_URL": "https://m.test/"}, "https://m.test"),
        ({"INFRA_SIGNALS_URL": "https://m.test/api/signals/store"}, "https://m.test"),
        ({"INFRA_SIGNALS_URL": "https://m.test/base/api/signals/store/"}, "https://m.test/base"),
        ({"INFRA_CONSENSUS_URL": "https://m.test/api/consensus/store"}, "https://m.test"),
        (
            {"MARKETPLACE_API_URL": "https://one.test", "INFRA_SIGNALS_URL": "https://two.test/api/signals/store"},
            "https://one.test",
        ),
    ],
    ids=["root", "signals", "below", "consensus", "both"],
)
def test_marketplace_is_found(given: dict[str, str], root: str):
    """By its root, or by the older names of its routes."""
    assert root == ServerEnv.read(given).api_url


def test_token_is_never_shown():
    """Neither in a repr nor in a str."""
    env = ServerEnv.read({"MARKETPLACE_TOKEN": "sit_id_secret", "MARKETPLACE_API_URL": "https://m.test"})
    assert "secret" not in f"{env!r} {env} {env.token!r}"


@pytest.mark.parametrize(("text", "push"), [("0", False), ("off", False), ("1", True), ("", True)])
def test_pushing_can_be_turned_off(text: str, push: bool):
    """PUSH_SIGNALS."""
    assert push is ServerEnv.read({"PUSH_SIGNALS": text}).push

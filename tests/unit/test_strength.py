"""Weak secrets: which are refused, how that is told, and where."""

from __future__ import annotations

import base64
import json
import secrets
import sys
from pathlib import Path

import pytest

from mp_kit.errors import SetupError
from mp_kit.server import serve, wiring
from mp_kit.server.settings import SECRET_NAMES, STATE_FILE, load
from mp_kit.server.strength import refuse_weak, weakness

WEAK = [
    ("your_secret_pepper_for_token_hashing", "example"),
    ("your_jwt_signing_secret", "example"),
    ("change-me-change-me-change-me-change-me", "example"),
    ("MyPassword-0123456789abcdefghijklmnop", "example"),
    ("...", "example"),
    ("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "example"),
    ("f8Gk2qLw9Zr4Tn7Vb1Xc", "shorter than 32"),
    ("", "shorter than 32"),
    ("abab" * 12, "repeats itself"),
    ("0" * 64, "repeats itself"),
    (base64.b64encode(bytes(32)).decode(), "repeats itself"),
    ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab3", "repeats itself"),
]


def strong() -> dict[str, str]:
    """An environment with good secrets."""
    made = {name: base64.b64encode(secrets.token_bytes(32)).decode() for name in SECRET_NAMES}
    return made | {"MP_DATABASE_URL": "postgresql://mp@127.0.0.1:1/none"}


@pytest.mark.parametrize(("value", "why"), WEAK, ids=range(len(WEAK)))
def test_weak_secret(value: str, why: str):
    """By length, by its letters, by the examples' own values."""
    assert why in (weakness(value) or "")


def test_random_secrets_are_good():
    """As people make them: base64, hexadecimal digits of 16 and of 32 bytes, URL-safe."""
    made = [
        make()
        for _ in range(500)
        for make in (
            lambda: base64.b64encode(secrets.token_bytes(32)).decode(),
            lambda: secrets.token_hex(16),
            lambda: secrets.token_hex(32),
            lambda: secrets.token_urlsafe(32),
        )
    ]
    assert [] == [value for value in made if weakness(value)]


def test_refusal_names_and_never_shows(tmp_path: Path):
    """Which, why, how to make one; no letter of it."""
    weak = {"MP_JWT_SECRET": "your_jwt_signing_secret", "MP_URL_KEY": "hidden-hidden-hidden-hidden-hidden-hidden"}
    with pytest.raises(SetupError) as caught:
        refuse_weak(load(tmp_path, strong() | weak | {"MP_SERVICE_KEY": "q1w2e3r4t5y6u7i8"}))
    said = f"{caught.value} {caught.value.hint}"
    assert "MP_JWT_SECRET is an example's value" in said
    assert "MP_SERVICE_KEY is shorter than 32 characters" in said
    assert "openssl rand -base64 32" in said
    assert not [value for value in (*weak.values(), "q1w2e3r4") if value in said]
    assert "INFRA_TOKEN_PEPPER" not in said


def test_one_value_for_two_secrets_is_refused(tmp_path: Path):
    """Whoever learns one has both."""
    env = strong()
    with pytest.raises(SetupError, match="MP_JWT_SECRET is the same as another one; MP_URL_KEY is"):
        refuse_weak(load(tmp_path, env | {"MP_URL_KEY": env["MP_JWT_SECRET"]}))


@pytest.mark.parametrize(
    "given",
    [
        {"AWS_SECRET_ACCESS_KEY": "minioadmin"},
        {"CLOUDFLARE_R2_SECRET_KEY": "..."},
        {"MP_DATABASE_URL": "postgresql://mp:changeme@127.0.0.1/mp"},
        {"MP_GITHUB_CLIENT_ID": "Iv1.a", "MP_GITHUB_CLIENT_SECRET": "your_client_secret"},
    ],
    ids=lambda given: list(given)[-1],
)
def test_examples_of_others_secrets_are_refused(tmp_path: Path, given: dict[str, str]):
    """What others made is theirs to make strong, unless it is an example."""
    refuse_weak(load(tmp_path, strong()))
    with pytest.raises(SetupError, match=list(given)[-1]):
        refuse_weak(load(tmp_path, strong() | given))


@pytest.mark.parametrize("embedded", [True, False], ids=["mp up", "elsewhere"])
def test_only_mp_up_takes_weak_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embedded: bool):
    """Its home says where its Prefect is; a home that somebody mounts beside a database's URL does not."""
    weak = {name: base64.b64encode(name.ljust(32)[:32].encode()).decode() for name in SECRET_NAMES}
    for name in (*SECRET_NAMES, "MP_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (weak | {"MP_JWT_SECRET": "your_jwt_signing_secret"}).items():
        monkeypatch.setenv(name, value)
    state = {"database_url": "postgresql://mp@127.0.0.1:1/none"}
    (tmp_path / STATE_FILE).write_text(json.dumps(state | ({"prefect_api_url": "http://x/api"} if embedded else {})))
    if embedded:
        with wiring.open_house(tmp_path) as house:
            assert house.settings.jwt_secret
        return
    with pytest.raises(SetupError, match="MP_JWT_SECRET"), wiring.open_house(tmp_path):
        pass


def test_edge_refuses_to_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A sentence and what to do, no traceback, before anything is opened."""
    for name, value in (strong() | {"MP_MASTER_KEY": "your_master_key_for_the_marketplace"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["serve", "--home", str(tmp_path), "--port", "1"])
    with pytest.raises(SystemExit) as ended:
        serve.main()
    said = str(ended.value)  # which the interpreter writes to standard error, exiting 1
    assert said.startswith("The edge does not start: Secrets are not good enough: MP_MASTER_KEY is an example's value")
    assert "openssl rand" in said

from __future__ import annotations

import json
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from mp_kit.client import config
from mp_kit.errors import SetupError


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "xdg")}


def stored(env: dict[str, str], url: str = "http://a.test") -> Path:
    """A saved profile."""
    return config.save(config.Profile(url, SecretStr("vk_a"), {"dep_1": SecretStr("sit_a")}), env)


def test_resolve_nothing_configured_says_what_to_do(env: dict[str, str]):
    """The error names the command and the variables."""
    with pytest.raises(SetupError) as caught:
        config.resolve(env=env)
    assert "mp login" in caught.value.hint
    assert "MP_API_URL" in caught.value.hint


def test_save_is_private_and_reads_back(env: dict[str, str]):
    """0600 in a folder of 0700, and no temporary left."""
    path = stored(env)
    assert (0o600, 0o700) == (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode))
    assert ["config.json"] == [entry.name for entry in path.parent.iterdir()]
    found = config.load(env)
    assert ("http://a.test", "vk_a") == (found.api_url, found.api_key.get_secret_value())
    assert "sit_a" == found.deployments["dep_1"].get_secret_value()


def test_changes_at_once_lose_nothing(env: dict[str, str]):
    """A token is shown once: of eight that are kept at the same moment all are there."""
    names = {f"dep_{number}" for number in range(8)}

    def keep(name: str) -> None:
        def with_token(profile: config.Profile) -> config.Profile:
            time.sleep(0.01)  # long enough for the others to read meanwhile
            return replace(profile, deployments={**profile.deployments, name: SecretStr("sit_x")})

        config.change(with_token, env)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(keep, names))
    assert names == set(config.load(env).deployments)
    assert 0o700 == stat.S_IMODE(config.config_dir(env).stat().st_mode)


def test_change_of_a_folder_that_cannot_be_written(tmp_path: Path):
    """A sentence with the folder, and no traceback."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="cannot be written"):
        config.change(lambda profile: profile, {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "file")})


def test_save_tightens_a_loose_file(env: dict[str, str]):
    """An older file that others could read is replaced by a private one."""
    path = stored(env)
    path.chmod(0o644)
    stored(env)
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)


def test_profile_repr_hides_secrets(env: dict[str, str]):
    """Neither key nor deployment tokens."""
    stored(env)
    shown = repr(config.load(env)) + repr(config.resolve(env=env))
    assert "vk_a" not in shown
    assert "sit_a" not in shown


def test_load_reads_the_old_file(env: dict[str, str]):
    """~/.mp/config.json of earlier clients, under its names."""
    old = Path(env["HOME"]) / ".mp" / "config.json"
    old.parent.mkdir()
    old.write_text(json.dumps({"apiUrl": "http://old.test", "apiKey": "vk_old"}))
    found = config.resolve(env=env)
    assert ("http://old.test", "vk_old") == (found.api_url, found.token.get_secret_value())


def test_load_new_file_wins_over_the_old(env: dict[str, str]):
    """Once saved, the old file is history."""
    test_load_reads_the_old_file(env)
    stored(env)
    assert "http://a.test" == config.resolve(env=env).api_url


@pytest.mark.parametrize("content", ["{", "[1]", '"text"', "\xff"])
def test_load_broken_file_is_named(env: dict[str, str], content: str):
    """The error names the file and the way out, and shows nothing of it."""
    path = stored(env)
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(SetupError, match=r"config\.json"):
        config.load(env)


@pytest.mark.parametrize("variable", ["MP_API_URL", "INFRA_API_URL"])
def test_resolve_environment_wins(env: dict[str, str], variable: str):
    """URL and token of the environment come before the file's."""
    stored(env)
    found = config.resolve(env=env | {variable: "http://b.test", "MP_TOKEN": "vk_b"})
    assert ("http://b.test", "vk_b", variable) == (found.api_url, found.token.get_secret_value(), found.url_from)


def test_resolve_argument_wins_over_environment(env: dict[str, str]):
    """What was passed was meant."""
    found = config.resolve("http://c.test", "vk_c", env=env | {"MP_API_URL": "http://b.test", "MP_TOKEN": "vk_b"})
    assert ("http://c.test", "vk_c") == (found.api_url, found.token.get_secret_value())


def test_resolve_stored_key_goes_to_its_own_url_only(env: dict[str, str]):
    """Another URL from the environment never gets the file's key."""
    stored(env)
    assert config.resolve(env=env | {"MP_API_URL": "http://evil.test"}).token is None
    assert config.resolve(env=env | {"MP_API_URL": "http://a.test/"}).token is not None


def test_moved_forgets_the_other_url_s_secrets(env: dict[str, str]):
    """Keys belong to the marketplace that gave them."""
    stored(env)
    profile = config.moved(config.load(env), "http://b.test")
    assert ("http://b.test", None, {}) == (profile.api_url, profile.api_key, profile.deployments)


def test_unpinned_forgets_one_marketplace_only():
    """Signing in again trusts that marketplace anew, and no other."""
    pins = {"http://a": {"k": "A"}, "http://b": {"k": "B"}}
    profile = replace(config.load(), signing_keys=pins)
    assert {"http://b": {"k": "B"}} == config.unpinned(profile, "http://a").signing_keys

"""Rotating the master key: in batches, over a kill, under the hands of processes that run on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from mp_kit.cli.app import main
from mp_kit.errors import IntegrityError, SetupError
from mp_kit.server import master_keys
from mp_kit.server import settings as settings_module
from mp_kit.server.house import House
from mp_kit.server.services import connections, vault_keys, vendors
from mp_kit.server.vault import Vault
from mp_kit.server.wiring import build

SECRET = "hf_0123456789abcdefghijHF"


@pytest.fixture
def own(migrated_url: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """A house of the test's own, found by the command line too."""
    settings_module.ensure_secrets(tmp_path)
    monkeypatch.setenv("MP_HOME", str(tmp_path))
    monkeypatch.setenv("MP_DATABASE_URL", migrated_url())
    built = build(settings_module.load())
    yield built
    built.close()


def connect(house: House, name: str) -> str:
    with house.db.begin() as tx:
        made = vendors.create(tx, house.tokens, f"{name} {datetime.now(UTC).isoformat()}", actor="test")
        connections.put(tx, house.vault, made.vendor_id, "huggingface", SecretStr(SECRET), actor="test")
    return made.vendor_id


def opened(house: House, vendor_id: str) -> str:
    with house.db.begin() as tx:
        return connections.secret(tx, house.vault, vendor_id, "huggingface").get_secret_value()


class Killed(BaseException):
    """A process that ends between two statements."""


class Dying(Vault):
    """Dies at its third rewrap."""

    count = 0

    def rewrap(self, wrapped: str, vendor_id: str) -> str:
        """Twice it works."""
        self.count += 1
        if self.count == 3:
            raise Killed
        return super().rewrap(wrapped, vendor_id)


def test_rotation_that_was_killed_goes_on(own: House):
    """What was committed stays wrapped anew, the batch that died is as before, and each opens all the while."""
    whose = [connect(own, f"v{n}") for n in range(5)]
    new = "a new master key for the test"
    both = Vault(new, [own.settings.master_key])
    with pytest.raises(Killed):
        vault_keys.rotate(own.db, Dying(new, [own.settings.master_key]), actor="test", batch=2)
    with own.db.begin() as tx:
        assert [2, 3] == [one.vendors for one in vault_keys.uses(tx, both)]
        assert [] == vault_keys.broken(tx, both)
        for vendor in whose:
            assert SECRET == connections.secret(tx, both, vendor, "huggingface").get_secret_value()
    assert [3, 0] == [vault_keys.rotate(own.db, both, actor="test", batch=2).rewrapped for _ in range(2)]
    with own.db.begin() as tx:
        assert SECRET == connections.secret(tx, Vault(new), whose[0], "huggingface").get_secret_value()
        with pytest.raises(IntegrityError, match="was wrapped under master key"):
            connections.secret(tx, own.vault, whose[0], "huggingface")


def test_running_process_hears_of_the_new_key(own: House, capsys: pytest.CaptureFixture[str]):
    """It opens what was wrapped anew, wraps under the new key too, and the old one can go."""
    before = connect(own, "before")
    running = build(settings_module.load())  # an edge that started with the first key
    assert 0 == main(["admin", "vault", "rotate", "--new-key", "--json"])
    assert 1 == json.loads(capsys.readouterr().out)["rewrapped"]
    assert SECRET == opened(running, before)
    started_later = build(settings_module.load())
    another = connect(started_later, "another")
    after = connect(running, "after")
    assert 0 == main(["admin", "vault", "status", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert [("current", 3), ("retired", 0)] == [(key["role"], key["vendors"]) for key in told["keys"]]
    assert 0 == main(["admin", "vault", "drop-retired"])
    assert [SECRET] * 3 == [opened(running, vendor) for vendor in (before, another, after)]
    running.close()
    started_later.close()


def test_key_that_does_not_open_is_named_and_left(own: House, capsys: pytest.CaptureFixture[str]):
    """Cut in its row: the others are rotated, the command fails, and says neither key nor secret."""
    good, cut = connect(own, "good"), connect(own, "cut")
    with own.db.begin() as tx:
        tx.execute(
            text("UPDATE vendor_data_keys SET wrapped_key = left(wrapped_key, 40) WHERE vendor_id = :v"), {"v": cut}
        )
    assert 1 == main(["admin", "vault", "rotate", "--new-key"])
    said = capsys.readouterr()
    assert (True, False) == (cut in said.err, good in said.err)
    assert "1 data keys are wrapped" in said.out
    assert own.settings.master_key not in said.out + said.err
    assert 1 == main(["admin", "vault", "status"])
    assert f"{cut}: The data key of vendor {cut} is cut or garbled" in capsys.readouterr().out
    assert 7 == main(["admin", "vault", "drop-retired"])


def test_key_of_the_environment_is_changed_there(own: House, monkeypatch: pytest.MonkeyPatch):
    """Nothing is drawn into a file that does not count."""
    monkeypatch.setenv("MP_MASTER_KEY", own.settings.master_key)
    before = (own.settings.home / "secrets.json").read_bytes()
    with pytest.raises(SetupError, match="the environment sets it"):
        master_keys.renew(own.settings.home)
    assert 1 == main(["admin", "vault", "rotate", "--new-key"])
    assert before == (own.settings.home / "secrets.json").read_bytes()

"""`mp admin migrate` by an older release: a newer one's schema serves it, and is left as it is."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from alembic.util import CommandError

from mp_kit.cli.app import main
from mp_kit.server.settings import SECRET_NAMES
from mp_kit.server.store import migrate
from mp_kit.server.store.engine import Database


def at(url: str, revision: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = %s", [revision])


def test_newer_schema_is_left_as_it_is(
    migrated_url: Callable[[], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """The job of the release that one went back to ends well, and says what it found."""
    url = migrated_url()
    at(url, "9999")
    monkeypatch.setenv("MP_DATABASE_URL", url)
    for name in SECRET_NAMES:
        monkeypatch.setenv(name, base64.b64encode(secrets.token_bytes(32)).decode())
    assert 0 == main(["admin", "migrate", "--home", str(tmp_path)])
    assert "revision 9999 -> 9999, of a newer release" in capsys.readouterr().out


@pytest.mark.parametrize("revision", ["b5f5644500d4", "99999", "9999 or so"])
def test_another_programs_revision_is_no_newer_one(migrated_url: Callable[[], str], revision: str):
    """Prefect's database has the same table: to be led there by a wrong URL is an error."""
    url = migrated_url()
    at(url, revision)
    db = Database(url)
    with pytest.raises(CommandError), db.begin() as tx:
        migrate.upgrade(tx)
    db.close()

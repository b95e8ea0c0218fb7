"""Backup and restore: what comes back is what there was, and what is broken is named."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal as signals_of_os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from mp_kit.cli.app import main
from mp_kit.server.services import connections
from mp_kit.server.storage import LocalStore
from tests.support.furnished import CREDENTIAL, MODEL, furnish, house_over, tamper

NEVER_WHOLE = "There is no whole backup"


@pytest.fixture(scope="module")
def kept(migrated_url: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A furnished marketplace with its home, and one backup of it."""
    home = tmp_path_factory.mktemp("kept")
    house = house_over(migrated_url(), home)
    ids = furnish(house, tmp_path_factory.mktemp("bars"))
    backups = tmp_path_factory.mktemp("backups")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MP_DATABASE_URL", house.settings.database_url)
        assert 0 == main(["admin", "backup", str(backups), "--home", str(home)])
    [made] = backups.glob("mp-*")
    yield SimpleNamespace(house=house, home=home, ids=ids, backups=backups, made=made)
    house.close()


@pytest.fixture
def copy(kept: SimpleNamespace, tmp_path: Path) -> Path:
    """The backup, to be damaged."""
    return Path(shutil.copytree(kept.made, tmp_path / kept.made.name))


@pytest.fixture
def target(
    kept: SimpleNamespace, create_database: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., int]:
    """Restores into a fresh home, with the old one's secrets, over an empty database; gives the exit code."""
    home, url = tmp_path / "fresh", create_database()
    home.mkdir()
    shutil.copy(kept.home / "secrets.json", home)
    monkeypatch.setenv("MP_DATABASE_URL", url)

    def restore(backup: Path, *options: str) -> int:
        return main(["admin", "restore", str(backup), "--home", str(home), *options])

    restore.home, restore.url = home, url  # type: ignore[attr-defined] # for tests that look inside
    return restore


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return {one["name"]: one["problems"] for one in said["checks"]} | {"ok": said["ok"]}


def tables(url: str) -> dict[str, int]:
    with psycopg.connect(url) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1").fetchall()
        # The names are the catalogue's own.
        counts = {name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone() for (name,) in names}  # noqa: S608
        return {name: count[0] for name, count in counts.items() if count}


def test_everything_comes_back(kept: SimpleNamespace, target: Any, capsys: pytest.CaptureFixture[str]):
    """Rows, rules, objects byte by byte; receipts and rounds hold; credentials open; a table says so."""
    capsys.readouterr()
    assert 0 == target(kept.made)
    said = capsys.readouterr().out
    assert [
        "backup",
        "schema",
        "tables",
        "rounds",
        "receipts",
        "audit",
        "credentials",
        "needed objects",
        "objects",
    ] == [" ".join(line.split("  ")[0].split()) for line in said.splitlines() if line.rstrip().endswith("good")]
    assert "1 chains, 3 receipts over 6 signals" in said
    before, after = tables(kept.house.settings.database_url), tables(target.url)
    assert before == after  # its making is noted behind the snapshot, its return in the restored log
    fresh = house_over(target.url, target.home)
    with fresh.store.open(kept.ids.artifact) as file, fresh.db.begin() as tx:
        assert MODEL == file.read()
        assert CREDENTIAL == connections.secret(tx, fresh.vault, kept.ids.vendor, "huggingface").get_secret_value()
    fresh.close()


def test_no_secret_is_in_a_backup(kept: SimpleNamespace):
    """Neither a key of the home's nor what is sealed under it stands anywhere in it."""
    secrets = [*json.loads((kept.home / "secrets.json").read_text()).values(), CREDENTIAL]
    files = [path for path in kept.made.rglob("*") if path.is_file()]
    assert {"backup.json", "backup.sig", "database.dump", "objects.jsonl"} <= {path.name for path in files}
    plain = b"".join(path.read_bytes() for path in files if path.name != "database.dump")
    script = subprocess.run(
        [_tool("pg_restore"), "--file=-", kept.made / "database.dump"], capture_output=True, check=True
    )
    assert [] == [secret for secret in secrets if secret.encode() in plain + script.stdout]


@pytest.mark.parametrize(
    ("broken", "told_of"),
    [
        ("database.dump", "database.dump was damaged"),
        ("objects.jsonl", "objects.jsonl was damaged"),
        ("backup.json", "The signature of backup.json does not hold"),
        ("backup.sig", "backup.sig was damaged"),
    ],
)
def test_damaged_backup_restores_nothing(
    copy: Path, target: Any, capsys: pytest.CaptureFixture[str], broken: str, told_of: str
):
    """A single byte in dump, list, manifest or signature: it is named, and the database stays empty."""
    path = copy / broken
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2 if broken != "backup.sig" else 0] ^= 1
    path.write_bytes(bytes(raw))
    assert 1 == target(copy)
    assert told_of in capsys.readouterr().err
    assert {} == tables(target.url)


def test_damaged_copy_of_an_object_is_named(
    kept: SimpleNamespace, copy: Path, target: Any, capsys: pytest.CaptureFixture[str]
):
    """All else comes back; the object is not put, so that nobody is served wrong bytes."""
    path = copy / "store" / kept.ids.artifact
    path.write_bytes(b"b" + MODEL[1:])
    capsys.readouterr()
    assert 1 == target(copy, "--json")
    said = told(capsys)
    assert f"object {kept.ids.artifact} is damaged in the backup" in said["backup"][0]
    assert f"object {kept.ids.artifact} is not in the store" in said["objects"][0]
    assert [[], [], []] == [said[name] for name in ("tables", "rounds", "receipts")]


DAMAGE = {
    "a receipt's byte": (
        "UPDATE signal_receipts SET payload = replace(payload, '\"rows\":2', '\"rows\":1') WHERE seq = 2",
        "receipts",
        "receipt 2: the bytes are not the ones that were signed",
    ),
    "a receipt gone": ("DELETE FROM signal_receipts WHERE seq = 2", "receipts", "receipt 2: it bears the number 3"),
    "the chain's end gone": ("DELETE FROM signal_receipts WHERE seq = 3", "receipts", "the chain ends with receipt 2"),
    "a signal's confidence": (
        "UPDATE signals SET confidence = 0.1 WHERE symbol = 'B' AND event_time = '2026-01-05T01:00Z'",
        "receipts",
        "are not those that were stored",
    ),
    "a round's manifest": (
        "UPDATE dataset_rounds SET manifest = manifest || '\\x20' WHERE name = 'kept'",
        "rounds",
        "the bytes are not the ones that were signed",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_what_was_broken_before_is_named_after(
    kept: SimpleNamespace, target: Any, capsys: pytest.CaptureFixture[str], damage: tuple[str, str, str]
):
    """A restore looks at what came back, whoever broke it."""
    statement, where, what = damage
    assert 0 == target(kept.made)
    tamper(target.url, statement)
    capsys.readouterr()
    assert 1 == main(["admin", "verify", "--home", str(target.home), "--json"])
    said = told(capsys)
    assert what in said[where][0]
    assert (False, []) == (said["ok"], said["needed objects"])


def test_tables_that_differ_from_their_backup_are_named(kept: SimpleNamespace, target: Any):
    """A row less, and a value changed where no signature covers it."""
    from mp_kit.server.services import backup, checks
    from mp_kit.server.services.backup_places import open_place

    assert 0 == target(kept.made)
    tamper(
        target.url, "DELETE FROM vendor_keys; UPDATE models SET description = 'x'; DROP INDEX ix_audit_log_subject_at"
    )
    fresh = house_over(target.url, target.home)
    with open_place(str(kept.made), {}) as place, fresh.db.begin() as tx:
        made, _, ours = backup.read(place, fresh.signer.public)
        schema, rows = checks.against(tx, made)
    fresh.close()
    assert (True, ["index audit_log ix_audit_log_subject_at is missing"]) == (ours, list(schema.problems))
    changed = [one for one in rows.problems if "audit_log" not in one]
    assert ["table models has other contents in as many rows (1)", "table vendor_keys has 0 rows, and had 1"] == changed


def test_marketplace_that_is_not_empty_is_left_alone(
    kept: SimpleNamespace, target: Any, capsys: pytest.CaptureFixture[str]
):
    """Unless it is said to go; a second restore over the first is then the same again."""
    assert 0 == target(kept.made)
    before = tables(target.url)
    assert 7 == target(kept.made)
    assert "not empty" in capsys.readouterr().err
    assert before == tables(target.url)
    assert 0 == target(kept.made, "--force")
    assert before == tables(target.url)


def test_dump_that_does_not_go_in_changes_nothing(
    kept: SimpleNamespace, target: Any, capsys: pytest.CaptureFixture[str]
):
    """Something outside the schema stands in the way: all is as it was, with --force too."""
    assert 0 == target(kept.made)
    before = tables(target.url)
    with psycopg.connect(target.url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA other; CREATE VIEW other.v AS SELECT 1 AS public")
        connection.execute(
            "CREATE FUNCTION other.no() RETURNS event_trigger LANGUAGE plpgsql AS $$"
            "BEGIN RAISE EXCEPTION 'no tables today'; END $$;"
            "CREATE EVENT TRIGGER no_tables ON ddl_command_start WHEN TAG IN ('CREATE TABLE')"
            " EXECUTE FUNCTION other.no()"
        )
    assert 1 == target(kept.made, "--force")
    said = capsys.readouterr().err
    assert ("as it was" in said, "no tables today" in said) == (True, True)
    with psycopg.connect(target.url, autocommit=True) as connection:
        connection.execute("DROP EVENT TRIGGER no_tables")
    assert before == tables(target.url)


def test_home_without_secrets_is_refused(kept: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """It says what to copy there; nothing is started."""
    home = tmp_path / "empty"
    assert 1 == main(["admin", "restore", str(kept.made), "--home", str(home)])
    said = capsys.readouterr().err
    assert ("secrets.json" in said, "--new-secrets" in said, home.exists()) == (True, True, False)


def test_object_that_is_missing_already_is_told_by_the_backup(
    kept: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """The backup is made, and exits 1 with what needs the object; a second one has it again."""
    monkeypatch.setenv("MP_DATABASE_URL", kept.house.settings.database_url)
    kept.house.store.delete(kept.ids.artifact)
    arguments = ["admin", "backup", str(tmp_path), "--home", str(kept.home)]
    assert 1 == main(arguments)
    said = capsys.readouterr().out
    assert f"{kept.ids.artifact} is not in the store: artifact model.onnx of run {kept.ids.run} needs it" in said
    assert 1 == len(list(tmp_path.glob("mp-*")))
    kept.house.store.put_bytes(kept.ids.artifact, MODEL)


def test_list_without_copies_names_what_the_store_lacks(
    kept: SimpleNamespace,
    target: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """Where objects stay in their own store, the restored marketplace is held against the list, byte by byte."""
    with monkeypatch.context() as patch:
        patch.setenv("MP_DATABASE_URL", kept.house.settings.database_url)
        assert 0 == main(["admin", "backup", str(tmp_path / "b"), "--no-objects", "--home", str(kept.home)])
    [made] = (tmp_path / "b").glob("mp-*")
    assert not (made / "store").exists()
    shutil.copytree(kept.home / "objects", target.home / "objects")
    store = kept.house.store
    assert isinstance(store, LocalStore)
    (target.home / "objects" / kept.ids.artifact).write_bytes(b"other" + MODEL[5:])
    capsys.readouterr()
    assert 1 == target(made, "--json")
    said = told(capsys)
    assert [f"object {kept.ids.artifact} holds other bytes"] == [one.split(":")[0] for one in said["objects"]]


def _backup_process(kept: SimpleNamespace, where: Path, **options: Any) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "MP_DATABASE_URL": kept.house.settings.database_url}
    program = [sys.executable, "-m", "mp_kit.cli.main", "admin", "backup", str(where), "--home", str(kept.home)]
    return subprocess.Popen(program, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, **options)


def test_killed_backup_is_none(
    kept: SimpleNamespace,
    target: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """Kill -9 at work: nothing has a backup's name, what is there is refused, and the next one clears it."""
    where = tmp_path / "backups"
    with _backup_process(kept, where) as running:
        while not list(where.glob(".mp-*.partial")):
            assert running.poll() is None
            time.sleep(0.002)
        running.send_signal(signals_of_os.SIGKILL)
    assert [] == list(where.glob("mp-*"))
    [partial] = where.glob(".mp-*.partial")
    assert 4 == target(partial)
    assert NEVER_WHOLE in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setenv("MP_DATABASE_URL", kept.house.settings.database_url)
        assert 0 == main(["admin", "backup", str(where), "--home", str(kept.home)])
    assert ([], 1) == (list(where.glob(".mp-*.partial")), len(list(where.glob("mp-*"))))


@pytest.mark.hardening
def test_full_disk_leaves_no_backup(kept: SimpleNamespace, tmp_path: Path):
    """The limit strikes pg_dump or a copy: the command fails and says where, and nothing is left."""
    where = tmp_path / "backups"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    with _backup_process(kept, where, preexec_fn=limit) as running:
        said = running.communicate()[1].decode()
    assert 1 == running.returncode
    assert "error: pg_dump failed" in said or "could not be written" in said
    assert [".backup.lock"] == [path.name for path in where.iterdir()]


def _tool(name: str) -> Path:
    from mp_kit.server.store import pgbin

    return pgbin.find().folder / name


def test_other_folder_is_no_backup(kept: SimpleNamespace, target: Any, capsys: pytest.CaptureFixture[str]):
    """The folder of backups is not one of them."""
    assert 4 == target(kept.backups)
    assert NEVER_WHOLE in capsys.readouterr().err


@pytest.mark.hardening
def test_fresh_home_is_a_marketplace_again(
    kept: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Into a home that never ran, by its own embedded Postgres; another one over it meanwhile is refused."""
    from mp_kit.server import restoring, up
    from mp_kit.server.store import embedded

    home = tmp_path / "fresh"
    home.mkdir(mode=0o700)
    shutil.copy(kept.home / "secrets.json", home)
    monkeypatch.delenv("MP_DATABASE_URL", raising=False)
    with up.alone(home):
        assert 7 == main(["admin", "restore", str(kept.made), "--home", str(home)])
    assert 0 == main(["admin", "restore", str(kept.made), "--home", str(home)])
    assert "1 chains, 3 receipts over 6 signals" in capsys.readouterr().out
    with restoring.at_rest(home, new_secrets=False) as house, house.db.begin() as tx:
        assert CREDENTIAL == connections.secret(tx, house.vault, kept.ids.vendor, "huggingface").get_secret_value()
    embedded.stop(home / "postgres")


def test_roles_that_a_dump_names_come_back_without_a_login(create_database: Callable[[], str], tmp_path: Path):
    """Grants and policies come along; whoever was nobody's role before can not log in."""
    from mp_kit.server.store import pgdump, snapshots
    from mp_kit.server.store.engine import Database

    source_url, url = create_database(), create_database()
    source = Database(source_url)
    role = f"reader'\"{os.getpid()}"
    quoted = '"' + role.replace('"', '""') + '"'
    with source.begin() as tx:
        tx.exec_driver_sql(f"CREATE TABLE t (a int); CREATE ROLE {quoted}; GRANT SELECT ON t TO {quoted}")
        tx.exec_driver_sql(f"ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t TO {quoted} USING (a > 1)")
    with source.begin() as tx:
        snapshot, major = snapshots.freeze(tx), snapshots.server_major(tx)
        pgdump.dump(source_url, major, snapshot, tmp_path / "dump")
        roles, rules = snapshots.roles(tx), snapshots.structure(tx)
    with source.begin() as tx:
        tx.exec_driver_sql(f"DROP TABLE t; DROP ROLE {quoted}")
    source.close()
    assert [role] == roles
    pgdump.restore(url, major, tmp_path / "dump", roles)
    with psycopg.connect(url, autocommit=True) as connection:
        can = connection.execute("SELECT rolcanlogin FROM pg_roles WHERE rolname = %s", [role]).fetchone()
        may = connection.execute("SELECT has_table_privilege(%s, 't', 'SELECT')", [role]).fetchone()
        policies = connection.execute("SELECT policyname FROM pg_policies").fetchall()
        assert ((False,), (True,), [("p",)], True) == (can, may, policies, "policy t p" in rules)
        connection.execute(f"DROP TABLE t; DROP ROLE {quoted}")

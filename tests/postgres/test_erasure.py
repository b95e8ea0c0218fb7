"""A vendor's data handed over, and who it is erased: nothing personal stays in any column, and every chain holds."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from mp_kit.cli.app import main
from mp_kit.errors import ConflictError, NotFoundError
from mp_kit.server.house import House
from mp_kit.server.services import audit, chain_checks, connections, consensus, reports, vendors
from mp_kit.server.services.reports import Audience
from mp_kit.server.store import belongings, tables
from mp_kit.server.store.engine import Database
from tests.support.furnished import CREDENTIAL, furnish, house_over

NAME, LOGIN, HOST, ADDRESS = "Zyx Quants LLP", "zyx-jane-doe", "hooks.zyx-quants.example", "203.0.113.77"
TRACES = (NAME, LOGIN, "zyx", "Zyx", HOST, ADDRESS, "7310001", CREDENTIAL)


@pytest.fixture
def filled(
    migrated_url: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SimpleNamespace]:
    """A vendor that has left its name in every place that takes text, and another one beside it."""
    house = house_over(migrated_url(), tmp_path / "home")
    ids = furnish(house, tmp_path / "bars", name=NAME, signed=False)
    monkeypatch.setenv("MP_DATABASE_URL", house.settings.database_url)
    monkeypatch.setenv("MP_HOME", str(house.settings.home))
    with house.db.begin() as tx:
        consensus.refresh(tx)
        other = vendors.create(tx, house.tokens, "Somebody Else", actor="test").vendor_id
        connections.put(tx, house.vault, other, "wandb", SecretStr("w" * 40), actor="test")
        given = {"v": ids.vendor, "d": ids.who.deployment_id, "m": ids.who.model_id, "r": ids.run}
        for statement in LEFT_EVERYWHERE:
            tx.execute(text(statement), {name: value for name, value in given.items() if f":{name}" in statement})
        who = {"provider": "github.com", "login": LOGIN}
        audit.record(tx, f"vendor:{ids.vendor}", "sign_in", "idn_1", account="7310001", **who)
        audit.record(tx, "public", "sign_in.refuse", "7310001", why="unknown", **who)
        audit.record(tx, "operator:cli", "code.approve", "dev_1", vendor_id=ids.vendor, client=NAME, address=ADDRESS)
    public = _report(house, tmp_path, f"<h1>The leaders</h1><p>{NAME} leads</p>")
    innocent = _report(house, tmp_path, "<h1>The leaders</h1><p>Nobody leads</p>")
    yield SimpleNamespace(house=house, other=other, public=public, innocent=innocent, **vars(ids))
    house.close()


LEFT_EVERYWHERE = """
INSERT INTO vendor_identities (id, vendor_id, provider, subject, login, linked_by) VALUES ('idn_1', :v,
  'github.com', '7310001', 'zyx-jane-doe', 'vendor');
UPDATE vendor_keys SET name = 'zyx laptop' WHERE vendor_id = :v;
INSERT INTO webhook_endpoints (id, vendor_id, url, events, description, wrapped_key, secret) VALUES ('whe_1',
  :v, 'https://hooks.zyx-quants.example/x', '{}', 'of Zyx', 'w', 's');
INSERT INTO webhook_events (id, type, vendor_id, body) VALUES ('msg_1', 'run.finished', :v, 'Zyx Quants LLP');
INSERT INTO device_logins (id, code_digest, user_code, client, address, vendor_id, interval_seconds,
  expires_at, state) VALUES ('dev_1', 'x', 'y', 'Zyx Quants LLP on a laptop', '203.0.113.77', :v, 5, now(),
  'approved');
UPDATE deployments SET name = 'zyx live', endpoint = 'https://hooks.zyx-quants.example', spec = '{"a": "zyx"}'
  WHERE id = :d;
INSERT INTO pollings (deployment_id, vendor_id, infer_url) VALUES (:d, :v, 'https://hooks.zyx-quants.example');
INSERT INTO deployment_heartbeats (id, deployment_id, status, timestamp, message) VALUES ('hb_1', :d, 'ready',
  now(), 'zyx here');
UPDATE models SET name = 'zyx trend', description = 'by Zyx Quants LLP', tags = '["zyx"]' WHERE id = :m;
UPDATE model_versions SET hf_repo_id = 'zyx-jane-doe/trend' WHERE model_id = :m;
INSERT INTO model_stage_history (version_id, seq, to_stage, actor, reason) SELECT id, 9, 'pilot', 'x', 'zyx
  asked' FROM model_versions WHERE model_id = :m;
INSERT INTO model_validations (version_id, seq, digest, passed, report, actor) SELECT id, 9, 'd', true,
  '{"by": "Zyx"}', 'x' FROM model_versions WHERE model_id = :m;
INSERT INTO model_approvals (version_id, seq, granted, actor, why) SELECT id, 9, true, 'operator:cli', 'Zyx is
  fine' FROM model_versions WHERE model_id = :m;
UPDATE training_runs SET spec = '{"hf_repo_id": "zyx-jane-doe/x"}', failure = 'Zyx', idempotency_key =
  'zyx-1', metrics = '{"note": "zyx"}' WHERE id = :r;
INSERT INTO run_logs (run_id, seq, at, stream, text) VALUES (:r, 1, now(), 'stdout', '/home/zyx/train.py');
INSERT INTO run_events (run_id, seq, kind, detail) VALUES (:r, 1, 'x', '{"by": "zyx"}');
INSERT INTO dataset_grants (id, round_id, vendor_id, grantee, expires_at) SELECT 'gra_1', id, :v, 'Zyx Quants
  LLP', now() FROM dataset_rounds LIMIT 1;
INSERT INTO signal_drops (deployment_id, name, size_bytes, sha256, object_key, announced_at) VALUES (:d,
  'zyx-drop', 1, 'x', 'staged/inbox/zyx', now());
UPDATE consensus SET contributions = jsonb_set(contributions, ARRAY[:d, 'vendor'], '"Zyx Quants LLP"');
UPDATE signal_batches SET idempotency_key = 'zyx:' || id, answer = convert_to('zyx', 'UTF8') WHERE
  deployment_id = :d
""".strip().split(";\n")
"""Statements, each of which leaves the vendor's name or account somewhere."""


def _report(house: House, folder: Path, html: str) -> str:
    with house.db.begin() as tx:
        report_id = reports.begin(tx, "r", {}, None, title="r", audience=Audience.PUBLIC)
    files = {suffix: folder / f"{report_id}.{suffix}" for suffix in ("html", "ipynb")}
    for path in files.values():
        path.write_text(html)
    key = reports.keep(house.store, "r", report_id, files)
    with house.db.begin() as tx:
        reports.end(tx, report_id, object_key=key)
    return key


def found_anywhere(db: Database, *needles: str) -> dict[str, list[str]]:
    """Where each text stands, by every column of the database, read by its catalogue and not by our tables."""
    found: dict[str, list[str]] = {}
    with db.begin() as tx:
        columns = tx.execute(
            text(
                "SELECT table_name, column_name, data_type FROM information_schema.columns JOIN pg_tables"
                " ON tablename = table_name AND schemaname = table_schema WHERE table_schema = 'public'"
            )
        ).all()
        for table, column, kind in columns:
            value = f"encode(\"{column}\", 'escape')" if kind == "bytea" else f'"{column}"::text'
            wanted = (
                f'SELECT DISTINCT n FROM "{table}", unnest(CAST(:needles AS text[])) n WHERE strpos({value}, n) > 0'  # noqa: S608
            )
            for needle in tx.execute(text(wanted), {"needles": list(needles)}).scalars():
                found.setdefault(needle, []).append(f"{table}.{column}")
    return found


def test_nothing_personal_stays(filled: SimpleNamespace, capsys: pytest.CaptureFixture[str]):
    """Every trace was there, none is; what others rely on stays and holds; nobody else lost anything."""
    house = filled.house
    assert set(TRACES[:-1]) == set(found_anywhere(house.db, *TRACES))
    with house.db.begin() as tx:
        signals_before = tx.execute(text("SELECT count(*), sum(confidence) FROM signals")).one()
    capsys.readouterr()
    assert 0 == main(["admin", "vendor", "erase", NAME, "--why", "asked under article 17", "--yes", "--json"])
    done = json.loads(capsys.readouterr().out)
    assert (filled.vendor, {}) == (done["vendor_id"], done["left"])
    assert {} == found_anywhere(house.db, *TRACES)
    with house.db.begin() as tx:
        assert signals_before == tx.execute(text("SELECT count(*), sum(confidence) FROM signals")).one()
        chains = chain_checks.check_all(tx)
        assert ([], 3, 6) == (chains.problems, chains.receipts, chains.signals)
        [entry] = audit.newest(tx, vendors.me(tx, filled.vendor).created_at, action="vendor.erase")
        assert "asked under article 17" == entry.detail["why"]
        others = tx.execute(text("SELECT vendor_id FROM vendor_connections")).scalars().all()
        assert [filled.other] == others
        names = tx.execute(text("SELECT name FROM marketplace_vendors ORDER BY name")).scalars().all()
        assert ["Somebody Else", f"erased {filled.vendor}"] == names
        stages = tx.execute(text("SELECT DISTINCT stage FROM model_versions")).scalars().all()
        assert ["retired"] == stages
        voices = [bar.contributions[filled.who.deployment_id] for bar in consensus.history(tx)]
        assert [("BUY", f"erased {filled.vendor}")] * 6 == [(voice.decision, voice.vendor) for voice in voices]
    keys = {info.key for info in house.store.walk()}
    assert (set(), {filled.innocent}) == (keys & {filled.artifact, filled.public}, keys & {filled.innocent})
    assert not any(key.startswith((f"runs/{filled.run}/", f"reports/x/{filled.report}")) for key in keys)


def test_erasing_twice_and_after_a_kill(filled: SimpleNamespace, monkeypatch: pytest.MonkeyPatch):
    """A store that fails half-way leaves the vendor to be found by its name; the next call ends the work."""
    from mp_kit.server.services import erasure

    house, removed = filled.house, []

    def fail(key: str) -> None:
        removed.append(key)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(type(house.store), "delete", lambda _, key: fail(key))
        with pytest.raises(OSError, match="No space"):
            erasure.erase(house.db, house.store, NAME, why="x", actor="test")
    assert removed
    with house.db.begin() as tx:
        assert "suspended" == vendors.me(tx, filled.vendor).status
    for _ in range(2):
        assert {} == erasure.erase(house.db, house.store, filled.vendor, why="x", actor="test").left
    with house.db.begin() as tx, pytest.raises(NotFoundError):
        vendors.named(tx, NAME)
    with house.db.begin() as tx, pytest.raises(ConflictError, match="was erased on"):
        vendors.set_status(tx, filled.vendor, vendors.VendorStatus.ACTIVE, actor="test")


UNDER_WAY = {
    "a run": ("UPDATE training_runs SET state = 'running', finished_at = NULL WHERE id = :r", "training run"),
    "a machine": (
        "INSERT INTO run_machines VALUES ('runpod', 'pod1', :r, 1, :v, 1, now())",
        "machine pod1 at runpod has not ended",
    ),
    "a server": (
        "INSERT INTO hostings (deployment_id, vendor_id, provider, kind) VALUES (:d, :v, 'runpod', 'pod')",
        "the server of deployment",
    ),
}


@pytest.mark.parametrize("case", UNDER_WAY.values(), ids=UNDER_WAY)
def test_what_runs_is_ended_first(filled: SimpleNamespace, capsys: pytest.CaptureFixture[str], case: tuple[str, str]):
    """Refused with what runs, and nothing is changed."""
    statement, told = case
    given = {"r": filled.run, "v": filled.vendor, "d": filled.who.deployment_id}
    with filled.house.db.begin() as tx:
        tx.execute(text("ALTER TABLE training_runs DISABLE TRIGGER training_runs_move"))
        tx.execute(text(statement), {name: value for name, value in given.items() if f":{name}" in statement})
    before = found_anywhere(filled.house.db, "zyx")
    assert 7 == main(["admin", "vendor", "erase", NAME, "--why", "x", "--yes"])
    assert told in capsys.readouterr().err
    assert before == found_anywhere(filled.house.db, "zyx")


def test_confirmation_is_the_name(filled: SimpleNamespace, monkeypatch: pytest.MonkeyPatch):
    """Anything else erases nothing."""
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    assert 5 == main(["admin", "vendor", "erase", NAME, "--why", "x"])
    assert found_anywhere(filled.house.db, NAME)
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{NAME}\n"))
    assert 0 == main(["admin", "vendor", "erase", NAME, "--why", "x"])


def test_what_receipts_cover_is_told_and_stays(filled: SimpleNamespace, capsys: pytest.CaptureFixture[str]):
    """A name inside a rationale is under a signature: it stays, and the operator hears where."""
    with filled.house.db.begin() as tx:
        tx.execute(text("UPDATE signals SET rationale = '[\"Zyx Quants LLP says so\"]' WHERE symbol = 'B'"))
    capsys.readouterr()
    assert 0 == main(["admin", "vendor", "erase", NAME, "--why", "x", "--yes"])
    said = capsys.readouterr()
    assert "still holds what identified it: signals.rationale, 3 rows" in said.out
    assert "docs/retention.md" in said.err


AS_ANOTHER = """
CREATE ROLE not_the_owner BYPASSRLS; GRANT ALL ON audit_log TO not_the_owner; SET LOCAL ROLE not_the_owner;
SELECT set_config('mp.erasing', 'x', true); UPDATE audit_log SET detail = '{}'
"""


def test_only_the_owner_erases_and_only_texts(filled: SimpleNamespace):
    """Outside an erasure the log only grows; inside one, who, when and what stay; young entries are never deleted."""
    refused = [
        "UPDATE audit_log SET detail = '{}'",
        "SELECT set_config('mp.erasing', 'x', true); UPDATE audit_log SET actor = 'x'",
        "SELECT set_config('mp.erasing', 'x', true); DELETE FROM audit_log",
        "SELECT set_config('mp.forgetting', 'x', true); DELETE FROM audit_log",
        "SELECT set_config('mp.erasing', 'x', true); UPDATE model_approvals SET granted = false",
        "SELECT set_config('mp.erasing', 'x', true); UPDATE signal_receipts SET payload = 'x'",
        AS_ANOTHER,
    ]
    for statement in refused:
        with pytest.raises(Exception, match="can only grow"), filled.house.db.begin() as tx:
            tx.exec_driver_sql(statement)


def test_export_has_everything_and_no_secret(filled: SimpleNamespace, tmp_path: Path):
    """A file per table of a vendor's, the audit entries, the run's files; nothing of the other vendor."""
    archive = tmp_path / "out.zip"
    assert 0 == main(["admin", "vendor", "export", NAME, "--to", str(archive), "--with-objects"])
    with zipfile.ZipFile(archive) as opened:
        content = {name: opened.read(name) for name in opened.namelist()}
    rows = {name: [json.loads(line) for line in body.splitlines()] for name, body in content.items() if "jsonl" in name}
    assert {f"tables/{table}.jsonl" for table in [*belongings.owned(), "audit_log"]} == set(rows)
    assert (6, 3) == (len(rows["tables/signals.jsonl"]), len(rows["tables/signal_receipts.jsonl"]))
    assert [LOGIN] == [one["login"] for one in rows["tables/vendor_identities.jsonl"]]
    assert f"objects/{filled.run}/model.onnx" in content
    everything = b"".join(content.values())
    assert NAME.encode() in content["README.md"]
    assert [False, False] == [filled.other.encode() in everything, CREDENTIAL.encode() in everything]
    assert 1 == main(["admin", "vendor", "export", NAME, "--to", str(archive)])


def test_every_table_is_a_vendors_or_the_houses():
    """Whoever adds a table says whose it is; a column that sounds like a secret is one, or is named here."""
    assert set(tables.metadata.tables) == set(belongings.owned()) | belongings.OF_THE_HOUSE
    columns = {column.name for name in belongings.owned() for column in tables.metadata.tables[name].c}
    words = ("secret", "hash", "cipher", "wrapped", "digest")
    sound = {name for name in columns if any(word in name for word in words)}
    assert {"digest", "secret_overlap_until"} == sound - belongings.SECRETS

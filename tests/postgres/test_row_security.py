"""The walls between vendors in the database: which tables stand behind one, and what the edge's role can do there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from mp_kit.contracts import WebhookEventType
from mp_kit.errors import DatabaseDownError, SetupError
from mp_kit.server import wiring
from mp_kit.server.edge.app import create_app
from mp_kit.server.house import House
from mp_kit.server.scrape import DatabaseFigures
from mp_kit.server.services import audit, connections, webhook_events
from mp_kit.server.store import embedded, migrate
from mp_kit.server.store.engine import Database, Tx
from mp_kit.server.store.scope import EDGE_ROLE, HOUSE, NOBODY, PUBLIC, PUBLIC_ROLE, SIGN_IN, Scope, of_vendor, within
from tests.support.belongings import furnish_all

NOT_A_VENDORS = {
    "alembic_version": "which migrations ran",
    "audit_log": "of everybody; policies of its own, tested below",
    "consensus_settings": "the operator's choice",
    "dataset_rounds": "published to all",
    "rate_buckets": "counts by key, for a moment, of everybody",
    "signing_keys": "public keys",
}
"""Tables that belong to no vendor, and why."""

OWNED = """
WITH RECURSIVE owned AS (
  SELECT a.attrelid AS id FROM pg_attribute a WHERE a.attname = 'vendor_id' AND NOT a.attisdropped
  UNION SELECT 'marketplace_vendors'::regclass
  UNION SELECT c.conrelid FROM owned o JOIN pg_constraint c ON c.confrelid = o.id AND c.contype = 'f'
)
SELECT relname FROM pg_class
WHERE oid IN (SELECT id FROM owned) AND relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
  AND NOT relispartition ORDER BY 1"""
"""Tables with a column for the vendor, or with a foreign key to one of them, however far."""

UNWALLED = """
SELECT c.relname FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND CASE
  WHEN c.relispartition THEN has_table_privilege('mp_edge', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')
  ELSE NOT (c.relrowsecurity AND EXISTS (
    SELECT FROM pg_policies p WHERE p.schemaname = 'public' AND p.tablename = c.relname AND p.policyname = 'vendor'
    AND p.cmd = 'ALL' AND p.qual LIKE '%mp.vendor_id%')) END
ORDER BY 1"""
"""What has no policy `vendor`; of partitions, those that the edge's role may touch past their parent's policies."""

REFUSED = "42501"  # insufficient_privilege, by a policy or by a missing grant


@pytest.fixture(scope="module")
def house_of_two(house: House) -> House:
    """Two vendors, ``okapi`` and ``zebra``, with a row in every table."""
    with house.db.begin() as tx:
        furnish_all(tx, "okapi", 1)
        furnish_all(tx, "zebra", 2, "pilot")
    return house


@pytest.fixture(scope="module")
def edge_db(house_of_two: House) -> Iterator[Database]:
    """The database as the edge has it."""
    db = Database(house_of_two.settings.database_url, pool_size=2, role=EDGE_ROLE)
    yield db
    db.close()


def names(db: Database, statement: str) -> list[str]:
    with db.begin() as tx:
        return list(tx.execute(text(statement)).scalars())


def test_every_table_of_vendors_has_a_policy(house: House):
    """A new table of vendors fails here until it has one; any other table has to be named above with a reason."""
    assert sorted(NOT_A_VENDORS) == names(house.db, UNWALLED)
    assert not set(NOT_A_VENDORS) & set(names(house.db, OWNED))
    assert len(names(house.db, OWNED)) > 40


def test_the_listing_sees_a_new_table(tx: Tx):
    """With a column for the vendor, with a key to a run, and a partition that was granted by mistake."""
    tx.execute(text("CREATE TABLE new_notes (vendor_id text)"))
    tx.execute(text("CREATE TABLE new_steps (run_id text REFERENCES training_runs (id))"))
    tx.execute(text(f"GRANT SELECT ON signals_default TO {EDGE_ROLE}"))
    new = {"new_notes", "new_steps"}
    assert new <= set(tx.execute(text(OWNED)).scalars())
    assert new | {"signals_default"} == set(tx.execute(text(UNWALLED)).scalars()) - set(NOT_A_VENDORS)


MEMBER_OF = "SELECT rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid WHERE m.member = :oid"


def test_the_role_owns_nothing_and_passes_no_policy(house: House):
    """Neither a superuser, nor the owner of anything; the public's role is not its own before it becomes that."""
    with house.db.begin() as tx:
        role = tx.execute(text("SELECT * FROM pg_roles WHERE rolname = :role"), {"role": EDGE_ROLE}).one()
        owned = tx.execute(text("SELECT relname FROM pg_class WHERE relowner = :oid"), {"oid": role.oid}).all()
        member = list(tx.execute(text(MEMBER_OF), {"oid": role.oid}).scalars())
    assert (False, False, False) == (role.rolsuper, role.rolbypassrls, role.rolcreaterole)
    assert [] == owned
    assert [PUBLIC_ROLE] == member
    assert not role.rolinherit


def readable(db: Database) -> list[str]:
    """Tables of vendors that the edge's role may read."""
    grants = "SELECT has_table_privilege('mp_edge', CAST(:name AS text), 'SELECT')"
    with db.begin() as tx:
        return [name for name in tx.execute(text(OWNED)).scalars() if tx.execute(text(grants), {"name": name}).scalar()]


COUNT = "SELECT count(*), count(*) FILTER (WHERE position(:mark IN to_jsonb(t)::text) > 0) FROM {} t"


def seen(db: Database, table: str, scope: Scope, mark: str) -> tuple[int, int]:
    """How many rows a scope sees, and how many of them bear a vendor's mark."""
    with within(scope), db.begin() as tx:
        rows, marked = tx.execute(text(COUNT.format(table)), {"mark": mark}).one()
        return rows, marked


def test_a_scope_shows_its_own_rows_alone(house_of_two: House, edge_db: Database):
    """Without any WHERE: its own of each table, nothing of the other's, and nothing at all without a scope."""
    tables = readable(house_of_two.db)
    assert len(tables) > 40
    for table in tables:
        assert seen(house_of_two.db, table, NOBODY, "zebra")[1] > 0, f"belongings.sql has nothing for {table}"
        assert (0, 0) == seen(edge_db, table, NOBODY, "zebra"), table
        assert (True, 0) == (seen(edge_db, table, of_vendor("okapi"), "okapi")[1] > 0, 0), table
        assert 0 == seen(edge_db, table, of_vendor("okapi"), "zebra")[1], table


SHOWN = {"deployment_heartbeats", "deployments", "hostings", "model_scores", "model_stage_history", "model_versions",
         "models", "training_runs"}  # fmt: skip
"""Tables of which the public sees the rows that were published."""
COUNTED = {
    "signals": {"event_time", "batch_id", "deployment_id", "vendor_id", "symbol", "timeframe", "confidence"},
    "signal_batches": {"id", "deployment_id", "accepted", "received_at"},
    "signal_rollups": {"deployment_id", "symbol", "timeframe", "predictions", "confidence"},
    "uncounted_batches": {"batch_id", "deployment_id", "first_event", "last_event"},
    "marketplace_vendors": {"id", "name", "status"},
}
"""Tables of which it sees all rows, and these columns alone: they say nothing of a model that it does not see."""
CAN_READ = """SELECT attname FROM pg_attribute WHERE attrelid = CAST(:table AS regclass) AND attnum > 0
              AND NOT attisdropped AND has_column_privilege('mp_public', attrelid, attnum, 'SELECT')"""


def published(house: House, db: Database, mark: str) -> dict[str, set[str]]:
    """Tables in which the public finds a vendor's mark, each with the columns that it may read."""
    found = {}
    for table in names(house.db, OWNED):
        with house.db.begin() as tx:
            columns = set(tx.execute(text(CAN_READ), {"table": table}).scalars())
        if columns:
            row = ", ".join(sorted(columns))
            with within(PUBLIC), db.begin() as tx:
                rows = tx.execute(text(ROWS.format(row, table)), {"mark": mark}).scalar_one()
            found |= {table: columns} if rows else {}
    return found


ROWS = "SELECT count(*) FROM {1} WHERE position(:mark IN to_jsonb(ROW({0}))::text) > 0"


def test_the_public_sees_what_was_published(house_of_two: House, edge_db: Database):
    """Of a vendor with a model in pilot what its page shows; of one with a model in shadow counts and a name."""
    of_pilot, of_shadow = (published(house_of_two, edge_db, mark) for mark in ("zebra", "okapi"))
    assert SHOWN | COUNTED.keys() | {"consensus"} == of_pilot.keys()
    assert COUNTED.keys() | {"consensus"} == of_shadow.keys()
    assert of_pilot.items() >= COUNTED.items()
    assert not {"spec", "endpoint"} & of_pilot["deployments"]
    assert {"id", "round_id", "status", "finished_at", "provider"} == of_pilot["training_runs"]


def test_the_public_writes_nothing(house_of_two: House, edge_db: Database):
    """And reads no other table of vendors, nor the audit log."""
    for table in {*names(house_of_two.db, OWNED), "audit_log"}:
        assert refused(edge_db, PUBLIC, f"DELETE FROM {table}") == REFUSED  # noqa: S608
    for table in ("vendor_keys", "vendor_connections", "webhook_endpoints", "run_logs", "audit_log"):
        assert refused(edge_db, PUBLIC, f"SELECT FROM {table}") == REFUSED


@pytest.mark.parametrize("scope", [SIGN_IN, HOUSE])
def test_no_other_scope_reads_credentials_or_writes_for_vendors(edge_db: Database, scope: Scope):
    """Sealed credentials and webhooks' secrets are their vendor's; a vendor's run is moved by nobody else."""
    for table in ("vendor_connections", "vendor_data_keys", "webhook_endpoints", "run_logs"):
        assert (0, 0) == seen(edge_db, table, scope, "zebra")
    with within(scope), edge_db.begin() as tx:
        assert 0 == tx.execute(text("UPDATE training_runs SET failure = 'x'")).rowcount
        assert 0 == tx.execute(text("UPDATE models SET name = 'x'")).rowcount


def refused(db: Database, scope: Scope, statement: str, **given: Any) -> str:
    """The SQLSTATE of a refusal; empty where the statement went through (it is taken back)."""
    with within(scope), db.begin() as tx:
        trial = tx.begin_nested()
        try:
            tx.execute(text(statement), given)
        except DBAPIError as error:
            return str(getattr(error.orig, "sqlstate", error))
        finally:
            trial.rollback()
    return ""


ROW_OF_ZEBRA = "SELECT to_jsonb(t)::text FROM {} t WHERE position('zebra' IN to_jsonb(t)::text) > 0 LIMIT 1"
COLUMNS = """SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute
             WHERE attrelid = CAST(:name AS regclass) AND attnum > 0 AND NOT attisdropped AND attgenerated = ''"""
COPY = "INSERT INTO {0} ({1}) SELECT {1} FROM jsonb_populate_record(NULL::{0}, CAST(:row AS jsonb))"
WITH_VENDOR = """SELECT relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
                 WHERE a.attname = 'vendor_id' AND c.relkind IN ('r', 'p') AND NOT c.relispartition"""
GIVE_AWAY = "UPDATE {} SET vendor_id = 'zebra'"


def test_writing_as_another_vendor_is_refused(house_of_two: House, edge_db: Database):
    """Another's rows are neither inserted, nor changed, nor deleted, nor is one's own given away."""
    for table in names(house_of_two.db, OWNED):
        with house_of_two.db.begin() as tx:
            row = tx.execute(text(ROW_OF_ZEBRA.format(table))).scalar_one()
            columns = tx.execute(text(COLUMNS), {"name": table}).scalar_one()
        copy = COPY.format(table, columns)
        assert refused(edge_db, of_vendor("okapi"), copy, row=row) == REFUSED, table
        assert refused(edge_db, NOBODY, copy, row=row) == REFUSED, table
    for table in names(house_of_two.db, WITH_VENDOR):
        assert refused(edge_db, of_vendor("okapi"), GIVE_AWAY.format(table)) == REFUSED, table


@pytest.mark.parametrize("verb", ["UPDATE {} SET vendor_id = vendor_id", "DELETE FROM {}"])
@pytest.mark.parametrize("table", ["auth_codes", "vendor_connections", "vendor_identities", "webhook_endpoints"])
def test_another_vendors_rows_are_not_there_to_change(edge_db: Database, verb: str, table: str):
    """By id or not: none is found."""
    with within(of_vendor("okapi")), edge_db.begin() as tx:
        assert 0 == tx.execute(text(verb.format(table) + " WHERE vendor_id = 'zebra'")).rowcount


@pytest.mark.parametrize("verb", ["SELECT * FROM {}", "INSERT INTO {} SELECT * FROM signals", "TRUNCATE {}"])
def test_partitions_are_no_way_around(edge_db: Database, verb: str):
    """A partition has no policies of its own, so the role may not name it."""
    assert refused(edge_db, of_vendor("okapi"), verb.format("signals_default")) == REFUSED


def test_events_are_told_of_the_vendor_in_scope(house_of_two: House, edge_db: Database):
    """What is public is told to everybody's endpoints; another vendor's event is refused."""
    with within(of_vendor("okapi")), edge_db.begin() as tx:
        assert 1 == webhook_events.emit(tx, WebhookEventType.RUN_FINISHED, "okapi", run_id="r")
        assert {"okapi", "zebra"} <= set(tx.execute(text("SELECT mp_wanting('run.finished')")).scalars())
        with pytest.raises(InsufficientPrivilege, match="another vendor's"), tx.begin_nested():
            webhook_events.emit(tx, WebhookEventType.RUN_FINISHED, "zebra", run_id="r")
    with house_of_two.db.begin() as tx:
        assert 1 == webhook_events.emit(tx, WebhookEventType.RUN_FINISHED, "zebra", run_id="r")


@pytest.mark.parametrize("verb", ["UPDATE audit_log SET actor = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"])
def test_the_edge_only_adds_to_the_audit_log(house_of_two: House, edge_db: Database, verb: str):
    """It has no grant for more; the operator has, and the trigger refuses him too. Reading is the operator's pages'."""
    with within(of_vendor("okapi")), edge_db.begin() as tx:
        audit.record(tx, "vendor:okapi", "test.told", "x")
        assert 0 == tx.execute(text("SELECT count(*) FROM audit_log")).scalar_one()
    with within(HOUSE), edge_db.begin() as tx:
        assert tx.execute(text("SELECT count(*) FROM audit_log WHERE actor = 'vendor:okapi'")).scalar_one()
    assert refused(edge_db, HOUSE, verb) == REFUSED
    with pytest.raises(DBAPIError, match="can only grow"), house_of_two.db.begin() as tx:
        tx.execute(text(verb))


def test_a_scope_ends_with_its_transaction(edge_db: Database):
    """A pooled connection remembers nothing of whom it served; a savepoint that is taken back changes nothing."""
    whose = text("SELECT current_setting('mp.vendor_id', true), current_user")
    for _ in range(3):
        with within(of_vendor("okapi")), edge_db.begin() as tx:
            with tx.begin_nested() as trial:
                trial.rollback()
            assert ("okapi", EDGE_ROLE) == tuple(tx.execute(whose).one())
        with edge_db.begin() as tx:
            assert ("", EDGE_ROLE) == tuple(tx.execute(whose).one())


def test_a_login_without_the_role_is_told(create_database: Callable[[], str]):
    """The error says which role is missing and how it comes."""
    db = Database(create_database(), role="no_such_role")
    with pytest.raises(DatabaseDownError) as caught, db.begin():
        pass
    db.close()
    assert "mp admin migrate" in (caught.value.hint or "")


def test_figures_and_schema_are_read_by_the_edge(house_of_two: House, edge_db: Database):
    """Metrics are about all vendors, and readiness about the revision, without the owner's connection."""
    told = [
        {
            (one.name, *one.labels.values()): one.value
            for metric in DatabaseFigures(db).collect()
            for one in metric.samples
        }
        for db in (house_of_two.db, edge_db)
    ]
    assert told[0].keys() == told[1].keys()
    assert (2, 0.0) == (told[1]["mp_deployments", "pending"], told[1]["mp_queue_waiting", "runs"])
    assert told[0]["mp_queue_waiting", "webhooks"] == told[1]["mp_queue_waiting", "webhooks"] > 0
    with edge_db.begin() as tx:
        assert migrate.newest() == migrate.revision(tx)


@pytest.mark.hardening
def test_a_managed_server_needs_no_superuser(tmp_path: Path):
    """The owner makes the role and may take it; a login in the role has the walls around it; one without is refused."""
    server = embedded.start(tmp_path, die_with_parent=True)
    with psycopg.connect(server.url("postgres"), autocommit=True) as root:
        root.execute("CREATE ROLE boss LOGIN CREATEROLE CREATEDB")
    with psycopg.connect(server.url("postgres", "boss"), autocommit=True) as boss:
        boss.execute("CREATE DATABASE managed")
    owner = Database(server.url("managed", "boss"))
    with owner.begin() as tx:
        migrate.upgrade(tx)
        furnish_all(tx, "zebra", 1)
        tx.execute(text("CREATE ROLE edge_1 LOGIN IN ROLE mp_edge"))
        tx.execute(text("CREATE ROLE stranger LOGIN"))
    for login in ("boss", "edge_1", EDGE_ROLE):
        db = Database(server.url("managed", login), role=EDGE_ROLE)
        assert (0, 0) == seen(db, "models", of_vendor("okapi"), "zebra")
        assert (1, 1) == seen(db, "models", of_vendor("zebra"), "zebra")
        db.close()
    db = Database(server.url("managed", "stranger"), role=EDGE_ROLE)
    with pytest.raises(DatabaseDownError, match="act as its role"), db.begin():
        pass
    db.close()
    with owner.begin() as tx:
        migrate.downgrade(tx, "0015")
        migrate.upgrade(tx)
    assert (1, 1) == seen(owner, "models", NOBODY, "zebra")
    owner.close()
    embedded.stop(tmp_path)


def test_the_edge_takes_no_operators_house(house: House):
    """An edge over the owner's connection would have no wall: it does not start."""
    with pytest.raises(SetupError, match="never the operator's"):
        create_app(house)


def test_a_providers_key_is_its_vendors(house_of_two: House):
    """The edge opens the key of the vendor that is asked for, whatever the scope around it is."""
    edge = wiring.build_edge(house_of_two.settings)
    with within(of_vendor("zebra")), edge.db.begin() as tx:
        tx.execute(text("DELETE FROM vendor_connections"))
        tx.execute(text("DELETE FROM vendor_data_keys"))
        connections.put(tx, edge.vault, "zebra", "runpod", SecretStr("rpa_" + "b" * 40), actor="test")
    key_of = wiring.runpod_keys(edge.db, edge.vault)
    assert "rpa_" + "b" * 40 == key_of("zebra")
    edge.close()

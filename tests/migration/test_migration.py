"""The migrations and the declared tables give the same database."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError

from mp_kit.server.store import migrate
from mp_kit.server.store.engine import Database, Tx, violated
from mp_kit.server.store.tables import metadata

CATALOGUE = {
    "columns": """
        SELECT table_name, column_name, data_type, is_nullable, column_default, generation_expression
        FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version'
        ORDER BY 1, 2""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version'
        ORDER BY 1, 2""",
    "indexes": """
        SELECT tablename, indexname, indexdef FROM pg_indexes
        WHERE schemaname = 'public' AND tablename <> 'alembic_version' ORDER BY 1, 2""",
}


def read_catalogue(connection: Connection) -> dict[str, list[tuple[object, ...]]]:
    return {name: [tuple(row) for row in connection.execute(text(sql))] for name, sql in CATALOGUE.items()}


def test_migrations_equal_metadata(create_database: Callable[[], str]):
    """Columns, constraints and indexes are the same, to the letter, whichever way the database was made."""
    migrated, declared = Database(create_database()), Database(create_database())
    with migrated.begin() as tx:
        migrate.upgrade(tx)
        by_migration = read_catalogue(tx)
    with declared.begin() as tx:
        metadata.create_all(tx)
        by_metadata = read_catalogue(tx)
    migrated.close()
    declared.close()
    assert by_metadata == by_migration
    assert len(by_migration["columns"]) > 100


def test_upgrade_twice_changes_nothing(create_database: Callable[[], str]):
    """A migrated database stays as it is, and says so."""
    db = Database(create_database())
    with db.begin() as tx:
        assert (None, migrate.newest()) == migrate.upgrade(tx)
    with db.begin() as tx:
        assert (migrate.newest(), migrate.newest()) == migrate.upgrade(tx)
    db.close()


def test_failed_migration_leaves_nothing(create_database: Callable[[], str]):
    """A migration and its revision are one transaction."""
    url = create_database()
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE signals (x int)"))
    with pytest.raises(DBAPIError), engine.begin() as connection:
        migrate.upgrade(connection)
    with engine.begin() as connection:
        assert migrate.revision(connection) is None
    engine.dispose()


@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit_log SET actor = 'nobody'", "DELETE FROM audit_log"],
)
def test_audit_log_only_grows(tx: Tx, statement: str):
    """Not even plain SQL edits what was done."""
    tx.execute(text("INSERT INTO audit_log (id, actor, action, subject) VALUES ('a', 'b', 'c', 'd')"))
    with pytest.raises(DBAPIError, match="can only grow"):
        tx.execute(text(statement))


ROUND = """INSERT INTO dataset_rounds (id, name, fingerprint, manifest, manifest_sha256, manifest_key_id,
           manifest_signature, is_current) VALUES (:id, 'r', :id, '', '', 'k', '', :current)"""


def test_one_current_round_at_most(tx: Tx):
    """The database itself refuses a second current round."""
    tx.execute(text("INSERT INTO signing_keys (id, public_key) VALUES ('k', '')"))
    tx.execute(text(ROUND), {"id": "r1", "current": True})
    with pytest.raises(DBAPIError) as caught:
        tx.execute(text(ROUND), {"id": "r2", "current": True})
    assert "uq_dataset_rounds_current" == violated(caught.value)


def test_published_round_cannot_change(tx: Tx):
    """Files and manifest of a round stay what they were."""
    tx.execute(text("INSERT INTO signing_keys (id, public_key) VALUES ('k', '')"))
    tx.execute(text(ROUND), {"id": "r1", "current": False})
    tx.execute(text("UPDATE dataset_rounds SET is_current = true"))
    with pytest.raises(DBAPIError, match="cannot change"):
        tx.execute(text("UPDATE dataset_rounds SET files = '[1]'"))


def test_signal_of_another_vendors_deployment_cannot_be_stored(tx: Tx):
    """Wrong attribution violates a foreign key, whatever the code above it does."""
    tx.execute(text("INSERT INTO marketplace_vendors (id, name) VALUES ('v1', 'one'), ('v2', 'two')"))
    tx.execute(text("INSERT INTO deployments (id, vendor_id, name, provider) VALUES ('d1', 'v1', 'd', 'byoc')"))
    insert = text(
        "INSERT INTO signals (event_time, received_at, ts, batch_id, row_no, confidence, late, deployment_id,"
        " vendor_id, symbol, timeframe, model_version, decision)"
        " VALUES (now(), now(), now(), 1, 0, 0.5, false, 'd1', :vendor, :vendor, '1h', '1', 'BUY')"
    )
    tx.execute(insert, {"vendor": "v1"})
    with pytest.raises(DBAPIError) as caught:
        tx.execute(insert, {"vendor": "v2"})
    assert violated(caught.value) == "fk_signals_deployment_id_vendor_id"


def test_signals_keep_their_rows_when_months_come(create_database: Callable[[], str]):
    """What was stored before the partitions is there after them, under the same key; and back again."""
    db = Database(create_database())
    with db.begin() as tx:
        migrate.upgrade(tx, "0008")
        tx.execute(text("INSERT INTO signals " + SIGNAL))
        migrate.upgrade(tx)
        assert [("signals_default", "EURUSD")] == list(tx.execute(SIGNALS))
        tx.execute(text("INSERT INTO signals " + SIGNAL + " ON CONFLICT DO NOTHING"))
        assert 1 == len(list(tx.execute(SIGNALS)))
    with db.begin() as tx:
        migrate.downgrade(tx, "0008")
        assert [("signals", "EURUSD")] == list(tx.execute(SIGNALS))
        before = read_catalogue(tx)
        migrate.upgrade(tx)
        migrate.downgrade(tx, "0008")
        assert before == read_catalogue(tx)
    db.close()


SIGNAL = (
    "(event_time, received_at, ts, batch_id, row_no, confidence, late, deployment_id, symbol, timeframe, model_version,"
    " decision) VALUES ('2020-05-01', now(), now(), 1, 0, 0.5, false, 'house', 'EURUSD', '1h', '1', 'BUY')"
)
SIGNALS = text("SELECT tableoid::regclass::text, symbol FROM signals")

"""What a backup notes of a database: its revision, each table's rows and their digest, its rules, its roles.

A table's digest is the sum over its rows of a SHA-256 of each row's text: the order of rows does not matter, and it is
the same on every server, because how values are written is settled first.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from psycopg import sql
from sqlalchemy import Row, text

from mp_kit.server.store.engine import Tx, driver
from mp_kit.server.store.queries import named


class TableFacts(NamedTuple):
    """How many rows a table has, and their digest."""

    rows: int
    digest: str


_COUNT = """
SELECT count(*), coalesce(sum(
  ('x' || left(encode(sha256(convert_to(t::text, 'UTF8')), 'hex'), 16))::bit(64)::bigint::numeric
), 0)::text FROM {} AS t
"""


def see_one_state(tx: Tx) -> None:
    """Makes the transaction, whose first statement this is, see what is committed now, and nothing of later."""
    tx.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))


def freeze(tx: Tx) -> str:
    """Makes the transaction, whose first statement this is, see one state only; gives a name of it for others."""
    see_one_state(tx)
    return str(tx.execute(text("SELECT pg_export_snapshot()")).scalar_one())


def server_major(tx: Tx) -> int:
    """The server's major version."""
    return int(tx.execute(text("SELECT current_setting('server_version_num')::int / 10000")).scalar_one())


def tables(tx: Tx) -> dict[str, TableFacts]:
    """Each table's rows and their digest, by name; partitions count as part of their table."""
    _settle_text(tx)
    found: dict[str, TableFacts] = {}
    for name in table_names(tx):
        statement = sql.SQL(_COUNT).format(sql.Identifier("public", name))
        row = driver(tx).execute(statement).fetchone()
        found[name] = TableFacts(*row) if row else TableFacts(0, "0")
    return found


def table_names(tx: Tx) -> list[str]:
    """Every table of ours, by name; no partitions."""
    return list(tx.execute(text(named("list_tables"))).scalars())


def structure(tx: Tx) -> list[str]:
    """Constraints, indexes, triggers that are on, functions and policies: what holds the rules, by kind and name."""
    return list(tx.execute(text(named("list_structure"))).scalars())


def roles(tx: Tx) -> list[str]:
    """Roles that grants and policies of ours name."""
    return list(tx.execute(text(named("list_roles"))).scalars())


def is_bare(tx: Tx) -> bool:
    """Whether the database holds nothing that anybody would miss: no table, or no vendor, round, signal or run."""
    known = set(table_names(tx))
    asked = [name for name in ("marketplace_vendors", "dataset_rounds", "signals", "training_runs") if name in known]
    return not any(tx.execute(text(f"SELECT EXISTS (SELECT FROM {name})")).scalar_one() for name in asked)  # noqa: S608 - names of our own


def references(tx: Tx) -> list[Row[Any]]:
    """Objects that rows need: ``key``, ``sha256`` where a row has it, and ``what`` needs it."""
    return list(tx.execute(text(named("list_references"))))


def _settle_text(tx: Tx) -> None:
    for setting in ("timezone = 'UTC'", "datestyle = 'ISO, MDY'", "bytea_output = 'hex'", "extra_float_digits = 1",
                    "intervalstyle = 'postgres'"):  # fmt: skip
        tx.execute(text(f"SET LOCAL {setting}"))

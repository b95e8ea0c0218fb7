"""A database whose ``now()`` can be moved: a sandbox's, and no other.

1. ``public.now()`` and ``public.clock_timestamp()`` add what stands in ``sandbox_clock`` to Postgres' own, and the
   database's search path has ``public`` ahead of ``pg_catalog``: defaults, triggers and every statement mean these.
   :func:`install` has to run before the migrations, because a default is bound to a function when it is made.
2. Functions that fix their own search path get the same order afterwards (:func:`adopt`).
3. A commit need not reach the disk here: a rehearsal that dies is begun again.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import psycopg
from psycopg import sql
from sqlalchemy import text

from mp_kit.server.store.embedded import Server
from mp_kit.server.store.engine import Tx

__all__ = ["adopt", "install", "move"]

_INSTALL = """
CREATE TABLE public.sandbox_clock (
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton), shift interval NOT NULL
);
GRANT SELECT ON public.sandbox_clock TO PUBLIC;
CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE sql STABLE AS
  'SELECT pg_catalog.now() OPERATOR(pg_catalog.+) shift FROM public.sandbox_clock';
CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
  'SELECT pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) shift FROM public.sandbox_clock';
"""
_ADOPT = """
DO $$
DECLARE found regprocedure;
BEGIN
  FOR found IN SELECT oid FROM pg_proc WHERE pronamespace = 'public'::regnamespace
                 AND 'search_path=public, pg_temp' = ANY(proconfig) LOOP
    EXECUTE format('ALTER ROUTINE %s SET search_path = public, pg_catalog, pg_temp', found);
  END LOOP;
END $$
"""


def install(server: Server, database: str, start: datetime) -> timedelta:
    """Gives an empty database a clock that can be moved, and sets it.

    Args:
        server: A running server.
        database: The database.
        start: What time it is there now.

    Returns:
        How far that is from the machine's time.
    """
    name = sql.Identifier(database)
    with psycopg.connect(server.url(database), port=5432, autocommit=True) as connection:
        connection.execute(_INSTALL)
        shift = start - datetime.now(start.tzinfo)
        connection.execute("INSERT INTO public.sandbox_clock (shift) VALUES (%s)", [shift])
        connection.execute(sql.SQL("ALTER DATABASE {} SET search_path = public, pg_catalog").format(name))
        connection.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(name))
    return shift


def adopt(tx: Tx) -> None:
    """Has functions with a search path of their own mean the movable clock too; call it after the migrations."""
    tx.execute(text(_ADOPT))


def move(tx: Tx, shift: timedelta) -> None:
    """Sets how far the database is from the machine's time."""
    tx.execute(text("UPDATE sandbox_clock SET shift = :shift"), {"shift": shift})

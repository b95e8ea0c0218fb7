"""Postgres: tables, queries, migrations and the embedded server."""

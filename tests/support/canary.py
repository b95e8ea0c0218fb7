"""Looks for known secrets in all that a marketplace leaves behind: files, both databases, pages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
from psycopg import sql

SHAPES = re.compile(
    rb"\bvk_[A-Za-z0-9]{8,}_[A-Za-z0-9_-]{16,}|\bsit_[A-Za-z0-9]{8,}_[A-Za-z0-9_-]{16,}|\bac_[A-Za-z0-9]{8,}_[A-Za-z0-9_-]{16,}"
    rb"|\bwhsec_[A-Za-z0-9+/]{24,}|\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{20,}"
    rb"|[?&](?:X-Amz-)?[Ss]ignature=[A-Za-z0-9%]{8}"
)
"""Our own kinds of secrets, whether somebody knows their value or not: tokens, webhooks' secrets, JWTs, signed URLs."""

_STARTS = (b"vk_", b"sit_", b"ac_", b"whsec_", b".eyJ", b"ignature=")
_LARGEST = 64 << 20
_HREF = re.compile(r'href="(/[^"#]*)"')
_ENDED = ("/marketplace/logout", "/marketplace/static/")

Found = list[str]
"""What was found and where, by the secrets' names: a failing test prints it."""


class Canary:
    """Knows the secrets by name.

    Args:
        secrets: Values by what they are.
    """

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._forms = {
            (name, form.encode()) for name, value in secrets.items() for form in {value, quote(value, safe="")} if value
        }
        short = [name for name, form in self._forms if len(form) < 12]
        assert [] == short, f"too short to be told from words: {short}"

    def sees(self, content: bytes, *, shapes: bool = True) -> set[str]:
        """Names of the secrets in some bytes, and the beginning of whatever looks like one."""
        found = {name for name, form in self._forms if form in content}
        if shapes and any(start in content for start in _STARTS):
            found |= {match[0][:8].decode() + "…" for match in SHAPES.finditer(content)}
        return found

    def in_files(self, folder: Path, *allowed: str) -> Found:
        """Over all files below a folder.

        Args:
            folder: Where.
            *allowed: Places below it, as globs, that hold secrets by their nature and for their owner alone.
        """
        found = []
        for path in sorted(folder.rglob("*")):
            place = path.relative_to(folder)
            if path.is_symlink() or not path.is_file() or any(place.match(one) for one in allowed):
                continue
            with path.open("rb") as file:
                seen = self.sees(file.read(_LARGEST))
            found += [f"{place}: {name}" for name in sorted(seen)]
        return found

    def in_database(self, url: str) -> Found:
        """Over every row of every table: texts and JSON as text, bytes as bytes."""
        found = []
        with psycopg.connect(url, autocommit=True) as connection:
            for schema, table, columns in _tables(connection):
                seen: set[str] = set().union(*map(self.sees, _rows(connection, schema, table, columns)))
                found += [f"{schema}.{table}: {name}" for name in sorted(seen)]
        return found

    def in_pages(self, client: httpx.Client, start: str, most: int) -> Found:
        """Over the pages that links lead to, as one person sees them."""
        found, seen, waiting = [], set(), [start]
        while waiting and len(seen) < most:
            path = waiting.pop(0)
            if path in seen or path.startswith(_ENDED):
                continue
            seen.add(path)
            page = client.get(path, follow_redirects=True)
            assert page.status_code < 500, path
            found += [f"{path}: {name}" for name in sorted(self.sees(page.content, shapes=False))]
            waiting += _HREF.findall(page.text)
        assert len(seen) > 5, "hardly a page was found"
        return found


def secrets_of(home: Path) -> dict[str, str]:
    """What `mp up` made for its home."""
    kept: dict[str, str] = json.loads((home / "secrets.json").read_text())
    return kept


def database_urls(home: Path) -> list[str]:
    """The marketplace's own and Prefect's, while they run."""
    own = json.loads((home / "state.json").read_text())["database_url"]
    return [own, psycopg.conninfo.make_conninfo(own, dbname="prefect")]


def _tables(connection: psycopg.Connection[Any]) -> list[tuple[str, str, list[tuple[str, str]]]]:
    found = connection.execute(
        "SELECT table_schema, table_name, array_agg(column_name::text), array_agg(data_type::text)"
        " FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)"
        " WHERE table_schema NOT IN ('pg_catalog', 'information_schema') AND table_type = 'BASE TABLE' GROUP BY 1, 2"
    ).fetchall()
    return [(schema, table, list(zip(names, types, strict=True))) for schema, table, names, types in found]


def _rows(
    connection: psycopg.Connection[Any], schema: str, table: str, columns: list[tuple[str, str]]
) -> Iterator[bytes]:
    """Each row's values, one a line."""
    as_text = sql.SQL("convert_to({}::text, 'UTF8')")
    wanted = [
        sql.Identifier(name) if kind == "bytea" else as_text.format(sql.Identifier(name)) for name, kind in columns
    ]
    query = sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(wanted), sql.Identifier(schema, table))
    for row in connection.execute(query):
        yield b"\n".join(value for value in row if value is not None)

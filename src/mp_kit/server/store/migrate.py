"""Brings a database to the newest schema; safe to call from several processes at once."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

_LOCK = 0x6D705F6B6974  # "mp_kit": one migration at a time, whoever asks


def _config(tx: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = tx
    return config


def upgrade(tx: Connection, to: str = "head") -> tuple[str | None, str]:
    """Runs the missing migrations inside the transaction; a schema that a newer release made is left as it is.

    Args:
        tx: Commits them together.
        to: The revision to stop at.

    Returns:
        The revision before and after.
    """
    tx.execute(text("SET LOCAL lock_timeout = '60s'"))
    tx.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    before = revision(tx)
    if before is not None and is_ahead(before):  # it serves this release, too
        return before, before
    command.upgrade(_config(tx), to)
    after = revision(tx)
    if after is None:
        msg = "the migrations ran and left no revision behind"
        raise RuntimeError(msg)
    return before, after


def downgrade(tx: Connection, to: str) -> None:
    """Takes migrations back, inside the transaction, down to a revision."""
    tx.execute(text("SET LOCAL lock_timeout = '60s'"))
    tx.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    command.downgrade(_config(tx), to)


def revision(tx: Connection) -> str | None:
    """The revision that the database is at; None for an empty one."""
    return MigrationContext.configure(tx).get_current_revision()


def newest() -> str:
    """The revision that this code wants."""
    head = ScriptDirectory(str(Path(__file__).parent / "migrations")).get_current_head()
    if head is None:
        msg = "no migration is packaged"
        raise RuntimeError(msg)
    return head


def is_ahead(found: str) -> bool:
    """Whether a revision is one of a later release: ours are numbers, and another program's are none of ours.

    Args:
        found: The revision of a database.
    """
    last = newest()
    return found.isdigit() and len(found) == len(last) and found > last


def known() -> tuple[str, ...]:
    """Every revision that this code has, the oldest first."""
    scripts = ScriptDirectory(str(Path(__file__).parent / "migrations")).walk_revisions()
    return tuple(reversed([script.revision for script in scripts]))

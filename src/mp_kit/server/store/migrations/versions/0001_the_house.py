"""The house as it first stood: every table of ``store/tables/`` and the guards.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    script = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    # Without parameters the driver leaves the script's % signs alone.
    op.get_bind().exec_driver_sql(script, execution_options={"no_parameters": True})


def downgrade() -> None:
    msg = "there is nothing before the first migration: restore a backup instead"
    raise RuntimeError(msg)

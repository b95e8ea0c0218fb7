"""The audit log: from where a deed was done, and what came of it.

Revision ID: 0017
Revises: 0016
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    script = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(script, execution_options={"no_parameters": True})


def downgrade() -> None:
    for name in ("outcome", "address"):
        op.execute(f"ALTER TABLE audit_log DROP COLUMN {name}")

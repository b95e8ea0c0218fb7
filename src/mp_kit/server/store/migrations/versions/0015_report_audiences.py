"""Reports: whose eyes they are for, and what they are called.

Revision ID: 0015
Revises: 0014
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    script = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(script, execution_options={"no_parameters": True})


def downgrade() -> None:
    for name in ("vendor_id", "audience", "title"):
        op.execute(f"ALTER TABLE reports DROP COLUMN {name} CASCADE")

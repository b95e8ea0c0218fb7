"""When a drop was last looked at, and a machine's bill last asked for: what waits takes turns.

Revision ID: 0022
Revises: 0021
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    script = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(script, execution_options={"no_parameters": True})


def downgrade() -> None:
    op.execute("ALTER TABLE signal_drops DROP COLUMN looked_at")
    op.execute("ALTER TABLE run_machines DROP COLUMN asked_at")

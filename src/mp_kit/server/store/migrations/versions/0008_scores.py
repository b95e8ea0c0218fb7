"""Scores of deployments by round, and running counts of what they said.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    script = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(script, execution_options={"no_parameters": True})


def downgrade() -> None:
    op.execute("DROP TRIGGER signal_batches_count ON signal_batches")
    op.execute("DROP FUNCTION note_uncounted()")
    op.drop_table("uncounted_batches")
    op.drop_table("signal_rollups")
    op.drop_table("model_scores")

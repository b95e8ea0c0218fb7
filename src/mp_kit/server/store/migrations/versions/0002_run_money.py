"""What runs cost, machine by machine, and the arrows of a run's states as a trigger.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    script = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(script, execution_options={"no_parameters": True})


def downgrade() -> None:
    op.execute("DROP TRIGGER training_runs_move ON training_runs; DROP FUNCTION keep_arrows; DROP TABLE run_machines")
    op.execute("ALTER TABLE training_runs DROP COLUMN reserved_usd")
    op.execute("ALTER TABLE marketplace_vendors DROP COLUMN monthly_ceiling_usd")

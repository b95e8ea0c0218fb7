"""The consensus by several methods, vendors' own among them, and the operator's choice.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    script = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(script, execution_options={"no_parameters": True})


def downgrade() -> None:
    for table in ("vendor_consensus", "vendor_consensus_batches", "consensus_settings"):
        op.drop_table(table)
    for column in ("late", "deployment_id", "vendor_id"):
        op.drop_column("consensus", column)

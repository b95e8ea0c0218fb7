"""What each deployment ran since when, so that nothing that was said is judged by what runs today.

Revision ID: 0020
Revises: 0019
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    script = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(script, execution_options={"no_parameters": True})


def downgrade() -> None:
    op.execute("DROP TRIGGER deployments_versioned ON deployments")
    op.execute("DROP TRIGGER deployments_reversioned ON deployments")
    op.drop_table("deployment_versions")
    op.execute("DROP FUNCTION note_deployment_version()")

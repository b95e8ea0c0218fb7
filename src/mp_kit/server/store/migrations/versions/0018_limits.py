"""Limits that all edges share; revocations told by the database itself; where a sign-in's trip began.

Revision ID: 0018
Revises: 0017
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    script = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(script, execution_options={"no_parameters": True})


def downgrade() -> None:
    op.execute("DROP TABLE rate_buckets")
    for table in ("vendor_keys", "deployment_tokens", "deployments", "marketplace_vendors"):
        op.execute(f"DROP TRIGGER {table}_told ON {table}")
    op.execute("DROP FUNCTION tell_changed_tokens()")
    op.execute("ALTER TABLE sign_in_trips DROP COLUMN address")

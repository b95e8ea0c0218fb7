"""The edge's role, which owns nothing, and the policies that show it one vendor's rows at a time.

Revision ID: 0016
Revises: 0015
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _run(Path(__file__).with_suffix(".sql"))


def downgrade() -> None:
    _run(Path(__file__).with_name("0016_walls_between_vendors_down.sql"))


def _run(script: Path) -> None:
    op.get_bind().exec_driver_sql(script.read_text(encoding="utf-8"), execution_options={"no_parameters": True})

"""Add to a registered model the report on it.

Revision 0004.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; models registered by an older build have no report until a worker loads them again."""
    op.add_column("models", sa.Column("report", sa.Text(), nullable=True))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("models", "report")

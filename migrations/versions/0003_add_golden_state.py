"""Add to a worker's sign of life whether its model answered the golden films.

Revision 0003.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; workers of an older build count as unchecked."""
    op.add_column(
        "worker_heartbeats", sa.Column("golden", sa.String(length=16), server_default="absent", nullable=False)
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_column("worker_heartbeats", "golden")

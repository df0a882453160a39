"""Let tenants take turns, and count what was finished lately: `tenants.served_at` and two indexes on jobs.

Revision 0005.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

QUEUED = sa.text("state = 'queued'")


def upgrade() -> None:
    """Nobody was served yet."""
    op.add_column("tenants", sa.Column("served_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_jobs_line",
        "jobs",
        ["tenant", "priority", "not_before", "id"],
        sqlite_where=QUEUED,
        postgresql_where=QUEUED,
    )
    op.create_index("ix_jobs_finished_at", "jobs", ["finished_at"])


def downgrade() -> None:
    """Drop all three."""
    op.drop_index("ix_jobs_finished_at", "jobs")
    op.drop_index("ix_jobs_line", "jobs")
    op.drop_column("tenants", "served_at")

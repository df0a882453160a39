"""Find the newest answer to a film whatever the database knows of its rows: an index of answered jobs alone.

Without statistics SQLite chose another index before the last one and went through all answered jobs of a tenant.

Revision 0008.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

ANSWERED = sa.text("state = 'succeeded' AND attempt > 0")


def upgrade() -> None:
    """Of those that a worker answered, newest last; copies of their results are not in it."""
    op.drop_index("ix_jobs_film", "jobs")
    op.create_index(
        "ix_jobs_answered", "jobs", ["tenant", "input_sha256", "id"], sqlite_where=ANSWERED, postgresql_where=ANSWERED
    )


def downgrade() -> None:
    """Back to the one before."""
    op.drop_index("ix_jobs_answered", "jobs")
    op.create_index("ix_jobs_film", "jobs", ["tenant", "input_sha256"])

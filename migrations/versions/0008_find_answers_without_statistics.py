"""Find answers, expiries and unrung films whatever the database knows of its rows: an index of those jobs alone each.

Without statistics SQLite chose another index than that on films, and went through all answered jobs of a tenant.

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
EXPIRES = sa.text("state = 'queued' AND expires_at IS NOT NULL")
QUEUED = sa.text("state = 'queued'")


def upgrade() -> None:
    """Copies of results are not among the answered: none is copied."""
    op.drop_index("ix_jobs_film", "jobs")
    op.create_index(
        "ix_jobs_answered", "jobs", ["tenant", "input_sha256", "id"], sqlite_where=ANSWERED, postgresql_where=ANSWERED
    )
    op.create_index("ix_jobs_expiry", "jobs", ["expires_at"], sqlite_where=EXPIRES, postgresql_where=EXPIRES)
    op.create_index("ix_jobs_unrung", "jobs", ["last_rung_at"], sqlite_where=QUEUED, postgresql_where=QUEUED)


def downgrade() -> None:
    """Back to the one before."""
    for name in ("ix_jobs_unrung", "ix_jobs_expiry", "ix_jobs_answered"):
        op.drop_index(name, "jobs")
    op.create_index("ix_jobs_film", "jobs", ["tenant", "input_sha256"])

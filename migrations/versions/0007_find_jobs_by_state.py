"""Find and count a tenant's jobs of one state, however many it has of the others: an index on jobs.

Revision 0007.
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Newest first within a state, as lists show them."""
    op.create_index("ix_jobs_state", "jobs", ["tenant", "state", "id"])


def downgrade() -> None:
    """Drop it."""
    op.drop_index("ix_jobs_state", "jobs")

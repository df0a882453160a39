"""Find a tenant's earlier jobs of the same film: an index on jobs.

Revision 0006.
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Of every job, whatever its state: the index is never rewritten."""
    op.create_index("ix_jobs_film", "jobs", ["tenant", "input_sha256"])


def downgrade() -> None:
    """Drop it."""
    op.drop_index("ix_jobs_film", "jobs")

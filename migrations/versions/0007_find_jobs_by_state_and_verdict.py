"""Find a tenant's jobs of one state or one verdict, however many it has of the others: two indexes, `results.tenant`.

Revision 0007.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

OF_ITS_JOB = "UPDATE results SET tenant = (SELECT jobs.tenant FROM jobs WHERE jobs.id = results.job_id)"


def upgrade() -> None:
    """Newest first within a state or verdict, as lists show them; a result is its job's tenant's."""
    op.add_column("results", sa.Column("tenant", sa.String(64), nullable=False, server_default=""))
    op.execute(OF_ITS_JOB)
    op.create_index("ix_results_verdict", "results", ["tenant", "verdict", "job_id"])
    op.create_index("ix_jobs_state", "jobs", ["tenant", "state", "id"])


def downgrade() -> None:
    """Drop all three."""
    op.drop_index("ix_jobs_state", "jobs")
    op.drop_index("ix_results_verdict", "results")
    op.drop_column("results", "tenant")

"""Which jobs were deleted, so that who asks for one learns that it was.

Revision 0010.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """None was yet."""
    op.create_table(
        "deleted_jobs",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_deleted_jobs"),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_deleted_jobs_tenant_tenants"),
    )


def downgrade() -> None:
    """Deleted jobs are unknown ones then."""
    op.drop_table("deleted_jobs")

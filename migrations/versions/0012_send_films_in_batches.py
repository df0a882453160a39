"""Films that are sent together: batches, and which of them a job was sent in.

No foreign key from jobs: SQLite could not take it away again without copying the table, and no batch is ever deleted.
Revision 0012.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

IN_ONE = sa.text("batch_id IS NOT NULL")


def upgrade() -> None:
    """Jobs that are there are in none, and so in no line of the index."""
    op.create_table(
        "batches",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("owner", sa.String(32), nullable=False),
        sa.Column("idempotency_key", sa.String(128), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_batches"),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_batches_tenant_tenants"),
        sa.UniqueConstraint("tenant", "idempotency_key", name="uq_batches_tenant_idempotency_key"),
    )
    op.add_column("jobs", sa.Column("batch_id", sa.String(36), nullable=True))
    op.create_index("ix_jobs_batch", "jobs", ["tenant", "batch_id", "id"], sqlite_where=IN_ONE, postgresql_where=IN_ONE)


def downgrade() -> None:
    """Jobs stay; that they were sent together is forgotten, and `plainfilm audit verify` of a later upgrade says so."""
    op.drop_index("ix_jobs_batch", "jobs")
    op.drop_column("jobs", "batch_id")
    op.drop_table("batches")

"""What readers see in films that were answered.

Revision 0013.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

LABELS = "label IN ('covid19', 'normal', 'viral_pneumonia', 'other_finding', 'not_assessable')"


def upgrade() -> None:
    """Nobody has said anything yet."""
    op.create_table(
        "reviews",
        sa.Column("job_id", sa.String(36), nullable=False),
        sa.Column("reader", sa.String(32), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("label", sa.String(32), nullable=False),
        sa.Column("verdict", sa.String(32), nullable=False),
        sa.Column("model_sha256", sa.String(64), nullable=False),
        sa.Column("result_sha256", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "reader", name="pk_reviews"),
        sa.ForeignKeyConstraint(["job_id"], ["results.job_id"], name="fk_reviews_job_id_results"),
        sa.ForeignKeyConstraint(["model_sha256"], ["models.weights_sha256"], name="fk_reviews_model_sha256_models"),
        sa.CheckConstraint(LABELS, name=op.f("ck_reviews_label")),
    )
    op.create_index("ix_reviews_model", "reviews", ["tenant", "model_sha256", "verdict", "label", "job_id"])


def downgrade() -> None:
    """The audit trail still has them."""
    op.drop_table("reviews")

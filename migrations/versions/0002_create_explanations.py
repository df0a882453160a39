"""Create the table of explanations that are asked for.

Revision 0002.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table and its two indexes."""
    op.create_table(
        "explanations",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("owner", sa.String(length=32), nullable=False),
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("method", sa.String(length=32), nullable=False),
        sa.Column("label", sa.String(length=32), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("model_sha256", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), nullable=False),
        sa.Column("max_attempts", sa.SmallInteger(), nullable=False),
        sa.Column("lease_owner", sa.String(length=128), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_rung_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error_code", sa.String(length=64), nullable=True),
        sa.Column("error_detail", sa.String(length=500), nullable=True),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("parameters", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("values", sa.LargeBinary(), nullable=True),
        sa.Column("values_sha256", sa.String(length=64), nullable=True),
        sa.Column("quality", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("device", sa.String(length=64), nullable=True),
        sa.Column("code_version", sa.String(length=32), nullable=True),
        sa.Column("worker", sa.String(length=128), nullable=True),
        sa.Column("duration_ms", sa.Integer(), nullable=True),
        sa.CheckConstraint("(state = 'done') = (values_sha256 IS NOT NULL)", name=op.f("ck_explanations_map")),
        sa.CheckConstraint("(state = 'running') = (lease_until IS NOT NULL)", name=op.f("ck_explanations_lease")),
        sa.CheckConstraint("attempt >= 0 AND attempt <= max_attempts", name=op.f("ck_explanations_attempt")),
        sa.CheckConstraint(
            "method IN ('grad_cam', 'grad_cam_plus_plus', 'smooth_grad', 'integrated_gradients', 'gradient')",
            name=op.f("ck_explanations_method"),
        ),
        sa.CheckConstraint("state IN ('queued', 'running', 'done', 'failed')", name=op.f("ck_explanations_state")),
        sa.ForeignKeyConstraint(["job_id"], ["results.job_id"], name="fk_explanations_job_id_results"),
        sa.ForeignKeyConstraint(
            ["model_sha256"], ["models.weights_sha256"], name="fk_explanations_model_sha256_models"
        ),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_explanations_tenant_tenants"),
        sa.PrimaryKeyConstraint("id", name="pk_explanations"),
        sa.UniqueConstraint("job_id", "method", name="uq_explanations_job_id_method"),
    )
    for name, columns, state in (
        ("ix_explanations_due", ["not_before", "id"], "queued"),
        ("ix_explanations_leases", ["lease_until"], "running"),
    ):
        where = sa.text(f"state = '{state}'")
        op.create_index(name, "explanations", columns, unique=False, sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    """Drop it."""
    op.drop_index("ix_explanations_leases", "explanations")
    op.drop_index("ix_explanations_due", "explanations")
    op.drop_table("explanations")

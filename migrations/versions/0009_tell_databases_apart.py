"""A random id of this database, which its films' folder repeats; `marked_at` is null until a folder does.

Revision 0009.
"""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One row, and no second one."""
    identity = op.create_table(
        "database_identity",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("marked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_database_identity"),
    )
    op.bulk_insert(identity, [{"id": uuid.uuid4().hex, "marked_at": None}])


def downgrade() -> None:
    """A marker in the films' folder stays, and is of no database then."""
    op.drop_table("database_identity")

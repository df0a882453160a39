"""Results say how probable a finding outside the labels is; on SQLite no event of the audit can be replaced.

There `INSERT OR REPLACE` takes a row's place without a trigger on deletes. Revision 0011.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

TRIGGER = """CREATE TRIGGER audit_events_no_replace BEFORE INSERT ON audit_events
    WHEN EXISTS (SELECT 1 FROM audit_events WHERE stream = NEW.stream AND (seq = NEW.seq OR prev_hash = NEW.prev_hash))
    BEGIN SELECT RAISE(ABORT, 'audit_events is insert-only'); END"""


def upgrade() -> None:
    """Of results that are there it is not known."""
    op.add_column("results", sa.Column("other_probability", sa.Double(), nullable=True))
    if op.get_bind().dialect.name == "sqlite":
        op.execute(TRIGGER)


def downgrade() -> None:
    """Drop both."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER audit_events_no_replace")
    op.drop_column("results", "other_probability")

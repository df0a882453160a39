"""On SQLite no event of the audit can be replaced by its row's number either.

`INSERT OR REPLACE` that names the `rowid` of an event takes its place under another stream. Revision 0014.
"""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

BY_KEYS = "stream = NEW.stream AND (seq = NEW.seq OR prev_hash = NEW.prev_hash)"
BY_ROW = f"({BY_KEYS}) OR rowid = NEW.rowid"
"""Where an insert names no row, `NEW.rowid` is -1, which no event has."""


def upgrade() -> None:
    """SQLite's trigger looks at the row as well; PostgreSQL knows no such insert."""
    _refuse(BY_ROW)


def downgrade() -> None:
    """As revision 0011 left it."""
    _refuse(BY_KEYS)


def _refuse(taken: str) -> None:
    if op.get_bind().dialect.name != "sqlite":
        return
    op.execute("DROP TRIGGER audit_events_no_replace")
    there_is_one = f"EXISTS (SELECT 1 FROM audit_events WHERE {taken})"  # noqa: S608  our own words
    op.execute(
        f"CREATE TRIGGER audit_events_no_replace BEFORE INSERT ON audit_events WHEN {there_is_one}"
        " BEGIN SELECT RAISE(ABORT, 'audit_events is insert-only'); END"
    )

"""Claims go by the index of their line, whatever PostgreSQL believes of a queue that was empty when it last looked.

Each index of what is queued has a condition now that only the statements say which are to go by it. And PostgreSQL
looks at `jobs` after 2,000 changes, not after a tenth of all that was ever kept.

Revision 0016.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

QUEUED = "state = 'queued'"
INDEXES = {
    "ix_jobs_line": (["tenant", "priority", "not_before", "id"], "tenant <> ''"),
    "ix_jobs_due": (["priority", "not_before", "id"], "id <> ''"),
    "ix_jobs_unrung": (["last_rung_at"], "last_rung_at IS NOT NULL"),
}
LOOKS = "autovacuum_analyze_scale_factor", "autovacuum_analyze_threshold"


def upgrade() -> None:
    """Nothing on SQLite, which keeps no statistics that go stale."""
    if op.get_bind().dialect.name == "sqlite":
        return
    for name, (columns, only) in INDEXES.items():
        op.drop_index(name, "jobs")
        op.create_index(name, "jobs", columns, postgresql_where=sa.text(f"{QUEUED} AND {only}"))
    op.execute(f"ALTER TABLE jobs SET ({LOOKS[0]} = 0, {LOOKS[1]} = 2000)")


def downgrade() -> None:
    """Any statement about what is queued may take them again."""
    if op.get_bind().dialect.name == "sqlite":
        return
    for name, (columns, _) in INDEXES.items():
        op.drop_index(name, "jobs")
        op.create_index(name, "jobs", columns, postgresql_where=sa.text(QUEUED))
    op.execute(f"ALTER TABLE jobs RESET ({', '.join(LOOKS)})")

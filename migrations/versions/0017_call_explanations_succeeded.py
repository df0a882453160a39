"""An explanation that was made has the state `succeeded`, as a job has, instead of `done`.

Revision 0017.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

STATES = "state IN ('queued', 'running', '{}', 'failed')"
MAP = "(state = '{}') = (values_sha256 IS NOT NULL)"


def upgrade() -> None:
    """Workers of an older build cannot finish an explanation from now on; a newer one computes it again."""
    _rename("done", "succeeded")


def downgrade() -> None:
    """Call them `done` again."""
    _rename("succeeded", "done")


def _rename(old: str, new: str) -> None:
    if op.get_bind().dialect.name == "sqlite":
        _copy_table(old, new)
        return
    checks = {"ck_explanations_state": STATES.format(new), "ck_explanations_map": MAP.format(new)}
    for name in checks:
        op.drop_constraint(op.f(name), "explanations", type_="check")
    explanations = sa.table("explanations", sa.column("state", sa.String))
    op.execute(explanations.update().where(explanations.c.state == old).values(state=new))
    for name, condition in checks.items():
        op.create_check_constraint(op.f(name), "explanations", condition)


def _copy_table(old: str, new: str) -> None:
    """Copy the rows to a table with the other conditions, since SQLite cannot change a table's conditions."""
    connection = op.get_bind()
    table, *indexes = connection.scalars(
        sa.text("SELECT sql FROM sqlite_master WHERE tbl_name = 'explanations' AND sql IS NOT NULL ORDER BY type DESC")
    ).all()
    names = [column["name"] for column in sa.inspect(connection).get_columns("explanations")]
    values = ", ".join(f"replace(state, '{old}', '{new}')" if name == "state" else f'"{name}"' for name in names)
    run = connection.exec_driver_sql
    run(table.replace(f"'{old}'", f"'{new}'").replace("explanations", "explanations_new", 1))
    run(f"INSERT INTO explanations_new SELECT {values} FROM explanations")  # noqa: S608  words of this file alone
    op.drop_table("explanations")
    op.rename_table("explanations_new", "explanations")
    for index in indexes:
        run(index)

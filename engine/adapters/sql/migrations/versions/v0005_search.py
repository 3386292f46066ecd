"""What searches look for: tasks by type and name, workflows by name and status.

Revision ID: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

NAMES = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_BY_NAME_ONLY = sa.text("def_name <> task_type")


def upgrade() -> None:
    # With defaults, so that a server of the version before may go on writing.
    for column in ("task_type", "def_name"):
        op.add_column("task", sa.Column(column, NAMES, nullable=False, server_default=""))
    if op.get_context().dialect.name == "postgresql":
        member = "convert_from(head, 'UTF8')::json ->> '{}'"
    else:
        member = "json_extract(CAST(head AS TEXT), '$.{}')"
    names = f"task_type = {member.format('taskType')}, def_name = {member.format('taskDefName')}"
    op.execute(f"UPDATE task SET {names}")  # noqa: S608 - member names of ours
    op.create_index("ix_task_type", "task", ["task_type", "task_id"], unique=False)
    op.create_index(
        "ix_task_def_name",
        "task",
        ["def_name", "task_id"],
        unique=False,
        sqlite_where=_BY_NAME_ONLY,
        postgresql_where=_BY_NAME_ONLY,
    )
    op.create_index("ix_workflow_name_status", "workflow", ["name", "status", "create_ms"], unique=False)

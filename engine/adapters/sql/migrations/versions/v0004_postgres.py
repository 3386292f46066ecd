"""What only PostgreSQL needs: order by code point, bytes where text may hold anything, room for updates.

Revision ID: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TEXTS = {
    "definition": ("hash",),
    "delivery": ("def_name",),
    "document": ("kind", "name"),
    "event_execution": ("workflow_id", "event_id", "task_id", "type"),
    "outbox": ("message_id", "kind", "target_id"),
    "poll_data": ("task_type", "domain", "worker_id"),
    "queue": ("task_id", "workflow_id", "queue", "worker_id", "def_name", "lane"),
    "slot": ("workflow_id", "key"),
    "task": ("task_id", "workflow_id", "ref", "base_ref", "status"),
    "task_def": ("name",),
    "task_log": ("task_id",),
    "timer": ("workflow_id", "key", "kind"),
    "workflow": (
        "workflow_id",
        "name",
        "status",
        "correlation_id",
        "parent_workflow_id",
        "reason",
    ),
    "workflow_def": ("name",),
    "workflow_payload": ("workflow_id",),
}
# Documents are kept as they are: compressing what is read at every step costs more than it saves.
_DOCUMENTS = {
    "workflow": ("header",),
    "task": ("head", "state", "links", "output"),
    "event_execution": ("payload",),
    "outbox": ("body",),
    "workflow_payload": ("input", "output"),
}
# Rows that are rewritten at every step find room in their own page and leave the indexes alone.
_FILL_PERCENT = {"workflow": 60, "task": 70, "workflow_payload": 85}
# Tables whose rows come and go are swept early.
_SWEPT = ("queue", "outbox", "timer", "slot", "delivery")


def upgrade() -> None:
    if op.get_context().dialect.name != "postgresql":
        return
    for table, columns in _TEXTS.items():
        changes = ", ".join(f'ALTER COLUMN "{name}" TYPE text COLLATE "C"' for name in columns)
        op.execute(sa.text(f"ALTER TABLE {table} {changes}"))
    op.execute(sa.text("ALTER TABLE task_log ALTER COLUMN line TYPE bytea USING convert_to(line, 'UTF8')"))
    for table, columns in _DOCUMENTS.items():
        changes = ", ".join(f"ALTER COLUMN {name} SET STORAGE EXTERNAL" for name in columns)
        op.execute(sa.text(f"ALTER TABLE {table} {changes}"))
    for table, percent in _FILL_PERCENT.items():
        op.execute(sa.text(f"ALTER TABLE {table} SET (fillfactor = {percent})"))
    for table in _SWEPT:
        op.execute(
            sa.text(
                f"ALTER TABLE {table} SET (autovacuum_vacuum_scale_factor = 0.02, "
                "autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0)"
            )
        )
    # It would be rewritten whenever a task ends; a workflow's open tasks are found by its own index.
    op.drop_index("ix_task_open", table_name="task")

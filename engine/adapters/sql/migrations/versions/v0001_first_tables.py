"""The first tables.

Revision ID: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _definition()
    _event_execution()
    _outbox()
    _poll_data()
    _queue()
    _task()
    _task_def()
    _task_log()
    _timer()
    _workflow()
    _workflow_def()
    _workflow_payload()


def _definition() -> None:
    op.create_table(
        "definition",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name="pk_definition"),
    )


def _event_execution() -> None:
    op.create_table(
        "event_execution",
        sa.Column("workflow_id", sa.Text(), nullable=False),
        sa.Column("row_version", WHOLE, nullable=False),
        sa.Column("place", WHOLE, nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("task_id", sa.Text(), nullable=True),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("at_ms", WHOLE, nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("workflow_id", "row_version", "place", name="pk_event_execution"),
        sqlite_with_rowid=False,
    )


def _outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("target_id", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("message_id", name="pk_outbox"),
        sqlite_with_rowid=False,
    )


def _poll_data() -> None:
    op.create_table(
        "poll_data",
        sa.Column("task_type", sa.Text(), nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("worker_id", sa.Text(), nullable=False),
        sa.Column("at_ms", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("task_type", "domain", "worker_id", name="pk_poll_data"),
        sqlite_with_rowid=False,
    )


def _queue() -> None:
    op.create_table(
        "queue",
        sa.Column("entry_id", WHOLE, nullable=False),
        sa.Column("task_id", sa.Text(), nullable=False),
        sa.Column("workflow_id", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("priority", WHOLE, nullable=False),
        sa.Column("due_ms", WHOLE, nullable=False),
        sa.Column("response_ms", WHOLE, nullable=False),
        sa.Column("run_ms", WHOLE, nullable=False),
        sa.Column("poll_by_ms", WHOLE, nullable=False),
        sa.Column("total_by_ms", WHOLE, nullable=False),
        sa.Column("held", WHOLE, nullable=False),
        sa.Column("worker_id", sa.Text(), nullable=False),
        sa.Column("start_ms", WHOLE, nullable=False),
        sa.Column("update_ms", WHOLE, nullable=False),
        sa.Column("poll_count", WHOLE, nullable=False),
        sa.Column("progress", sa.LargeBinary(), nullable=True),
        sa.Column("deadline_ms", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("entry_id", name="pk_queue"),
        sa.UniqueConstraint("task_id", name="uq_queue_task_id"),
    )
    op.create_index(
        "ix_queue_claim",
        "queue",
        ["queue", sa.literal_column("priority DESC"), "due_ms", "entry_id"],
        unique=False,
        sqlite_where=sa.text("held = 0"),
        postgresql_where=sa.text("held = 0"),
    )
    op.create_index(
        "ix_queue_deadline",
        "queue",
        ["deadline_ms"],
        unique=False,
        sqlite_where=sa.text("deadline_ms > 0"),
        postgresql_where=sa.text("deadline_ms > 0"),
    )
    op.create_index("ix_queue_workflow_id", "queue", ["workflow_id"], unique=False)


def _task() -> None:
    op.create_table(
        "task",
        sa.Column("task_id", sa.Text(), nullable=False),
        sa.Column("workflow_id", sa.Text(), nullable=False),
        sa.Column("seq", WHOLE, nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("retry_count", WHOLE, nullable=False),
        sa.Column("base_ref", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("open", WHOLE, nullable=False),
        sa.Column("head", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.Column("links", sa.LargeBinary(), nullable=False),
        sa.Column("output", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("task_id", name="pk_task"),
        sa.UniqueConstraint("workflow_id", "ref", "retry_count", name="uq_task_workflow_id_ref_retry_count"),
    )
    op.create_index("ix_task_base_ref", "task", ["workflow_id", "base_ref", "seq"], unique=False)
    op.create_index(
        "ix_task_open",
        "task",
        ["workflow_id", "seq"],
        unique=False,
        sqlite_where=sa.text("open = 1"),
        postgresql_where=sa.text("open = 1"),
    )
    op.create_index("ix_task_seq", "task", ["workflow_id", "seq"], unique=False)


def _task_def() -> None:
    op.create_table(
        "task_def",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_task_def"),
    )


def _task_log() -> None:
    op.create_table(
        "task_log",
        sa.Column("log_id", WHOLE, nullable=False),
        sa.Column("task_id", sa.Text(), nullable=False),
        sa.Column("created_ms", WHOLE, nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("log_id", name="pk_task_log"),
    )
    op.create_index("ix_task_log_task_id", "task_log", ["task_id"], unique=False)


def _timer() -> None:
    op.create_table(
        "timer",
        sa.Column("workflow_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("due_ms", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("workflow_id", "key", name="pk_timer"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_timer_due_ms", "timer", ["due_ms"], unique=False)


def _workflow() -> None:
    op.create_table(
        "workflow",
        sa.Column("workflow_id", sa.Text(), nullable=False),
        sa.Column("row_version", WHOLE, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", WHOLE, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("correlation_id", sa.Text(), nullable=False),
        sa.Column("parent_workflow_id", sa.Text(), nullable=False),
        sa.Column("priority", WHOLE, nullable=False),
        sa.Column("create_ms", WHOLE, nullable=False),
        sa.Column("update_ms", WHOLE, nullable=False),
        sa.Column("end_ms", WHOLE, nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("header", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("workflow_id", name="pk_workflow"),
    )
    op.create_index("ix_workflow_correlation_id", "workflow", ["correlation_id"], unique=False)
    op.create_index("ix_workflow_create_ms", "workflow", ["create_ms"], unique=False)
    op.create_index("ix_workflow_name", "workflow", ["name", "create_ms"], unique=False)
    op.create_index("ix_workflow_parent_workflow_id", "workflow", ["parent_workflow_id"], unique=False)
    op.create_index("ix_workflow_status", "workflow", ["status", "create_ms"], unique=False)


def _workflow_def() -> None:
    op.create_table(
        "workflow_def",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", WHOLE, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", "version", name="pk_workflow_def"),
    )


def _workflow_payload() -> None:
    op.create_table(
        "workflow_payload",
        sa.Column("workflow_id", sa.Text(), nullable=False),
        sa.Column("input", sa.LargeBinary(), nullable=False),
        sa.Column("output", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("workflow_id", name="pk_workflow_payload"),
    )

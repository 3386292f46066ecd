"""Lanes of queues, what limits are counted from, slots of limited workflows.

Revision ID: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _queue()
    _delivery()
    _slot()


def _queue() -> None:
    # With defaults, so that a server of the version before may go on writing.
    op.add_column("queue", sa.Column("def_name", sa.Text(), nullable=False, server_default=""))
    op.add_column("queue", sa.Column("lane", sa.Text(), nullable=False, server_default=""))
    op.execute("UPDATE queue SET def_name = queue WHERE queue NOT LIKE '%:%'")
    op.drop_index("ix_queue_claim", table_name="queue")
    op.create_index(
        "ix_queue_claim",
        "queue",
        ["queue", "lane", sa.literal_column("priority DESC"), "due_ms", "entry_id"],
        unique=False,
        sqlite_where=sa.text("held = 0"),
        postgresql_where=sa.text("held = 0"),
    )
    op.create_index(
        "ix_queue_held",
        "queue",
        ["def_name"],
        unique=False,
        sqlite_where=sa.text("held = 1"),
        postgresql_where=sa.text("held = 1"),
    )


def _delivery() -> None:
    op.create_table(
        "delivery",
        sa.Column("delivery_id", WHOLE, nullable=False),
        sa.Column("def_name", sa.Text(), nullable=False),
        sa.Column("at_ms", WHOLE, nullable=False),
        sa.Column("tasks", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("delivery_id", name="pk_delivery"),
    )
    op.create_index("ix_delivery_def_name_at_ms", "delivery", ["def_name", "at_ms"], unique=False)


def _slot() -> None:
    op.create_table(
        "slot",
        sa.Column("slot_id", WHOLE, nullable=False),
        sa.Column("workflow_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("held", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("slot_id", name="pk_slot"),
        sa.UniqueConstraint("workflow_id", name="uq_slot_workflow_id"),
    )
    op.create_index(
        "ix_slot_held",
        "slot",
        ["key"],
        unique=False,
        sqlite_where=sa.text("held = 1"),
        postgresql_where=sa.text("held = 1"),
    )
    op.create_index(
        "ix_slot_waiting",
        "slot",
        ["key", "slot_id"],
        unique=False,
        sqlite_where=sa.text("held = 0"),
        postgresql_where=sa.text("held = 0"),
    )

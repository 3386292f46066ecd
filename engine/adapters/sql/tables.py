"""The tables of every SQL store, as SQLAlchemy sees them.

The hot statements are written by hand for each database (sqlite_writer.py); search, metadata and migrations
go through these. Documents are the bytes that go over the wire. Columns beside a document repeat what is
searched or ordered by.

A workflow's input and output stand apart from its header, because every step rewrites the header row and an
SQLite row is rewritten whole. `workflow.correlation_id` and `parent_workflow_id` are '' where the header has
none, so that `=` and `!=` need no third case.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

METADATA = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)


# SQLite's INTEGER has 64 bits and, as a primary key, is the row id itself.
WHOLE = BigInteger().with_variant(Integer(), "sqlite")


def _text(name: str, *, key: bool = False) -> Column[str]:
    return Column(name, Text, primary_key=key, nullable=False)


def _number(name: str, *, key: bool = False) -> Column[int]:
    return Column(name, WHOLE, primary_key=key, nullable=False)


def _bytes(name: str, *, nullable: bool = False) -> Column[bytes]:
    return Column(name, LargeBinary, nullable=nullable)


workflow_def = Table(
    "workflow_def", METADATA, _text("name", key=True), _number("version", key=True), _bytes("body")
)
task_def = Table("task_def", METADATA, _text("name", key=True), _bytes("body"))
definition = Table("definition", METADATA, _text("hash", key=True), _bytes("body"))
document = Table(
    "document",
    METADATA,
    _text("kind", key=True),
    _text("name", key=True),
    _number("revision"),
    _number("at_ms"),
    _bytes("body"),
    sqlite_with_rowid=False,
)

workflow = Table(
    "workflow",
    METADATA,
    _text("workflow_id", key=True),
    _number("row_version"),
    _text("name"),
    _number("version"),
    _text("status"),
    _text("correlation_id"),
    _text("parent_workflow_id"),
    _number("priority"),
    _number("create_ms"),
    _number("update_ms"),
    _number("end_ms"),
    Column("reason", Text),
    _bytes("header"),
    Index("ix_workflow_create_ms", "create_ms"),
    Index("ix_workflow_status", "status", "create_ms"),
    Index("ix_workflow_name", "name", "create_ms"),
    Index("ix_workflow_name_status", "name", "status", "create_ms"),
    Index("ix_workflow_correlation_id", "correlation_id"),
    Index("ix_workflow_parent_workflow_id", "parent_workflow_id"),
)
workflow_payload = Table(
    "workflow_payload", METADATA, _text("workflow_id", key=True), _bytes("input"), _bytes("output")
)

# (workflow, ref, retry) is unique: one attempt is never scheduled twice, whoever decided it.
task = Table(
    "task",
    METADATA,
    _text("task_id", key=True),
    _text("workflow_id"),
    _number("seq"),
    _text("ref"),
    _number("retry_count"),
    _text("base_ref"),
    _text("status"),
    _number("open"),
    _bytes("head"),
    _bytes("state"),
    _bytes("links"),
    _bytes("output"),
    Column("task_type", Text, nullable=False, server_default=""),
    Column("def_name", Text, nullable=False, server_default=""),
    UniqueConstraint("workflow_id", "ref", "retry_count"),
    # Ids sort by time, so these give the newest of a type first. A worker's task has its name as its type and
    # needs one entry only; the search asks accordingly.
    Index("ix_task_type", "task_type", "task_id"),
    Index(
        "ix_task_def_name",
        "def_name",
        "task_id",
        sqlite_where=text("def_name <> task_type"),
        postgresql_where=text("def_name <> task_type"),
    ),
    Index("ix_task_seq", "workflow_id", "seq"),
    Index("ix_task_base_ref", "workflow_id", "base_ref", "seq"),
    Index(
        "ix_task_open", "workflow_id", "seq", sqlite_where=text("open = 1"), postgresql_where=text("open = 1")
    ),
)
task_log = Table(
    "task_log",
    METADATA,
    Column("log_id", WHOLE, primary_key=True),
    _text("task_id"),
    _number("created_ms"),
    _text("line"),
    Index("ix_task_log_task_id", "task_id"),
)

# entry_id is the age among equals: a put-back entry gets a new one.
queue = Table(
    "queue",
    METADATA,
    Column("entry_id", WHOLE, primary_key=True),
    _text("task_id"),
    _text("workflow_id"),
    _text("queue"),
    _number("priority"),
    _number("due_ms"),
    _number("response_ms"),
    _number("run_ms"),
    _number("poll_by_ms"),
    _number("total_by_ms"),
    _number("held"),
    _text("worker_id"),
    _number("start_ms"),
    _number("update_ms"),
    _number("poll_count"),
    _bytes("progress", nullable=True),
    _number("deadline_ms"),
    Column("def_name", Text, nullable=False, server_default=""),
    Column("lane", Text, nullable=False, server_default=""),
    UniqueConstraint("task_id"),
    Index("ix_queue_workflow_id", "workflow_id"),
)
Index(
    "ix_queue_claim",
    queue.c.queue,
    queue.c.lane,
    queue.c.priority.desc(),
    queue.c.due_ms,
    queue.c.entry_id,
    sqlite_where=text("held = 0"),
    postgresql_where=text("held = 0"),
)
Index(
    "ix_queue_held",
    queue.c.def_name,
    sqlite_where=text("held = 1"),
    postgresql_where=text("held = 1"),
)
Index(
    "ix_queue_deadline",
    queue.c.deadline_ms,
    sqlite_where=text("deadline_ms > 0"),
    postgresql_where=text("deadline_ms > 0"),
)

# How many tasks of a rate-limited definition one claim handed out; rows older than the window are dropped.
delivery = Table(
    "delivery",
    METADATA,
    Column("delivery_id", WHOLE, primary_key=True),
    _text("def_name"),
    _number("at_ms"),
    _number("tasks"),
    Index("ix_delivery_def_name_at_ms", "def_name", "at_ms"),
)
# A limited workflow that runs (held) or waits; slot_id is the order of waiting.
slot = Table(
    "slot",
    METADATA,
    Column("slot_id", WHOLE, primary_key=True),
    _text("workflow_id"),
    _text("key"),
    _number("held"),
    UniqueConstraint("workflow_id"),
)
Index("ix_slot_held", slot.c.key, sqlite_where=text("held = 1"), postgresql_where=text("held = 1"))
Index(
    "ix_slot_waiting",
    slot.c.key,
    slot.c.slot_id,
    sqlite_where=text("held = 0"),
    postgresql_where=text("held = 0"),
)

timer = Table(
    "timer",
    METADATA,
    _text("workflow_id", key=True),
    _text("key", key=True),
    _text("kind"),
    _number("due_ms"),
    Index("ix_timer_due_ms", "due_ms"),
    sqlite_with_rowid=False,
)
outbox = Table(
    "outbox",
    METADATA,
    _text("message_id", key=True),
    _text("kind"),
    _text("target_id"),
    _bytes("body"),
    sqlite_with_rowid=False,
)
# Decision order is the row version the event led to, then its place in that step: no sequence to share.
event_execution = Table(
    "event_execution",
    METADATA,
    _text("workflow_id", key=True),
    _number("row_version", key=True),
    _number("place", key=True),
    _text("event_id"),
    Column("task_id", Text),
    _text("type"),
    _number("at_ms"),
    _bytes("payload"),
    sqlite_with_rowid=False,
)
poll_data = Table(
    "poll_data",
    METADATA,
    _text("task_type", key=True),
    _text("domain", key=True),
    _text("worker_id", key=True),
    _number("at_ms"),
    sqlite_with_rowid=False,
)

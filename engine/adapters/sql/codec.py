"""Rows to records and back, for every SQL store. A row is a tuple in the order of the column lists here."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from engine.core.records import (
    Header,
    HistoryRow,
    Lease,
    Message,
    QueueEntry,
    Task,
    TaskHead,
    TaskLinks,
    TaskState,
    Timer,
)

Row = tuple[Any, ...]

TASK_COLUMNS = ("head", "state", "links", "output")
NEW_TASK_COLUMNS = (
    "task_id",
    "workflow_id",
    "seq",
    "ref",
    "retry_count",
    "base_ref",
    "status",
    "open",
    *TASK_COLUMNS,
    "task_type",
    "def_name",
)
QUEUE_COLUMNS = (
    "task_id",
    "workflow_id",
    "queue",
    "priority",
    "due_ms",
    "response_ms",
    "run_ms",
    "poll_by_ms",
    "total_by_ms",
    "held",
    "worker_id",
    "start_ms",
    "update_ms",
    "poll_count",
    "progress",
    "def_name",
    "lane",
)


class _StoredLinks(Struct, kw_only=True):
    """TaskLinks as they are read: msgspec reads an object into `Raw | UnsetType`, not into `Raw | None`."""

    base_ref: str = ""
    in_def: bool = True
    loop: str | None = None
    suffix: str = ""
    joins: tuple[str, ...] = ()
    workflow_task: Raw | UnsetType = UNSET
    first_scheduled_ms: int = 0
    wait_until_ms: int = 0


_encode = msgspec.json.Encoder().encode
decode_header = msgspec.json.Decoder(Header).decode
_decode_head = msgspec.json.Decoder(TaskHead).decode
_decode_state = msgspec.json.Decoder(TaskState).decode
_decode_links = msgspec.json.Decoder(_StoredLinks).decode


def header_columns(header: Header) -> Row:
    """The indexed columns: name, version, status, correlation_id, parent_workflow_id, create_ms."""
    return (
        header.name,
        header.version,
        header.status.value,
        header.correlation_id or "",
        header.parent_workflow_id or "",
        header.create_ms,
    )


def header_values(header: Header) -> Row:
    """What changes at every step, none of it indexed: priority, update_ms, end_ms, reason, header."""
    return (header.priority, header.update_ms, header.end_ms, header.reason, _encode(header))


def new_task_row(task: Task) -> Row:
    """NEW_TASK_COLUMNS of a task."""
    head = task.head
    return (
        head.task_id,
        head.workflow_instance_id,
        head.seq,
        head.reference_task_name,
        head.retry_count,
        task.links.base_ref,
        task.state.status.value,
        int(task.open),
        _encode(head),
        _encode(task.state),
        _encode(task.links),
        bytes(task.output),
        head.task_type,
        head.task_def_name,
    )


def changed_task_row(task: Task, workflow_id: str) -> Row:
    """status, open, state, links, output, then what finds the row: task_id, workflow_id."""
    return (
        task.state.status.value,
        int(task.open),
        _encode(task.state),
        _encode(task.links),
        bytes(task.output),
        task.head.task_id,
        workflow_id,
    )


def changed_head_row(task: Task) -> Row:
    """seq, ref, retry_count, base_ref, head, then task_id."""
    head = task.head
    return (
        head.seq,
        head.reference_task_name,
        head.retry_count,
        task.links.base_ref,
        _encode(head),
        head.task_id,
    )


def task_from(row: Row) -> Task:
    """A task from TASK_COLUMNS."""
    head, state, links, output = row
    stored = _decode_links(links)
    return Task(
        head=_decode_head(head),
        state=_decode_state(state),
        links=TaskLinks(
            base_ref=stored.base_ref,
            in_def=stored.in_def,
            loop=stored.loop,
            suffix=stored.suffix,
            joins=stored.joins,
            workflow_task=None if isinstance(stored.workflow_task, UnsetType) else stored.workflow_task,
            first_scheduled_ms=stored.first_scheduled_ms,
            wait_until_ms=stored.wait_until_ms,
        ),
        output=Raw(output),
    )


def queue_row(entry: QueueEntry) -> Row:
    """QUEUE_COLUMNS, then deadline_ms."""
    lease = entry.lease or Lease()
    return (
        entry.task_id,
        entry.workflow_id,
        entry.queue,
        entry.priority,
        entry.due_ms,
        entry.response_ms,
        entry.run_ms,
        entry.poll_by_ms,
        entry.total_by_ms,
        int(lease.held),
        lease.worker_id,
        lease.start_ms,
        lease.update_ms,
        lease.poll_count,
        None if lease.progress is None else bytes(lease.progress),
        entry.def_name,
        entry.lane,
        entry.deadline_ms(),
    )


def entry_from(row: Row) -> QueueEntry:
    """An entry from QUEUE_COLUMNS; a lease that says nothing is read as none."""
    held, worker_id, start_ms, update_ms, poll_count, progress, def_name, lane = row[9:]
    lease = None
    if held or poll_count or start_ms or update_ms or worker_id or progress is not None:
        lease = Lease(
            worker_id=worker_id,
            start_ms=start_ms,
            update_ms=update_ms,
            poll_count=poll_count,
            held=bool(held),
            progress=None if progress is None else Raw(progress),
        )
    return QueueEntry(
        task_id=row[0],
        workflow_id=row[1],
        queue=row[2],
        priority=row[3],
        due_ms=row[4],
        response_ms=row[5],
        run_ms=row[6],
        poll_by_ms=row[7],
        total_by_ms=row[8],
        def_name=def_name,
        lane=lane,
        lease=lease,
    )


def timer_row(timer: Timer) -> Row:
    return (timer.workflow_id, timer.key, timer.kind, timer.due_ms)


def timer_from(row: Row) -> Timer:
    workflow_id, key, kind, due_ms = row
    return Timer(workflow_id=workflow_id, key=key, kind=kind, due_ms=due_ms)


def history_row(row: HistoryRow, row_version: int, place: int) -> Row:
    """workflow_id, row_version, place, event_id, task_id, type, at_ms, payload."""
    return (
        row.workflow_id,
        row_version,
        place,
        row.event_id,
        row.task_id,
        row.type,
        row.at_ms,
        bytes(row.payload),
    )


def history_from(row: Row) -> HistoryRow:
    """A history row from workflow_id, event_id, task_id, type, at_ms, payload."""
    workflow_id, event_id, task_id, kind, at_ms, payload = row
    return HistoryRow(
        event_id=event_id,
        workflow_id=workflow_id,
        task_id=task_id,
        type=kind,
        at_ms=at_ms,
        payload=Raw(payload),
    )


def message_row(message: Message) -> Row:
    return (message.id, message.kind, message.target_id, bytes(message.body))


def message_from(row: Row) -> Message:
    message_id, kind, target_id, body = row
    return Message(id=message_id, kind=kind, target_id=target_id, body=Raw(body))

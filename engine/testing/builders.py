"""Records with the few members a test cares about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Raw, structs

from engine.core.errors import StoreError
from engine.core.records import (
    Delta,
    Header,
    HistoryRow,
    Message,
    QueueEntry,
    Task,
    TaskHead,
    TaskLinks,
    TaskState,
)
from engine.core.statuses import TaskStatus
from engine.ports.stores import ExecutionStore, Write

DEFINITION_HASH = "d" * 64


def header(workflow_id: str, **members: Any) -> Header:
    """A running workflow's header; `members` override."""
    defaults: dict[str, Any] = {
        "name": "flow",
        "version": 1,
        "definition_hash": DEFINITION_HASH,
        "create_ms": 1_000,
    }
    return Header(workflow_id=workflow_id, **(defaults | members))


def task(
    workflow_id: str,
    task_id: str,
    *,
    seq: int = 1,
    ref: str | None = None,
    base_ref: str | None = None,
    status: TaskStatus = TaskStatus.SCHEDULED,
    retry_count: int = 0,
    output: bytes = b"{}",
) -> Task:
    """A task whose reference is its id unless named otherwise."""
    ref = task_id if ref is None else ref
    head = TaskHead(
        task_type="work",
        reference_task_name=ref,
        task_def_name="work",
        task_id=task_id,
        workflow_instance_id=workflow_id,
        workflow_type="flow",
        retry_count=retry_count,
        seq=seq,
        input_data=Raw(b'{"given":1}'),
    )
    links = TaskLinks(base_ref=ref if base_ref is None else base_ref, joins=("j",))
    return Task(head=head, state=TaskState(status=status), links=links, output=Raw(output))


def ended(before: Task, status: TaskStatus = TaskStatus.COMPLETED, output: bytes = b'{"made":1}') -> Task:
    """The task as it is after its end."""
    state = structs.replace(before.state, status=status, end_time=9)
    return structs.replace(before, state=state, output=Raw(output))


def entry(
    workflow_id: str, task_id: str, *, queue: str = "work", due_ms: int = 10, **members: Any
) -> QueueEntry:
    return QueueEntry(task_id=task_id, workflow_id=workflow_id, queue=queue, due_ms=due_ms, **members)


def event(workflow_id: str, event_id: str, *, at_ms: int = 5) -> HistoryRow:
    payload = Raw(b'{"of":"' + event_id.encode() + b'"}')
    return HistoryRow(
        event_id=event_id,
        workflow_id=workflow_id,
        task_id=None,
        type="happened",
        at_ms=at_ms,
        payload=payload,
    )


def message(message_id: str, target_id: str = "other") -> Message:
    return Message(
        id=message_id, kind="child_ended", target_id=target_id, body=Raw(b'{"status":"COMPLETED"}')
    )


def creation(workflow_id: str, **members: Any) -> Delta:
    """A delta that creates the workflow; members named as in Delta, but `header` may be left out."""
    members.setdefault("header", header(workflow_id))
    return Delta(workflow_id=workflow_id, expected_version=0, **members)


def step(workflow_id: str, expected_version: int, **members: Any) -> Delta:
    """A delta on an existing workflow; the header may be left out."""
    members.setdefault("header", header(workflow_id))
    return Delta(workflow_id=workflow_id, expected_version=expected_version, **members)


async def accepted(store: ExecutionStore, *group: Write) -> list[Any]:
    """Write the group, of which nothing may be refused, and give the results."""
    results = await store.write(group)
    refused = [result for result in results if isinstance(result, StoreError)]
    assert not refused, refused
    return list(results)


async def everything(store: ExecutionStore, workflow_id: str) -> list[Any]:
    """All that the store tells about one workflow, the outbox and the queues."""
    tasks = await store.tasks(workflow_id)
    ids = [one.id for one in tasks]
    return [
        await store.load(workflow_id),
        await store.row(workflow_id),
        tasks,
        await store.entries_of(workflow_id),
        await store.due_timers(2**60, 1_000),
        await store.pending_messages(1_000),
        await store.history(workflow_id),
        [await store.logs(task_id) for task_id in ids],
        await store.queue_detail(),
        await store.definition(DEFINITION_HASH),
    ]


async def queued(store: ExecutionStore, workflow_id: str, entries: Sequence[QueueEntry]) -> None:
    """Create a workflow whose tasks stand in the given queue entries."""
    tasks = [task(workflow_id, one.task_id, seq=seq) for seq, one in enumerate(entries, start=1)]
    await accepted(store, creation(workflow_id, tasks_new=tasks, queue_put=list(entries)))

"""HTTP and KAFKA_PUBLISH: effects that take time, done by the server's own workers.

Such a task waits in an ordinary queue and is leased like a worker's. The lease is short and renewed while the
effect is under way; when it runs out, its server is gone and the task goes back to the queue.
Source of shapes: conductor-oss/conductor, HTTPTaskMapper and KafkaPublishTaskMapper.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from engine.core.mapping import Mapper, Source, evaluate, new_task, reserved_domain
from engine.core.model import TaskDef
from engine.core.records import QueueEntry, Task
from engine.core.statuses import TaskStatus
from engine.core.step import Step
from engine.core.timeouts import queue_entry

SERVER_LEASE_MS = 15_000
"""How long a server that has taken up a task may be silent before another one gets it."""


class ServerCall:
    def __init__(self, kind: str) -> None:
        self.kind = kind

    def create(self, step: Step, source: Source, mapper: Mapper) -> list[Task]:
        definition = source.workflow_task
        task_id = step.ids.uuid()
        task = new_task(
            step,
            source,
            task_type=self.kind,
            status=TaskStatus.SCHEDULED,
            input={**evaluate(step, source, task_id), "asyncComplete": definition.async_complete},
            task_id=task_id,
            domain=reserved_domain(step, source),
            callback_after_seconds=definition.start_delay,
        )
        due_ms = step.now_ms + definition.start_delay * 1000
        step.queue(server_entry(task, definition.task_definition, due_ms=due_ms))
        return [task]

    def run(self, step: Step, task: Task) -> Task | None:
        return None


def server_entry(task: Task, policy: TaskDef | None, *, due_ms: int) -> QueueEntry:
    """The queue entry of a task that the server runs: the queue is its type's, the lease the server's."""
    kind, domain = task.head.task_type, task.head.domain
    entry = queue_entry(task, policy, queue=f"{domain}:{kind}" if domain else kind, due_ms=due_ms)
    entry.response_ms = SERVER_LEASE_MS
    return entry


def park(step: Step, task: Task, entry: QueueEntry | None) -> None:
    """The effect is done and somebody else will complete the task: nobody is to take it from its queue.

    Only asyncComplete tasks are; the entry stays for the timeouts that still hold.
    """
    if (
        entry is None
        or entry.lease is None
        or not entry.lease.held
        or not completes_later(step.document(task.head.input_data))
    ):
        return
    kept = server_entry(task, step.task_def(task), due_ms=entry.due_ms)
    kept.response_ms = 0
    kept.lease = replace(entry.lease, progress=None)
    step.queue(kept)


def completes_later(given: Mapping[str, Any]) -> bool:
    """Whether the task with this input stays open after its call (asyncComplete)."""
    request = given.get("http_request")
    return given.get("asyncComplete") is True or (
        isinstance(request, dict) and request.get("asyncComplete") is True
    )


def give_back(step: Step, task: Task, entry: QueueEntry | None) -> bool:
    """Put a task whose server fell silent back into its queue; False when the lease still holds."""
    lease = entry.lease if entry is not None else None
    if entry is None or lease is None or not lease.held or not entry.response_ms:
        return False
    if step.now_ms < lease.update_ms + entry.response_ms:
        return False
    fresh = server_entry(task, step.task_def(task), due_ms=step.now_ms)
    fresh.lease = replace(lease, held=False, progress=None)
    step.queue(fresh)
    return True


def without_response_timeout(policy: TaskDef | None) -> TaskDef | None:
    """The task definition as the decider enforces it; the worker itself keeps the response timeout."""
    return None if policy is None else replace(policy, response_timeout_seconds=0)

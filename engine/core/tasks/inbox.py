"""PULL_WORKFLOW_MESSAGES: takes what was sent to the workflow from outside.

Unread messages live in the header, so that sending, taking and the task's end are one commit; two bounds keep
the header small. Source of shapes: conductor-oss/conductor, PullWorkflowMessages.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Raw

from engine.core.errors import RateLimitedError
from engine.core.mapping import Mapper, Source, new_task
from engine.core.records import InboxMessage, Task
from engine.core.statuses import TaskStatus
from engine.core.step import Step

BATCH_MAX = 100
INBOX_MESSAGES_MAX = 1_000
INBOX_BYTES_MAX = 1024 * 1024
INBOX_TTL_MS = 86_400_000

_MAY_PULL = frozenset({"PULL_WORKFLOW_MESSAGES", "DYNAMIC", "FORK_JOIN_DYNAMIC"})


class PullWorkflowMessages:
    def create(self, step: Step, source: Source, mapper: Mapper) -> list[Task]:
        return [new_task(step, source, task_type="PULL_WORKFLOW_MESSAGES", status=TaskStatus.IN_PROGRESS)]

    def run(self, step: Step, task: Task) -> Task | None:
        """Complete with what is there; when nothing is, a blocking one stays open for the next message."""
        given = step.document(task.head.input_data)
        _drop_old(step)
        inbox = step.header.inbox
        if not inbox and given.get("blocking") is not False:
            return None
        size = _batch_size(given.get("batchSize"))
        taken, step.header.inbox = inbox[:size], inbox[size:]
        messages = [
            {
                "id": message.id,
                "workflowId": step.header.workflow_id,
                "payload": message.payload,
                "receivedAt": _iso(message.received_ms),
            }
            for message in taken
        ]
        output = {"messages": messages, "count": len(messages)}
        return step.move(task, TaskStatus.COMPLETED, output=Raw(msgspec.json.encode(output)))


def receive(step: Step, message_id: str, payload: Raw) -> Task | None:
    """Take in a message; gives the task that was waiting for it, ended.

    Raises:
        RateLimitedError: the unread messages are as many, or as large, as may be.
    """
    _drop_old(step)
    header = step.header
    unread_bytes = sum(len(bytes(message.payload)) for message in header.inbox)
    if len(header.inbox) >= INBOX_MESSAGES_MAX or unread_bytes + len(bytes(payload)) > INBOX_BYTES_MAX:
        raise RateLimitedError(
            f"The message queue of workflow {header.workflow_id} is full: {len(header.inbox)} messages, "
            f"{unread_bytes} bytes are unread; at most {INBOX_MESSAGES_MAX} messages and "
            f"{INBOX_BYTES_MAX} bytes may be. Send it again when the workflow has pulled some"
        )
    message = InboxMessage(id=message_id, payload=payload, received_ms=step.now_ms)
    header.inbox = [*header.inbox, message]
    step.touched = True
    if not any(node.type in _MAY_PULL for node in step.graph.nodes.values()):
        return None
    for task in step.open_tasks():
        if task.head.task_type == "PULL_WORKFLOW_MESSAGES":
            return PullWorkflowMessages().run(step, task)
    return None


def _drop_old(step: Step) -> None:
    oldest_ms = step.now_ms - INBOX_TTL_MS
    if step.header.inbox and step.header.inbox[0].received_ms < oldest_ms:
        step.header.inbox = [m for m in step.header.inbox if m.received_ms >= oldest_ms]


def _batch_size(value: Any) -> int:
    try:
        size = int(value)
    except (TypeError, ValueError):
        size = 1
    return min(max(size, 1), BATCH_MAX)


def _iso(at_ms: int) -> str:
    moment = datetime.fromtimestamp(at_ms / 1000, tz=UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at_ms % 1000:03d}Z"

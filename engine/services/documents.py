"""Wire documents put together from stored parts: bytes are spliced, not decoded and encoded again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from engine.core.graph import Graph, decode_workflow_task
from engine.core.model import encode
from engine.core.records import Header, QueueEntry, Task, TaskState
from engine.core.statuses import TaskStatus
from engine.core.values import to_text
from engine.ports.stores import WorkflowRow

_encode = msgspec.json.encode
_EXECUTION_METADATA = b'"executionMetadata":{"additionalContext":{},"additionalContextMap":{},"empty":true}'


def task_json(
    task: Task, graph: Graph, *, entry: QueueEntry | None = None, header: Header | None = None
) -> bytes:
    """The wire's Task.

    Args:
        task: as stored.
        graph: its workflow's definition.
        entry: its queue entry, when it is in a queue: polls and progress are known there only.
        header: its workflow's header, for the iteration of a running DO_WHILE.
    """
    head = task.head
    state, output = _as_leased(task, entry)
    if header is not None and head.task_type == "DO_WHILE" and task.open and task.ref in header.loops:
        iteration = header.loops[task.ref].iteration
        head = replace(head, iteration=iteration)
        output = _encode({**msgspec.json.decode(output), "iteration": iteration})
    node = graph.nodes.get(task.links.base_ref) if task.links.in_def else None
    if node is not None:
        workflow_task, task_def = bytes(node.wire), bytes(node.task_def_wire)
    else:
        raw = task.links.workflow_task or Raw(b"{}")
        definition = decode_workflow_task(raw).task_definition
        workflow_task, task_def = bytes(raw), b"null" if definition is None else encode(definition)
    waited_ms = max(0, state.start_time - head.scheduled_time) if state.start_time else 0
    return b"".join(
        (
            _encode(head)[:-1],
            b",",
            _encode(state)[1:-1],
            b',"outputData":',
            output,
            b',"workflowTask":',
            workflow_task,
            b',"taskDefinition":',
            task_def,
            b',"queueWaitTime":%d,"loopOverTask":%s,'
            % (waited_ms, b"true" if head.iteration > 0 else b"false"),
            _EXECUTION_METADATA,
            b"}",
        )
    )


def _as_leased(task: Task, entry: QueueEntry | None) -> tuple[TaskState, bytes]:
    """The state and output of a task as its lease, when there is one, says."""
    state, output = task.state, bytes(task.output)
    if entry is None or entry.lease is None or not task.open:
        return state, output
    lease = entry.lease
    state = replace(
        state,
        status=TaskStatus.IN_PROGRESS if lease.held else state.status,
        start_time=state.start_time or lease.start_ms,
        poll_count=lease.poll_count,
        update_time=max(state.update_time, lease.update_ms),
        worker_id=lease.worker_id or state.worker_id,
        callback_after_seconds=0 if lease.held else state.callback_after_seconds,
    )
    if lease.progress is not None and lease.held:
        output = bytes(lease.progress)
    return state, output


def workflow_json(row: WorkflowRow, graph: Graph, tasks: list[bytes]) -> bytes:
    """The wire's Workflow with the given tasks."""
    header = row.header
    members: dict[str, Any] = {
        "ownerApp": header.owner_app or "",
        "createTime": header.create_ms,
        "updateTime": header.update_ms,
        "createdBy": header.created_by,
        "status": header.status,
        "endTime": header.end_ms,
        "workflowId": header.workflow_id,
        "parentWorkflowId": header.parent_workflow_id,
        "parentWorkflowTaskId": header.parent_task_id,
        "tasks": Raw(b"[" + b",".join(tasks) + b"]"),
        "input": row.input,
        "output": row.output,
        "correlationId": header.correlation_id,
        "reRunFromWorkflowId": header.rerun_from_workflow_id,
        "reasonForIncompletion": header.reason,
        "event": header.event,
        "taskToDomain": header.task_to_domain,
        "failedReferenceTaskNames": header.failed_refs,
        "failedTaskNames": header.failed_names,
        "workflowDefinition": graph.wire,
        "priority": header.priority,
        "variables": header.variables,
        "lastRetriedTime": header.last_retried_ms,
        "history": [],
        "idempotencyKey": header.idempotency_key,
        "rateLimitKey": header.rate_limit_key,
        "rateLimited": header.rate_limited,
        "startTime": header.create_ms,
        "workflowName": header.name,
        "workflowVersion": header.version,
    }
    return _encode({key: value for key, value in members.items() if value is not None})


def workflow_summary(row: WorkflowRow) -> dict[str, Any]:
    """The wire's WorkflowSummary: times as ISO text, input and output in Java's map notation."""
    header = row.header
    input_text, output_text = (to_text(msgspec.json.decode(raw)) for raw in (row.input, row.output))
    members: dict[str, Any] = {
        "workflowType": header.name,
        "version": header.version,
        "workflowId": header.workflow_id,
        "correlationId": header.correlation_id,
        "startTime": iso(header.create_ms),
        "updateTime": iso(header.update_ms),
        "endTime": iso(header.end_ms) if header.end_ms else "",
        "status": header.status,
        "input": input_text,
        "output": output_text,
        "inputSize": len(input_text),
        "outputSize": len(output_text),
        "reasonForIncompletion": header.reason,
        "executionTime": max(0, header.end_ms - header.create_ms) if header.end_ms else 0,
        "event": header.event,
        "failedReferenceTaskNames": ",".join(header.failed_refs),
        "failedTaskNames": header.failed_names,
        "priority": header.priority,
        "createdBy": header.created_by,
        "taskToDomain": header.task_to_domain,
        "idempotencyKey": header.idempotency_key,
        "parentWorkflowId": header.parent_workflow_id or "",
        "classifier": "workflow",
    }
    return {key: value for key, value in members.items() if value is not None}


def task_summary(task: Task, *, entry: QueueEntry | None = None) -> dict[str, Any]:
    """The wire's TaskSummary: times as ISO text (the epoch when unset), input and output in Java's notation.

    Args:
        task: as stored.
        entry: its queue entry, as task_json has it.
    """
    state, output = _as_leased(task, entry)
    head = task.head
    started, ended = state.start_time, state.end_time
    members: dict[str, Any] = {
        "workflowId": head.workflow_instance_id,
        "workflowType": head.workflow_type,
        "correlationId": head.correlation_id or None,
        "scheduledTime": iso(head.scheduled_time),
        "startTime": iso(started),
        "updateTime": iso(state.update_time),
        "endTime": iso(ended),
        "status": state.status,
        "reasonForIncompletion": state.reason_for_incompletion or None,
        "executionTime": max(0, ended - started) if started and ended else 0,
        "queueWaitTime": max(0, started - head.scheduled_time) if started else 0,
        "taskDefName": head.task_def_name,
        "taskType": head.task_type,
        "input": to_text(msgspec.json.decode(head.input_data)),
        "output": to_text(msgspec.json.decode(output)),
        "taskId": head.task_id,
        "externalInputPayloadStoragePath": state.external_input_payload_storage_path or None,
        "externalOutputPayloadStoragePath": state.external_output_payload_storage_path or None,
        "workflowPriority": head.workflow_priority,
        "domain": head.domain or None,
    }
    return {key: value for key, value in members.items() if value is not None}


def iso(at_ms: int) -> str:
    """`yyyy-MM-dd'T'HH:mm:ss.SSS'Z'` in UTC."""
    moment = datetime.fromtimestamp(at_ms / 1000, tz=UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at_ms % 1000:03d}Z"

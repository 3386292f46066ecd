"""What a step tells those who listen: workflow status listeners, and onStateChange of tasks.

A notice is a message written with the step; delivery puts the wire's shape together.
Source of the events: conductor-oss/conductor, WorkflowStatusListener; the keys of onStateChange are Orkes'.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from engine.core import events as ev
from engine.core.event_queues import CONDUCTOR, QUEUE_TYPES
from engine.core.expressions import compile_template
from engine.core.messages import Notice
from engine.core.records import Task
from engine.core.scope import StepScope
from engine.core.statuses import WORKFLOW_OPEN, TaskStatus, WorkflowStatus
from engine.core.step import Step

_BEGUN: dict[type, str] = {
    ev.Start: "STARTED",
    ev.Pause: "PAUSED",
    ev.Resume: "RESUMED",
    ev.Retry: "RETRIED",
    ev.ChildRevived: "RETRIED",
    ev.Restart: "RESTARTED",
    ev.Rerun: "RERAN",
}
_REVIVALS = (ev.Start, ev.Retry, ev.ChildRevived, ev.Restart, ev.Rerun)
STATE_KEYS = {
    TaskStatus.SCHEDULED: "onScheduled",
    TaskStatus.IN_PROGRESS: "onStart",
    TaskStatus.COMPLETED: "onSuccess",
    TaskStatus.COMPLETED_WITH_ERRORS: "onSuccess",
    TaskStatus.FAILED: "onFailed",
    TaskStatus.FAILED_WITH_TERMINAL_ERROR: "onFailed",
    TaskStatus.TIMED_OUT: "onFailed",
    TaskStatus.CANCELED: "onCancelled",
}
"""Task status -> key of onStateChange."""


def tell(step: Step, event: ev.Event, before: WorkflowStatus) -> None:
    """Write the notices of one accepted event; `before` is the workflow's status when it came."""
    moved, step.moved = step.moved, []
    for task, status in moved:
        _state_change(step, task, status)
    definition, header = step.graph.definition, step.header
    if not definition.workflow_status_listener_enabled:
        return
    kind = _BEGUN.get(type(event))
    if isinstance(event, ev.Rerun) and event.task_id is not None:
        kind = "RETRIED"
    kinds = [kind] if kind is not None else []
    if header.status not in WORKFLOW_OPEN and (header.status is not before or isinstance(event, _REVIVALS)):
        kinds += ["COMPLETED" if header.status is WorkflowStatus.COMPLETED else "TERMINATED", "FINALIZED"]
    for kind in kinds:
        notice = Notice(
            event=kind,
            sink=definition.workflow_status_listener_sink or "",
            status=header.status,
            at_ms=step.now_ms,
        )
        step.send("notice", header.workflow_id, msgspec.structs.asdict(notice))


def _state_change(step: Step, task: Task, status: TaskStatus) -> None:
    key = STATE_KEYS.get(status)
    for wanted in step.workflow_task(task).on_state_change.get(key or "", []):
        scope = StepScope(step, task.id, step.view.environment)
        payload: dict[str, Any] = compile_template(wanted.payload or {}).evaluate(scope)
        header = step.header
        notice = Notice(
            event=key or "",
            sink=_sink(wanted.type or "", header.name),
            status=status,
            at_ms=step.now_ms,
            payload=Raw(
                msgspec.json.encode(
                    {
                        **payload,
                        "workflowInstanceId": header.workflow_id,
                        "workflowType": header.name,
                        "correlationId": header.correlation_id,
                        "taskId": task.id,
                        "referenceTaskName": task.ref,
                        "status": status,
                    }
                )
            ),
        )
        step.send("notice", header.workflow_id, msgspec.structs.asdict(notice))


def _sink(kind: str, workflow_name: str) -> str:
    """The type of a state change is an address or an event; any other text names an event of the workflow."""
    if kind.startswith(("http://", "https://")) or kind.partition(":")[0] in QUEUE_TYPES:
        return kind
    return f"{CONDUCTOR}:{workflow_name}:{kind}"

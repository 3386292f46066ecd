"""Events about sub-workflows: a child ended, could not be started, or is somebody else's.

Source of texts: conductor-oss/conductor, WorkflowExecutorOps.updateParentWorkflowTask.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from engine.core import events as ev
from engine.core.errors import ConflictError
from engine.core.flow import settle
from engine.core.records import REASON_CHARS_MAX
from engine.core.statuses import WORKFLOW_OPEN, TaskStatus, WorkflowStatus
from engine.core.step import Step, unset

WAITERS_MAX = 1_000
"""Tasks of other workflows that may wait for one execution: they stand in its header."""

_CHILD_END = {
    WorkflowStatus.COMPLETED: TaskStatus.COMPLETED,
    WorkflowStatus.FAILED: TaskStatus.FAILED,
    WorkflowStatus.TIMED_OUT: TaskStatus.TIMED_OUT,
    WorkflowStatus.TERMINATED: TaskStatus.CANCELED,
}


def ended(step: Step, event: ev.ChildEnded) -> ev.Applied:
    task = step.known(event.task_id)
    if task is None or not task.open or step.header.status not in WORKFLOW_OPEN:
        return ev.Applied(changed=False, task=task)
    if task.state.sub_workflow_id != event.child_id:
        return ev.Applied(changed=False, task=task)  # a child of an earlier attempt
    status = _CHILD_END[event.status]
    output = {"subWorkflowId": event.child_id, **msgspec.json.decode(event.output)}
    failed = f"Sub workflow {event.name} failure reason: {event.reason}"
    reason = unset(None if status is TaskStatus.COMPLETED else failed[:REASON_CHARS_MAX])
    task = step.move(task, status, output=Raw(msgspec.json.encode(output)), reason_for_incompletion=reason)
    step.unqueue(task)
    settle(step, task)
    return ev.Applied(changed=True, task=task)


def failed(step: Step, event: ev.ChildFailed) -> ev.Applied:
    task = step.known(event.task_id)
    if task is None or not task.open or step.header.status not in WORKFLOW_OPEN:
        return ev.Applied(changed=False, task=task)
    task = step.move(task, TaskStatus.FAILED, reason=event.reason)
    settle(step, task)
    return ev.Applied(changed=True, task=task)


def attached(step: Step, event: ev.ChildAttached) -> ev.Applied:
    """The task's key has an execution already: wait for that one."""
    task = step.known(event.task_id)
    if task is None or not task.open or step.header.status not in WORKFLOW_OPEN:
        return ev.Applied(changed=False, task=task)
    if task.state.sub_workflow_id == event.child_id:
        return ev.Applied(changed=False, task=task)
    output = Raw(msgspec.json.encode({"subWorkflowId": event.child_id}))
    task = step.move(task, task.status, sub_workflow_id=event.child_id, output=output)
    return ev.Applied(changed=True, task=task)


def waiter_added(step: Step, event: ev.WaiterAdded) -> ev.Applied:
    """Not changed when this execution has ended: then its end is told by whoever asked."""
    header, waiter = step.header, (event.workflow_id, event.task_id)
    if header.status not in WORKFLOW_OPEN or waiter in header.waiters:
        return ev.Applied(changed=header.status in WORKFLOW_OPEN)
    if len(header.waiters) >= WAITERS_MAX:
        raise ConflictError(f"{WAITERS_MAX} tasks wait for workflow {header.workflow_id} already")
    header.waiters = [*header.waiters, waiter]
    step.touched = True
    return ev.Applied(changed=True)

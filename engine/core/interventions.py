"""What somebody may do to a running workflow from outside, beside reporting on its tasks.

Make postponed tasks due, set variables, jump to another task.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from engine.core import events as ev
from engine.core.downstream import downstream
from engine.core.errors import ConflictError, InvalidRequestError, NotFoundError
from engine.core.facts import AllTasksFact, FactsMissingError
from engine.core.flow import advance, cancel_task
from engine.core.graph import Graph, in_queue
from engine.core.mapping import want
from engine.core.records import Task
from engine.core.statuses import WORKFLOW_OPEN, TaskStatus, WorkflowStatus
from engine.core.step import TOP, EndWorkflow, Step
from engine.core.tasks.inline import VARIABLES_KB_MAX

VARIABLES_BYTES_MAX = VARIABLES_KB_MAX * 1024
"""All variables of one workflow together, as JSON."""


def reset_callbacks(step: Step) -> bool:
    """Make tasks due now that a worker or a retry put off; returns whether there were any.

    Source of behaviour and text: conductor-oss/conductor, WorkflowExecutorOps.resetCallbacksForWorkflow.
    """
    status = step.header.status
    if status not in WORKFLOW_OPEN:
        raise ConflictError(f"Workflow is in terminal state. Status = {status}")
    found = False
    for task in step.open_tasks():
        if not in_queue(task.head.task_type):
            continue
        entry = step.entry(task)
        if entry is None or entry.due_ms <= step.now_ms or (entry.lease is not None and entry.lease.held):
            continue
        found = True
        step.put(replace(task, state=replace(task.state, callback_after_seconds=0)))
        step.queue(replace(entry, due_ms=step.now_ms))
    return found


def set_variables(step: Step, event: ev.SetVariables) -> None:
    """Write members over the workflow's variables; with `append` lists grow instead of being replaced."""
    header = step.header
    if header.status not in WORKFLOW_OPEN:
        raise ConflictError(f"Workflow {header.workflow_id} is {header.status}; its variables are final")
    given: dict[str, Any] = msgspec.json.decode(event.variables)
    if event.append:
        given = {key: _appended(header.variables.get(key), value) for key, value in given.items()}
    variables = {**header.variables, **given}
    size = len(msgspec.json.encode(variables))
    if size > VARIABLES_BYTES_MAX:
        raise InvalidRequestError(
            f"The variables payload size: {size} of workflow: {header.workflow_id} "
            f"is greater than the permissible limit: {VARIABLES_BYTES_MAX} bytes"
        )
    header.variables = variables
    step.touched = True


def _appended(before: Any, value: Any) -> Any:
    if not isinstance(before, list):
        return value
    return [*before, *(value if isinstance(value, list) else [value])]


def jump(step: Step, event: ev.Jump) -> None:
    """Drop what is under way and go on from another task of the top level.

    What is open becomes SKIPPED, its children are terminated. Jumping back removes what the task led to.
    """
    header, graph, ref = step.header, step.graph, event.ref
    if header.status is not WorkflowStatus.RUNNING:
        raise ConflictError(f"Workflow {header.workflow_id} is {header.status}; only a RUNNING one can jump")
    node = graph.nodes.get(ref)
    if node is None:
        raise NotFoundError(f"Workflow {header.name}.{header.version} has no task with reference {ref}")
    inside = _container_of(graph, ref)
    if inside is not None:
        raise InvalidRequestError(f"Task {ref} is inside {inside}; jump to {inside}, or to a task outside it")
    given: dict[str, Any] = msgspec.json.decode(event.input)
    if given and not in_queue(node.type):
        raise InvalidRequestError(f"Task {ref} is of type {node.type} and takes no input of its own")
    if not step.view.all_known:
        raise FactsMissingError([AllTasksFact()])
    for task in step.open_tasks():
        _skip(step, task, ref)
    header.open, header.joins, header.loops = 0, {}, {}
    header.pending, header.unprocessed, header.permissive_failures = [], [], {}
    header.skipped.pop(ref, None)
    tasks = step.all_tasks()
    attempts = [task for task in tasks if task.ref == ref]
    if attempts:
        gone = {task.id for task in attempts} | downstream(graph, attempts[-1], tasks)
        for task in tasks:
            if task.id in gone:
                step.remove(task)
    before = set(step.new)
    advance(step, [want(step, ref, TOP)])
    for task_id in step.new.keys() - before:
        task = step.new[task_id]
        if given and task.ref == ref:
            merged = {**step.document(task.head.input_data), **given}
            step.put(replace(task, head=replace(task.head, input_data=Raw(msgspec.json.encode(merged)))))


def _skip(step: Step, task: Task, target: str) -> None:
    cancel_task(step, task, EndWorkflow(WorkflowStatus.TERMINATED, f"jumped to {target}"))
    cancelled = step.task(task.id)
    state = replace(cancelled.state, status=TaskStatus.SKIPPED, executed=True)
    step.put(replace(cancelled, state=state))


def _container_of(graph: Graph, ref: str) -> str | None:
    """The outermost fork or loop around a task; tasks in SWITCH cases stand on their SWITCH's level."""
    found, current = None, graph.nodes[ref].parent
    while current is not None:
        node = graph.nodes[current]
        if node.type not in ("SWITCH", "DECISION"):
            found = current
        current = node.parent
    return found

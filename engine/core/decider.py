"""The decider: events in, one delta out. Pure: everything that varies comes in with the view and the stamps.

    decision = decide(view, [stamped, ...])

Events of one workflow that arrived together are decided together, in order, into one delta. An event that
does not fit is refused: it gets its error as outcome and changes nothing. A step that lacks facts raises
FactsMissingError before anything is decided; the caller loads them and asks again, and gets the same ids
because they follow from the stamps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from engine.core import child_events, interventions, notices, operations, schemas, slots
from engine.core import events as ev
from engine.core.errors import ConflictError, InvariantError, NotFoundError, RefusedError
from engine.core.events import Applied as Applied  # noqa: PLC0414 - whoever decides imports it from here
from engine.core.facts import View
from engine.core.flow import advance, end_workflow, ended, rearm, run_rearmed, settle, with_lease
from engine.core.graph import QUEUED_SYSTEM_TYPES, SYSTEM_TYPES, Graph
from engine.core.history import history_row
from engine.core.mapping import want
from engine.core.model import TimeoutPolicy, WorkflowTimeoutPolicy
from engine.core.records import REASON_CHARS_MAX, Delta, Header, QueueEntry, Task
from engine.core.statuses import WORKFLOW_OPEN, TaskStatus, WorkflowStatus
from engine.core.step import TOP, EndWorkflow, Place, Step, Wanted, unset
from engine.core.tasks import calls, inbox
from engine.core.timeouts import expired, queue_entry, queue_name


class Decision(Struct, kw_only=True):
    """What the events led to.

    Attributes:
        delta: None when nothing has to be written.
        outcomes: one entry an event, in order.
        graph: the definition that holds after the step.
    """

    delta: Delta | None
    outcomes: list[Applied | RefusedError]
    graph: Graph | None = None


def decide(view: View, stamped: Sequence[ev.Stamped]) -> Decision:
    """Apply the events in order.

    Raises:
        FactsMissingError: the view lacks facts; nothing was decided.
        InvariantError: our bug; nothing was decided.
    """
    step = _open_step(view, stamped)
    outcomes: list[Applied | RefusedError] = []
    if step is None:
        missing = NotFoundError(f"No such workflow found by id: {view.workflow_id}")
        return Decision(delta=None, outcomes=[missing for _ in stamped])
    for item in stamped:
        step.begin(item)
        before = step.header.status
        try:
            outcome = _apply(step, item.event)
        except RefusedError as refusal:
            outcomes.append(refusal)
            continue
        if outcome.changed:
            step.history.append(history_row(step, item))
            notices.tell(step, item.event, before)
        outcomes.append(outcome)
    delta = step.delta()
    if delta is not None:
        delta.slot, delta.slot_freed = slots.slot_change(step)
    return Decision(delta=delta, outcomes=outcomes, graph=step.graph)


def _open_step(view: View, stamped: Sequence[ev.Stamped]) -> Step | None:
    if view.header is not None:
        return Step(view, view.header)
    first = stamped[0].event
    if not isinstance(first, ev.Start) or view.graph is None:
        return None
    definition = view.graph.definition
    header = Header(
        workflow_id=view.workflow_id,
        name=definition.name,
        version=definition.version,
        definition_hash=view.graph.hash,
    )
    return Step(view, header, creating=True)


def _apply(step: Step, event: ev.Event) -> Applied:
    """One event. A workflow that ends in it ends here, whatever depth the reason came from."""
    handler = _HANDLERS[type(event)]
    try:
        return handler(step, event)
    except EndWorkflow as end:
        end_workflow(step, end)
        task_id = getattr(event, "task_id", None)
        return Applied(changed=True, task=step.known(task_id) if isinstance(task_id, str) else None)


# ------------------------------------------------------------------------------------------------ start
def _start(step: Step, event: ev.Start) -> Applied:
    if not step.creating or step.header.create_ms:
        return Applied(changed=False)  # started before: a repeated message
    header, graph = step.header, step.graph
    definition = graph.definition
    header.create_ms = step.now_ms
    header.priority = event.priority
    header.correlation_id = event.correlation_id
    header.task_to_domain = event.task_to_domain
    header.parent_workflow_id = event.parent_workflow_id
    header.parent_task_id = event.parent_task_id
    header.event = event.event
    header.created_by = event.created_by
    header.idempotency_key = event.idempotency_key
    header.rate_limit_key, step.slots_max = None, event.slots_max
    header.variables = dict(definition.variables)
    given = msgspec.json.decode(event.input)
    if definition.input_template and given:
        present = {key: value for key, value in given.items() if value is not None}
        step.input = Raw(msgspec.json.encode({**definition.input_template, **present}))
    else:
        step.input = event.input
    header.rate_limit_key = slots.slot_key(step)
    if header.rate_limit_key is not None and event.wait_for_slot:
        header.rate_limited = True
        return Applied(changed=True)
    arm_workflow_timeout(step)
    begin(step)
    return Applied(changed=True)


def _slot_freed(step: Step, event: ev.SlotFreed) -> Applied:
    header = step.header
    if not header.rate_limited or header.status is not WorkflowStatus.RUNNING:
        return Applied(changed=False)
    header.rate_limited, step.slots_max = False, event.slots_max
    header.timeout_from_ms = step.now_ms  # it was not running while it waited
    step.touched = True
    arm_workflow_timeout(step)
    begin(step)
    return Applied(changed=True)


def begin(step: Step) -> None:
    """Schedule the first task."""
    first = step.graph.first
    if first is None:
        raise EndWorkflow(WorkflowStatus.COMPLETED, "No tasks found to be executed")
    advance(step, [want(step, first, TOP)])


def arm_workflow_timeout(step: Step) -> None:
    """Set or move the workflow's own timeout: it counts from when it was brought back, else the start."""
    definition = step.graph.definition
    if definition.timeout_seconds > 0 and definition.timeout_policy is WorkflowTimeoutPolicy.TIME_OUT_WF:
        since_ms = step.header.timeout_from_ms or step.header.create_ms
        step.timer("workflow", "workflow_timeout", since_ms + definition.timeout_seconds * 1000)


# ------------------------------------------------------------------------------------------------ tasks
def _reported(step: Step, event: ev.TaskReported) -> Applied:
    task = step.known(event.task_id)
    if task is None:
        raise NotFoundError(f"No such task found by id: {event.task_id}")
    if not task.open or step.header.status not in WORKFLOW_OPEN:
        return Applied(changed=False, task=task)
    worker_task = task.head.task_type not in SYSTEM_TYPES
    status = event.status
    if status is TaskStatus.IN_PROGRESS and worker_task:
        status = TaskStatus.SCHEDULED
    task = with_lease(step, task, event.entry)
    output = task.output if event.output is None else event.output
    if event.merge and event.output is not None:
        output = Raw(msgspec.json.encode({**step.document(task.output), **msgspec.json.decode(event.output)}))
    reason = event.reason if event.reason is None else event.reason[:REASON_CHARS_MAX]
    if status is TaskStatus.COMPLETED and (misfit := schemas.output_problem(step, task, output)) is not None:
        status, reason = TaskStatus.FAILED_WITH_TERMINAL_ERROR, misfit[:REASON_CHARS_MAX]
    fields: dict[str, Any] = {"reason_for_incompletion": unset(reason)}
    if not event.merge:
        fields["callback_after_seconds"] = event.callback_after_seconds
    if event.worker_id is not None:
        fields["worker_id"] = event.worker_id
    if event.sub_workflow_id is not None:
        fields["sub_workflow_id"] = event.sub_workflow_id
    task = step.move(task, status, output=output, **fields)
    if task.open:
        if worker_task:
            put_back(step, task, event.entry, due_ms=step.now_ms + event.callback_after_seconds * 1000)
        elif task.head.task_type in QUEUED_SYSTEM_TYPES:
            calls.park(step, task, event.entry)
        return Applied(changed=True, task=task)
    step.unqueue(task)
    settle(step, task)
    return Applied(changed=True, task=step.task(task.id))


def put_back(step: Step, task: Task, entry: QueueEntry | None, *, due_ms: int) -> None:
    """Give a task back to its queue; what the queue knows of earlier polls is kept."""
    fresh = queue_entry(task, step.task_def(task), queue=queue_name(task), due_ms=due_ms)
    lease = entry.lease if entry is not None else None
    fresh.lease = None if lease is None else replace(lease, held=False, progress=None)
    step.queue(fresh)


def _deadline(step: Step, event: ev.DeadlinePassed) -> Applied:
    task = step.known(event.task_id)
    if task is None or not task.open or step.header.status not in WORKFLOW_OPEN:
        return Applied(changed=False, task=task)
    policy = step.task_def(task)
    entry = step.entry(task)  # as it is now: the lease may have been renewed since the deadline was read
    lease = entry.lease if entry is not None else None
    if task.head.task_type in QUEUED_SYSTEM_TYPES:
        policy = calls.without_response_timeout(policy)
    over = expired(task, policy, lease=lease, now_ms=step.now_ms) if policy is not None else None
    if over is None:
        back = task.head.task_type in QUEUED_SYSTEM_TYPES and calls.give_back(step, task, entry)
        return Applied(changed=back, task=task)
    task = with_lease(step, task, entry)
    task = step.move(task, TaskStatus.TIMED_OUT, reason=over.reason)
    step.unqueue(task)
    if over.policy is TimeoutPolicy.TIME_OUT_WF:
        raise EndWorkflow(WorkflowStatus.TIMED_OUT, over.reason, task_id=task.id)
    settle(step, task)
    return Applied(changed=True, task=task)


def _timer(step: Step, event: ev.TimerFired) -> Applied:
    header = step.header
    if event.kind == "workflow_timeout":
        return _workflow_timeout(step)
    task = step.known(event.key)
    step.clear_timer(event.key)
    if task is None or not task.open or header.status not in WORKFLOW_OPEN:
        step.touched = True  # the stale timer still has to go
        return Applied(changed=False, task=task)
    if event.kind == "wait":
        task = step.move(task, TaskStatus.COMPLETED)
        settle(step, task)
    elif event.kind in ("launch", "run"):
        advance(step, run_rearmed(step, rearm(step, task, due_ms=step.now_ms)))
    else:
        raise InvariantError(f"timer of unknown kind {event.kind}")
    return Applied(changed=True, task=step.task(event.key))


def _workflow_timeout(step: Step) -> Applied:
    header, definition = step.header, step.graph.definition
    since_ms = header.timeout_from_ms or header.create_ms
    if header.status not in WORKFLOW_OPEN:
        step.clear_timer("workflow")
        step.touched = True
        return Applied(changed=False)
    if step.now_ms < since_ms + definition.timeout_seconds * 1000:
        arm_workflow_timeout(step)
        return Applied(changed=False)
    elapsed_s = (step.now_ms - since_ms) // 1000
    raise EndWorkflow(
        WorkflowStatus.TIMED_OUT,
        f"Workflow timed out after {elapsed_s} seconds. "
        f"Timeout configured as {definition.timeout_seconds} seconds. "
        "Timeout policy configured to TIME_OUT_WF",
    )


# ------------------------------------------------------------------------------------ the workflow as a whole
def _pause(step: Step, _: ev.Pause) -> Applied:
    header = step.header
    if header.status not in WORKFLOW_OPEN:
        raise ConflictError(
            f"Workflow {header.name}.{header.version}/{header.workflow_id} has ended, "
            "status cannot be updated."
        )
    if header.status is WorkflowStatus.PAUSED:
        return Applied(changed=False)
    step.move_workflow(WorkflowStatus.PAUSED)
    return Applied(changed=True)


def _resume(step: Step, _: ev.Resume) -> Applied:
    header = step.header
    if header.status is not WorkflowStatus.PAUSED:
        raise operations.not_paused(header)
    step.move_workflow(WorkflowStatus.RUNNING)
    header.last_retried_ms = header.timeout_from_ms = step.now_ms
    if header.rate_limited:
        return Applied(changed=True)  # it has not begun, and still waits for its slot
    arm_workflow_timeout(step)
    waiting, header.unprocessed = header.unprocessed, []
    wanted: list[Wanted] = []
    for task_id in waiting:
        wanted += ended(step, step.task(task_id))
    advance(step, wanted + _take_pending(step))
    return Applied(changed=True)


def _terminate(step: Step, event: ev.Terminate) -> Applied:
    status = step.header.status
    if status is WorkflowStatus.COMPLETED:
        raise ConflictError("Cannot terminate a COMPLETED workflow.")
    if status is WorkflowStatus.TERMINATED:
        return Applied(changed=False)
    end_workflow(step, EndWorkflow(WorkflowStatus.TERMINATED, event.reason), by_request=True)
    return Applied(changed=True)


def _continue(step: Step, _: ev.Continue) -> Applied:
    if step.header.status is not WorkflowStatus.RUNNING or not step.header.pending:
        return Applied(changed=False)
    advance(step, _take_pending(step))
    return Applied(changed=True)


def _take_pending(step: Step) -> list[Wanted]:
    waiting, step.header.pending = step.header.pending, []
    return [Wanted(ref=item["ref"], place=msgspec.convert(item["place"], Place)) for item in waiting]


def _restart(step: Step, _: ev.Restart) -> Applied:
    operations.reset(step)
    step.header.rate_limit_key = slots.slot_key(step)
    arm_workflow_timeout(step)
    begin(step)
    operations.tell_parent(step)
    return Applied(changed=True)


def _retry(step: Step, _: ev.Retry) -> Applied:
    wanted = operations.retry(step)
    arm_workflow_timeout(step)
    advance(step, wanted)
    operations.tell_parent(step)
    return Applied(changed=True)


def _rerun(step: Step, event: ev.Rerun) -> Applied:
    if event.task_id is None:
        operations.reset(
            step, workflow_input=event.workflow_input, correlation_id=event.correlation_id, rerun=True
        )
        arm_workflow_timeout(step)
        begin(step)
    else:
        wanted = operations.rerun_from(step, event)
        arm_workflow_timeout(step)
        advance(step, wanted)
    operations.tell_parent(step)
    return Applied(changed=True)


def _child_revived(step: Step, event: ev.ChildRevived) -> Applied:
    wanted = operations.child_revived(step, event.task_id, event.child_id)
    if wanted is None:
        return Applied(changed=False)
    arm_workflow_timeout(step)
    if step.header.status is WorkflowStatus.RUNNING:
        advance(step, wanted)
    operations.tell_parent(step)
    return Applied(changed=True)


def _skip(step: Step, event: ev.SkipTask) -> Applied:
    operations.skip(step, event)
    return Applied(changed=True)


def _message(step: Step, event: ev.MessageSent) -> Applied:
    header = step.header
    if header.status not in WORKFLOW_OPEN:
        raise ConflictError(
            f"Workflow {header.workflow_id} is not running, it takes no messages. Status = {header.status}"
        )
    task = inbox.receive(step, event.message_id, event.payload)
    if task is not None:
        settle(step, task)
    return Applied(changed=True, task=task)


def _reset_callbacks(step: Step, _: ev.ResetCallbacks) -> Applied:
    return Applied(changed=interventions.reset_callbacks(step))


def _set_variables(step: Step, event: ev.SetVariables) -> Applied:
    interventions.set_variables(step, event)
    return Applied(changed=True)


def _jump(step: Step, event: ev.Jump) -> Applied:
    step.header.rate_limited = False  # whoever jumps does not wait for a slot
    interventions.jump(step, event)
    return Applied(changed=True)


_HANDLERS: dict[type, Callable[[Step, Any], Applied]] = {
    ev.Start: _start,
    ev.TaskReported: _reported,
    ev.DeadlinePassed: _deadline,
    ev.TimerFired: _timer,
    ev.ChildEnded: child_events.ended,
    ev.ChildFailed: child_events.failed,
    ev.ChildAttached: child_events.attached,
    ev.WaiterAdded: child_events.waiter_added,
    ev.ChildRevived: _child_revived,
    ev.Pause: _pause,
    ev.Resume: _resume,
    ev.Terminate: _terminate,
    ev.Retry: _retry,
    ev.Restart: _restart,
    ev.Rerun: _rerun,
    ev.SkipTask: _skip,
    ev.ResetCallbacks: _reset_callbacks,
    ev.SetVariables: _set_variables,
    ev.Jump: _jump,
    ev.MessageSent: _message,
    ev.SlotFreed: _slot_freed,
    ev.Continue: _continue,
}

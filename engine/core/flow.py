"""How an execution moves on: tasks are created and ended, joins and loops counted, the workflow ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Raw
from msgspec.structs import replace

from engine.core import retry, schemas
from engine.core.errors import InvariantError
from engine.core.facts import DefinitionFact, Fact, FactsMissingError
from engine.core.graph import QUEUED_SYSTEM_TYPES, in_queue
from engine.core.mapping import Source, evaluate, source_of, want
from engine.core.records import EMPTY_OBJECT, QueueEntry, Task, TaskState, iteration_in
from engine.core.scope import StepScope
from engine.core.statuses import TASK_SUCCESSFUL, TaskStatus, WorkflowStatus
from engine.core.step import TOP, EndWorkflow, Place, Step, Wanted, unset
from engine.core.tasks import (
    TASK_TYPES,
    WORKER,
    calls,
    do_while,
    exclusive_join,
    forks,
    sub_workflow,
    switch,
    waits,
)
from engine.core.timeouts import queue_entry, queue_name

STEP_TASKS_MAX = 50
"""Tasks one event may create before the rest is left to a Continue event.

An endless loop of tasks that end at once cannot hold the server so. It is low because a loop's condition is a
fact that the step asks for and is then decided again from its beginning: 50 costs each task some 25 times its
own work, 1,000 cost it 500 times. A fork is created whole all the same.
"""


# ------------------------------------------------------------------------------------------------ creating
def advance(step: Step, wanted: Sequence[Wanted]) -> None:
    """Create what is wanted, run what ends at once, go on behind it; end the workflow if nothing is left.

    Tasks are created pass by pass, so that the order of their seq is the order in which upstream lists them.
    """
    todo = list(wanted)
    while todo:
        if step.created_in_event > STEP_TASKS_MAX:
            step.header.pending += [
                {"ref": item.ref, "place": msgspec.to_builtins(item.place)} for item in todo
            ]
            step.send("continue", step.header.workflow_id, {})
            return
        created: list[Task] = []
        following: list[Wanted] = []
        for item in todo:
            if item.ref in step.header.skipped and item.place == TOP:
                following += _step_over(step, item)
            else:
                created += map_source(step, source_of(step.graph.nodes[item.ref], item.place))
        following += _run_all(step, created)
        todo = step.later + following
        step.later = []
    if step.header.open == 0 and not step.header.pending:
        _complete(step)


def map_source(step: Step, source: Source) -> list[Task]:
    """Create the task (and what comes with it) of a source."""
    kind = TASK_TYPES.get(source.workflow_task.type, WORKER)
    return kind.create(step, source, map_source)


def _run_all(step: Step, tasks: list[Task]) -> list[Wanted]:
    """Execute tasks just created; asks for the facts that all of them lack at once.

    A wide fork of scripts is decided twice so, not once more for every branch.
    """
    following: list[Wanted] = []
    lacking: list[Fact] = []
    for task in tasks:
        try:
            following += _run(step, task)
        except FactsMissingError as missing:
            lacking += missing.facts
        except (EndWorkflow, InvariantError):
            if not lacking:
                raise
            break  # decided on half the facts: it does not count
    if lacking:
        raise FactsMissingError(dict.fromkeys(lacking))
    return following


def _run(step: Step, task: Task) -> list[Wanted]:
    """Execute a task just created, if its type ends by itself."""
    current = step.known(task.id)
    if current is not None and current.id in step.ran_early:
        step.ran_early.remove(current.id)
        return ended(step, current)
    if current is None or not current.open:
        return []
    kind = TASK_TYPES.get(task.head.task_type)
    if kind is None:
        misfit = schemas.input_problem(step, current)
        if misfit is None:
            return []
        step.unqueue(current)
        return ended(step, step.move(current, TaskStatus.FAILED_WITH_TERMINAL_ERROR, reason=misfit))
    ended_task = kind.run(step, current)
    if ended_task is not None:
        return ended(step, ended_task)
    if task.head.task_type == "DO_WHILE":
        return do_while.begin(step, current)
    return []


def _step_over(step: Step, item: Wanted) -> list[Wanted]:
    """A task skipped before it was reached: its record exists, the flow goes on behind it."""
    task = step.task(step.header.skipped.pop(item.ref))
    return final(step, step.put(replace(task, state=replace(task.state, executed=True))))


# ----------------------------------------------------------------------------------------------- ending tasks
def ended(step: Step, task: Task) -> list[Wanted]:
    """A task has reached an ended status: retry it, forgive it, fail the workflow, or go on behind it.

    Raises:
        EndWorkflow: the failure is the workflow's.
    """
    header = step.header
    if task.status not in TASK_SUCCESSFUL:
        if task.status in (TaskStatus.FAILED, TaskStatus.FAILED_WITH_TERMINAL_ERROR):
            header.failed_seen[task.ref] = task.head.task_def_name
        definition = step.workflow_task(task)
        policy = definition.task_definition
        jitter_ms = (
            step.ids.below(policy.backoff_jitter_ms + 1)
            if policy is not None and policy.backoff_jitter_ms
            else 0
        )
        reason = task.state.reason_for_incompletion
        text = None if reason is UNSET else reason
        decision = retry.after_failure(task, definition, reason=text, now_ms=step.now_ms, jitter_ms=jitter_ms)
        match decision:
            case retry.RetryAttempt():
                new_attempt(step, task, delay_seconds=decision.delay_seconds, delay_ms=decision.delay_ms)
                return []
            case retry.FailWorkflow():
                raise EndWorkflow(decision.status, decision.reason, task_id=task.id)
            case retry.Forgive():
                if task.head.retry_count == 0:
                    header.failed_seen.pop(task.ref, None)  # forgiven at once: it does not count as failed
                task = step.move(
                    task, TaskStatus.COMPLETED_WITH_ERRORS, end_time=task.state.end_time or step.now_ms
                )
            case retry.Tolerate():
                header.permissive_failures[task.ref] = task.id
    else:
        header.permissive_failures.pop(task.ref, None)
    return final(step, step.put(replace(task, state=replace(task.state, executed=True))))


def settle(step: Step, task: Task) -> None:
    """Go on behind a task that ended; a paused workflow remembers it for its resume."""
    if step.header.status is WorkflowStatus.PAUSED:
        step.header.unprocessed.append(task.id)
    else:
        advance(step, ended(step, task))


def final(step: Step, task: Task) -> list[Wanted]:
    """No attempt follows: count it off, tell the joins and the loop around it, and say what comes next."""
    wanted = _successors(step, task)
    step.count(task.links.loop, -1)
    for join_ref in forks.joins_of(step, task):
        join = forks.join_progress(step, join_ref)
        if join is not None:
            wanted += ended(step, join)
    for waiting in exclusive_join.joins_of(step, task):
        wanted += _run(step, waiting)
    loop = task.links.loop
    state = step.loop_state(loop)
    if loop is not None and state is not None and state.open == 0:
        done, again = do_while.iteration_done(step, loop)
        wanted += again if done is None else ended(step, done)
    return wanted


def _successors(step: Step, task: Task) -> list[Wanted]:
    if task.id in step.expanded:
        return []  # created with it
    ref = following(step, task)
    if ref is None:
        return []
    if step.header.revived and ref not in step.header.skipped and step.by_refs([ref + task.links.suffix]):
        return []  # it ran before the workflow was brought back
    return [want(step, ref, place_of(task))]


def following(step: Step, task: Task) -> str | None:
    """The reference that an ended task leads to; None where its list, its branch or the workflow ends."""
    node = step.node(task)
    if node is None or node.type == "TERMINATE":
        return None
    if task.status is TaskStatus.SKIPPED:
        return node.next
    if task.head.task_type in ("SWITCH", "DECISION"):
        chosen = switch.branch_of(step, node.ref, switch.chosen_case(step, task))
        return chosen[0] if chosen else node.next
    return None if task.head.task_type == "FORK" else node.next


def place_of(task: Task) -> Place:
    """Where the tasks beside this one are created; a DO_WHILE's own `iteration` counts rounds, not places."""
    suffix = task.links.suffix
    return Place(loop=task.links.loop, suffix=suffix, iteration=iteration_in(suffix))


def new_attempt(
    step: Step,
    task: Task,
    *,
    delay_seconds: int,
    delay_ms: int,
    keep_reason: bool = True,
    executed: bool = False,
) -> Task:
    """Schedule another attempt at a task; the old one stays in the list, marked retried.

    Source: conductor-oss/conductor, DeciderService.retry and WorkflowExecutor.taskToBeRescheduled.
    """
    step.put(replace(task, state=replace(task.state, retried=True, executed=executed or task.state.executed)))
    definition = step.workflow_task(task)
    source = Source(
        workflow_task=definition,
        template=step.graph.nodes[task.links.base_ref].template
        if task.links.in_def
        else _own_template(step, task),
        place=place_of(task),
    )
    new_id = step.ids.uuid()
    old_input = step.document(task.head.input_data)
    head = replace(
        task.head,
        task_id=new_id,
        retried_task_id=task.id,
        retry_count=task.head.retry_count + 1,
        start_delay_in_seconds=delay_seconds,
        input_data=Raw(msgspec.json.encode(_fresh_input(step, source, task, old_input, new_id))),
    )
    reason = task.state.reason_for_incompletion if keep_reason else UNSET
    state = TaskState(
        callback_after_seconds=delay_seconds,
        reason_for_incompletion=reason,
        external_input_payload_storage_path=task.state.external_input_payload_storage_path,
    )
    attempt = step.add(head, state, replace(task.links), EMPTY_OBJECT)
    return rearm(step, attempt, due_ms=step.now_ms + delay_ms)


def rearm(step: Step, task: Task, *, due_ms: int) -> Task:
    """Set a task that is SCHEDULED (again) going, as its type does."""
    kind = task.head.task_type
    if kind == "SUB_WORKFLOW":
        if due_ms <= step.now_ms:
            return sub_workflow.launch(step, task)
        step.timer(task.id, "launch", due_ms)
        return task
    if kind == "WAIT":
        return waits.arm(step, step.move(task, TaskStatus.IN_PROGRESS, start_time=step.now_ms))
    if kind in QUEUED_SYSTEM_TYPES:
        step.queue(calls.server_entry(task, step.task_def(task), due_ms=due_ms))
        return task
    if kind in TASK_TYPES:
        if due_ms > step.now_ms:
            step.timer(task.id, "run", due_ms)
            return task
        return step.move(task, TaskStatus.IN_PROGRESS, start_time=step.now_ms)
    policy = step.task_def(task)
    step.queue(queue_entry(task, policy, queue=queue_name(task), due_ms=due_ms))
    return task


def run_rearmed(step: Step, task: Task) -> list[Wanted]:
    """Execute a rearmed task whose type ends by itself."""
    return _run(step, task)


def _own_template(step: Step, task: Task) -> Any:
    from engine.core.graph import compile_task

    return compile_task(step.workflow_task(task))


def _fresh_input(step: Step, source: Source, task: Task, old: dict[str, Any], task_id: str) -> dict[str, Any]:
    """The old input overlaid with freshly evaluated parameters; a sub-workflow's are its workflowInput."""
    fresh = evaluate(step, source, task_id)
    if task.head.task_type == "SUB_WORKFLOW":
        return {**old, **fresh, "workflowInput": {**(old.get("workflowInput") or {}), **fresh}}
    return {**old, **fresh}


# ---------------------------------------------------------------------------------------- ending the workflow
def _complete(step: Step) -> None:
    failed = []
    for task_id in step.header.permissive_failures.values():
        task = step.task(task_id)
        reason = task.state.reason_for_incompletion
        text = "null" if reason is UNSET else reason
        failed.append(f"Task {task.id} failed with status: {task.status} and reason: '{text}'")
    if failed:
        raise EndWorkflow(WorkflowStatus.FAILED, ". ".join(failed))
    definition = step.graph.definition
    if definition.enforce_schema and definition.output_schema is not None:
        output = _output(step)
        misfit = schemas.problem(step, schemas.enforced(definition.output_schema), output)
        if misfit is not None:
            reason = f"The output does not fit the workflow's schema: {misfit}"
            raise EndWorkflow(WorkflowStatus.FAILED, reason, output=output)
    raise EndWorkflow(WorkflowStatus.COMPLETED, None)


def end_workflow(step: Step, end: EndWorkflow, *, by_request: bool = False) -> None:
    """Cancel what is open, fix output and reason, tell the parent, start the failure workflow.

    Args:
        step: where the end is recorded.
        end: the status, reason, causing task and output it ends with.
        by_request: an API call ended it; then no failure workflow is started (upstream passes none).
    """
    header = step.header
    was_open = header.status in (WorkflowStatus.RUNNING, WorkflowStatus.PAUSED)
    if was_open:
        for task in step.open_tasks():
            cancel_task(step, task, end)
    header.inbox = []
    header.open, header.joins, header.loops, header.pending, header.unprocessed = 0, {}, {}, [], []
    header.permissive_failures = {}
    header.rate_limited = False
    output = end.output if end.output is not None else _output(step)
    step.move_workflow(end.status)
    header.reason = end.reason
    header.failed_task_id = end.task_id
    if was_open:
        header.end_ms = step.now_ms
    for ref, name in header.failed_seen.items():
        if ref not in header.failed_refs:
            header.failed_refs.append(ref)
        if name not in header.failed_names:
            header.failed_names.append(name)
    step.clear_timer("workflow")
    step.output = output
    if not by_request and end.status is not WorkflowStatus.COMPLETED:
        _start_failure_workflow(step, end)
    if was_open:
        _tell_parents(step)


def _tell_parents(step: Step) -> None:
    """Tell the parent, and whoever else waits for this execution, that it ended."""
    header = step.header
    told = list(header.waiters)
    if header.parent_workflow_id and header.parent_task_id:
        told.insert(0, (header.parent_workflow_id, header.parent_task_id))
    for workflow_id, task_id in told:
        body = {
            "task_id": task_id,
            "child_id": header.workflow_id,
            "name": f"{header.name}.{header.version}/{header.workflow_id}",
            "status": header.status,
            "output": step.output,
            "reason": header.reason,
        }
        step.send("child_ended", workflow_id, body)
    header.waiters = []


def cancel_task(step: Step, task: Task, end: EndWorkflow) -> None:
    if task.head.task_type == "DO_WHILE":
        state = step.header.loops.get(task.ref)
        if state is not None and state.iteration:
            task = step.put(replace(task, head=replace(task.head, iteration=state.iteration)), head=True)
            output = do_while.loop_output(step, task, state.iteration)
            output.pop(str(state.iteration), None)  # of a round cut short nothing is kept
            task = step.put(replace(task, output=Raw(msgspec.json.encode(output))))
    if in_queue(task.head.task_type):
        task = with_lease(step, task, step.entry(task))
    step.unqueue(task)
    cancelled = step.move(task, TaskStatus.CANCELED)
    child_id = cancelled.state.sub_workflow_id
    if task.head.task_type == "SUB_WORKFLOW" and isinstance(child_id, str):
        reason = f"Parent workflow has been terminated with status {end.status}"
        if end.reason:
            reason = f"Parent workflow has been terminated with reason: {end.reason}"
        step.send("terminate_child", child_id, {"reason": reason, "parent_task_id": task.id})


def with_lease(step: Step, task: Task, entry: QueueEntry | None) -> Task:
    """Take over into the task what its queue entry knows of polls; the entry goes when the task ends."""
    lease = entry.lease if entry is not None else None
    if lease is None or not lease.start_ms:
        return task
    state = replace(
        task.state,
        start_time=task.state.start_time or lease.start_ms,
        poll_count=lease.poll_count,
        worker_id=unset(lease.worker_id or None),
    )
    return step.put(replace(task, state=state))


def _output(step: Step) -> Raw:
    """OutputParameters if there are any, else the output of the last task; none before the first task."""
    last = step.header.last_task_id
    if last is None:
        return EMPTY_OBJECT
    definition = step.graph.definition
    if definition.output_parameters:
        value = step.graph.output.evaluate(StepScope(step, None, step.view.environment))
        return Raw(msgspec.json.encode(value))
    return step.task(last).output


def _start_failure_workflow(step: Step, end: EndWorkflow) -> None:
    definition, header = step.graph.definition, step.header
    name = definition.failure_workflow
    if not name:
        return
    if name.startswith("$"):
        parts = name.split(".")
        name = str(step.document(step.workflow_input).get(parts[2])) if len(parts) > 2 else name
    fact = DefinitionFact(name, definition.failure_workflow_version)
    if fact not in step.view.definitions:
        raise FactsMissingError([fact])
    output = dict(step.document(step.output)) if step.output is not None else {}
    if step.view.definitions[fact] is None:
        output["conductor.failure_workflow"] = (
            f"Error workflow {name} failed to start.  reason: No such workflow defined. name={name}, "
            f"version={definition.failure_workflow_version}"
        )
    else:
        failure_id = step.ids.uuid()
        output["conductor.failure_workflow"] = failure_id
        body = {
            "name": name,
            "version": definition.failure_workflow_version,
            "failed_workflow_id": header.workflow_id,
            "reason": end.reason,
            "failure_status": end.status,
            "failure_task_id": end.task_id,
            "correlation_id": header.correlation_id,
            "task_to_domain": header.task_to_domain,
        }
        step.send("start_failure_workflow", failure_id, body)
    step.output = Raw(msgspec.json.encode(output))

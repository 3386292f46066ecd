"""Operations on a whole execution: retry, rerun, restart, skip, and reviving a revived child's ancestors.

These are rare and may read the whole task list. Counters are not patched but rebuilt from the tasks.
Source of behaviour and texts: conductor-oss/conductor, WorkflowExecutorOps.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Raw
from msgspec.structs import replace

from engine.core import events as ev
from engine.core.downstream import downstream
from engine.core.errors import ConflictError, IllegalStateError, InvalidRequestError, NotFoundError
from engine.core.facts import AllTasksFact, FactsMissingError
from engine.core.flow import following, new_attempt, place_of, rearm, run_rearmed
from engine.core.graph import SYSTEM_TYPES, Node, in_queue
from engine.core.mapping import want
from engine.core.records import (
    EMPTY_OBJECT,
    Header,
    JoinState,
    LoopState,
    Task,
    TaskHead,
    TaskLinks,
    TaskState,
    iteration_in,
)
from engine.core.statuses import TASK_SUCCESSFUL, WORKFLOW_OPEN, TaskStatus, WorkflowStatus
from engine.core.step import Place, Step, Wanted
from engine.core.tasks import do_while, forks, sub_workflow
from engine.core.tasks.waits import arm

IN_PLACE_TYPES = frozenset({"DO_WHILE", "FORK_JOIN", "JOIN", "EXCLUSIVE_JOIN"})
"""Containers a retry brings back as they are, instead of a new attempt beside them."""

FAILURES = frozenset({TaskStatus.FAILED, TaskStatus.FAILED_WITH_TERMINAL_ERROR, TaskStatus.TIMED_OUT})
_NAMED = FAILURES - {TaskStatus.TIMED_OUT}  # upstream never lists a timed-out task among the failed ones


def long_name(header: Header) -> str:
    return f"{header.name}.{header.version}/{header.workflow_id}.{header.status}"


def not_paused(header: Header) -> IllegalStateError:
    return IllegalStateError(
        f"The workflow {header.workflow_id} is not PAUSED so cannot resume. Current status is {header.status}"
    )


# --------------------------------------------------------------------------------------------- restart, rerun
def reset(
    step: Step,
    *,
    workflow_input: dict[str, Any] | None = None,
    correlation_id: str | None = None,
    rerun: bool = False,
) -> None:
    """Forget every task and stand at the beginning again; variables keep their values, as upstream's do."""
    header = step.header
    word = "rerun" if rerun else "restart"
    if header.status in WORKFLOW_OPEN:
        raise ConflictError(f"Workflow: {long_name(header)} is not in terminal state, unable to {word}.")
    graph = step.view.restart_graph if not rerun else None
    if graph is None:
        graph = step.graph
    if not rerun and header.status is WorkflowStatus.COMPLETED and not graph.definition.restartable:
        raise NotFoundError(f"Workflow: {long_name(header)} is non-restartable")
    step.forget_all()
    if graph is not step.graph:
        step.new_graph = graph
        header.version, header.definition_hash = graph.definition.version, graph.hash
    step.move_workflow(WorkflowStatus.RUNNING)
    header.revived = False
    header.end_ms = header.last_retried_ms = header.timeout_from_ms = 0
    header.reason = header.failed_task_id = header.last_task_id = None
    header.seq = header.open = header.dynamic_forks = 0
    header.joins, header.loops, header.skipped, header.permissive_failures, header.failed_seen = (
        {},
        {},
        {},
        {},
        {},
    )
    header.unprocessed, header.pending = [], []
    step.output = EMPTY_OBJECT
    if rerun:
        header.failed_refs, header.failed_names = [], []
        header.timeout_from_ms = step.now_ms
        if workflow_input:
            step.input = Raw(msgspec.json.encode(workflow_input))
        if correlation_id:
            header.correlation_id = correlation_id
    else:
        header.create_ms = step.now_ms


def rerun_from(step: Step, event: ev.Rerun) -> list[Wanted]:
    """Run again from one task: what came after it goes, the task itself keeps its id."""
    header = step.header
    if header.status in WORKFLOW_OPEN:
        raise ConflictError(f"Workflow: {long_name(header)} is not in terminal state, unable to rerun.")
    tasks = _whole_list(step)
    task = next((t for t in tasks if t.id == event.task_id), None)
    if task is None:
        raise InvalidRequestError(f"Task {event.task_id} not found")
    if task.status is TaskStatus.SKIPPED:
        raise InvalidRequestError(f"Task {event.task_id} was skipped: rerun the task before it")
    _run_again(step)
    header.failed_refs, header.failed_names = [], []
    if event.workflow_input:
        step.input = Raw(msgspec.json.encode(event.workflow_input))
    if event.correlation_id:
        header.correlation_id = event.correlation_id
    is_fork = task.head.task_type == "FORK"
    gone = downstream(step.graph, task, tasks)
    later_attempts = {item.id for item in tasks if item.ref == task.ref and item.head.seq > task.head.seq}
    gone |= later_attempts
    if is_fork:
        gone |= {task.id} | _of_fork(step, task, tasks)
    for later in tasks:
        if later.id in gone:
            step.remove(later)
    header.seq = max((item.head.seq for item in step.all_tasks()), default=0)
    going = _revive_failed(step, apart_from=task.id)
    if is_fork:
        # the missing fork is mapped anew from its predecessor
        return _rebuild(step) + _run_each(step, going)
    head = replace(task.head, scheduled_time=step.now_ms)
    if event.task_input is not None:
        value = event.task_input
        if task.head.task_type == "SUB_WORKFLOW":
            value = {**step.document(task.head.input_data), "workflowInput": event.task_input}
        head = replace(head, input_data=Raw(msgspec.json.encode(value)))
    task = step.put(replace(task, head=head, output=EMPTY_OBJECT), head=True)
    reason, worker_id = task.state.reason_for_incompletion, task.state.worker_id
    task = _set_going(step, task)
    if (
        task.open and task.head.task_type not in SYSTEM_TYPES
    ):  # shown until somebody polls it, as upstream does
        state = replace(task.state, reason_for_incompletion=reason, worker_id=worker_id)
        task = step.put(replace(task, state=state))
    going.append(task)
    return _rebuild(step) + _run_each(step, going)


def _of_fork(step: Step, fork: Task, tasks: list[Task]) -> set[str]:
    """The JOIN and the branches of a fork."""
    join = step.graph.nodes[fork.links.base_ref].next
    ref = None if join is None else join + fork.links.suffix
    return {task.id for task in tasks if task.ref == ref or ref in task.links.joins}


def _revive_failed(step: Step, *, apart_from: str) -> list[Task]:
    """Set going again what failed elsewhere, and attempts whose later ones have just been removed."""
    newest = {task.ref: task for task in step.all_tasks()}
    going = []
    for item in newest.values():
        if item.id == apart_from or not (
            item.status in FAILURES | {TaskStatus.CANCELED} or item.state.retried
        ):
            continue
        if item.head.task_type in IN_PLACE_TYPES:
            step.revive(item, TaskStatus.IN_PROGRESS, reason_for_incompletion=UNSET)
        else:
            going.append(_set_going(step, item))
    return going


# ------------------------------------------------------------------------------------------------ retry
def retry(step: Step) -> list[Wanted]:
    """Give every failed or cancelled task another attempt; containers come back in place."""
    header = step.header
    if header.status in WORKFLOW_OPEN:
        raise NotFoundError(f"Workflow is still running.  status={header.status}")
    tasks = _whole_list(step)
    if not tasks:
        raise ConflictError("Workflow has not started yet")
    failed: dict[str, Task] = {}
    for task in tasks:
        if task.status in FAILURES or task.status is TaskStatus.CANCELED:
            failed[task.ref] = task
        else:
            failed.pop(task.ref, None)
    if not failed and header.status is not WorkflowStatus.TIMED_OUT:
        raise ConflictError(
            "There are no retryable tasks! "
            "Use restart if you want to attempt entire workflow execution again."
        )
    _run_again(step)
    header.last_retried_ms = step.now_ms
    going: list[Task] = []
    for task in sorted(failed.values(), key=lambda t: t.head.seq):
        if task.head.task_type in IN_PLACE_TYPES:
            head = replace(
                task.head, retry_count=task.head.retry_count + (task.status is not TaskStatus.CANCELED)
            )
            task = step.put(replace(task, head=head), head=True)
            step.revive(task, TaskStatus.IN_PROGRESS, reason_for_incompletion=UNSET)
        else:
            going.append(
                new_attempt(step, task, delay_seconds=0, delay_ms=0, keep_reason=False, executed=True)
            )
    wanted = _rebuild(step)
    return wanted + _run_each(step, going)


def _run_each(step: Step, going: list[Task]) -> list[Wanted]:
    """Run what ends by itself among tasks just set going; loops and joins were seen to by the rebuild."""
    wanted: list[Wanted] = []
    for task in going:
        current = step.known(task.id)
        if current is not None and current.head.task_type not in IN_PLACE_TYPES:
            wanted += run_rearmed(step, current)
    return wanted


def child_revived(step: Step, task_id: str, child_id: str) -> list[Wanted] | None:
    """A child runs again: so must this workflow, unless the task no longer counts (then None)."""
    header = step.header
    task = step.known(task_id)
    if task is None:
        return None  # restarted since
    if task.state.retried or task.state.sub_workflow_id != child_id or step.workflow_task(task).optional:
        return None
    if task.status in TASK_SUCCESSFUL:
        return None  # what the child gave was taken up already; running it again is its own affair
    if header.status in WORKFLOW_OPEN:
        if task.id not in header.unprocessed:
            return None
        header.unprocessed.remove(task.id)
        step.revive(task, TaskStatus.IN_PROGRESS, reason_for_incompletion=UNSET, subworkflow_changed=True)
        return []
    tasks = _whole_list(step)
    going: list[Task] = []
    _run_again(step)
    header.last_retried_ms = step.now_ms
    header.failed_refs, header.failed_names = [], []
    for item in tasks:
        if item.id == task_id:
            step.revive(item, TaskStatus.IN_PROGRESS, reason_for_incompletion=UNSET, subworkflow_changed=True)
        elif item.state.retried or item.status not in FAILURES | {TaskStatus.CANCELED}:
            continue
        elif item.head.task_type in IN_PLACE_TYPES:
            step.revive(item, TaskStatus.IN_PROGRESS, reason_for_incompletion=UNSET)
        elif item.status in FAILURES and in_queue(item.head.task_type):
            going.append(
                new_attempt(step, item, delay_seconds=0, delay_ms=0, keep_reason=False, executed=True)
            )
        else:
            head = replace(item.head, retry_count=item.head.retry_count + 1)
            going.append(_set_going(step, step.put(replace(item, head=head), head=True)))
    return _rebuild(step) + _run_each(step, going)


def tell_parent(step: Step) -> None:
    header = step.header
    if header.parent_workflow_id and header.parent_task_id:
        body = {"task_id": header.parent_task_id, "child_id": header.workflow_id}
        step.send("child_revived", header.parent_workflow_id, body)


# ------------------------------------------------------------------------------------------------ skip
def skip(step: Step, event: ev.SkipTask) -> None:
    header = step.header
    if header.status is not WorkflowStatus.RUNNING:
        raise IllegalStateError(
            f"The workflow {header.workflow_id} is not running "
            f"so the task referenced by {event.ref} cannot be skipped"
        )
    node = step.graph.nodes.get(event.ref)
    if node is None:
        raise IllegalStateError(
            f"The task referenced by {event.ref} does not exist in the WorkflowDefinition {header.name}"
        )
    if node.type in ("JOIN", "EXCLUSIVE_JOIN") or node.loop is not None:
        where = "is a JOIN: skip its fork instead" if node.loop is None else "is inside a loop"
        raise IllegalStateError(f"The task referenced by {event.ref} {where}, cannot be skipped")
    if step.latest(event.ref) is not None:
        raise IllegalStateError(
            f"The task referenced {event.ref} has already been processed, cannot be skipped"
        )
    _skipped(step, node, event.input, event.output)
    if node.type in ("FORK_JOIN", "FORK_JOIN_DYNAMIC") and node.next is not None:
        _skipped(step, step.graph.nodes[node.next], EMPTY_OBJECT, EMPTY_OBJECT)  # its JOIN goes with it


def _skipped(step: Step, node: Node, input: Raw, output: Raw) -> None:
    header = step.header
    head = TaskHead(
        task_type=node.task.name,
        reference_task_name=node.ref,
        task_def_name=node.task.name,
        task_id=step.ids.uuid(),
        workflow_instance_id=header.workflow_id,
        workflow_type=header.name,
        input_data=input,
        workflow_priority=header.priority,
    )
    state = TaskState(status=TaskStatus.SKIPPED, end_time=step.now_ms)
    task = step.add(head, state, TaskLinks(base_ref=node.ref), output)
    header.skipped = {**header.skipped, node.ref: task.id}


# ------------------------------------------------------------------------------------------------ shared
def _whole_list(step: Step) -> list[Task]:
    if not step.view.all_known:
        raise FactsMissingError([AllTasksFact()])
    return step.all_tasks()


def _run_again(step: Step) -> None:
    header = step.header
    step.move_workflow(WorkflowStatus.RUNNING)
    header.revived = True
    header.timeout_from_ms = step.now_ms
    header.end_ms = 0
    header.reason = header.failed_task_id = None
    step.output = EMPTY_OBJECT


def _set_going(step: Step, task: Task) -> Task:
    """Set one task of an ended workflow going again under its own id."""
    kind = task.head.task_type
    fresh = {
        "poll_count": 0,
        "start_time": 0,
        "worker_id": UNSET,
        "reason_for_incompletion": UNSET,
        "callback_after_seconds": 0,
    }
    step.unqueue(task)
    if kind == "SUB_WORKFLOW":
        task = step.revive(task, TaskStatus.SCHEDULED, **fresh, sub_workflow_id=UNSET)
        return sub_workflow.launch(step, task, again=True)
    if kind == "WAIT":
        return arm(step, step.revive(task, TaskStatus.IN_PROGRESS, **{**fresh, "start_time": step.now_ms}))
    if kind in SYSTEM_TYPES and not in_queue(kind):
        if kind == "DO_WHILE":
            task = step.put(replace(task, head=replace(task.head, iteration=0)), head=True)
        return step.revive(task, TaskStatus.IN_PROGRESS, **{**fresh, "start_time": step.now_ms})
    return rearm(step, step.revive(task, TaskStatus.SCHEDULED, **fresh), due_ms=step.now_ms)


def _rebuild(step: Step) -> list[Wanted]:
    """Count afresh what is open, waited for and looping; give what should have followed but does not exist.

    A step that ends a workflow drops what it was about to create, and a rerun removes tasks: both leave ended
    tasks without their successors.
    """
    header = step.header
    _remove_half_forks(step)
    newest: dict[str, Task] = {}
    for task in step.all_tasks():
        newest[task.ref] = task
        if task.status in TASK_SUCCESSFUL and not task.state.executed and task.ref not in header.skipped:
            # it ended while the workflow was paused, and nobody resumed it
            newest[task.ref] = step.put(replace(task, state=replace(task.state, executed=True)))
    _revive_around(step, newest)
    newest = {ref: step.task(task.id) for ref, task in newest.items()}
    header.open = sum(task.open for task in newest.values())
    header.dynamic_forks = sum(
        task.head.task_type == "FORK"
        and (node := step.node(task)) is not None
        and node.type == "FORK_JOIN_DYNAMIC"
        for task in newest.values()
    )
    header.skipped = {ref: tid for ref, tid in header.skipped.items() if step.known(tid) is not None}
    header.loops = {}
    for task in newest.values():
        if task.open and task.head.task_type == "DO_WHILE":
            inner = [t for t in newest.values() if t.links.loop == task.ref]
            iteration = max((iteration_in(t.links.suffix) for t in inner), default=0)
            open_count = sum(t.open for t in inner)
            header.loops[task.ref] = LoopState(task_id=task.id, iteration=iteration, open=open_count)
    header.joins = {}
    for task in newest.values():
        if task.open and task.head.task_type == "JOIN":
            waiting = sum(not _is_final(newest.get(ref)) for ref in _joined_refs(step, task))
            header.joins[task.ref] = JoinState(task_id=task.id, waiting=waiting)
    header.failed_seen = {
        task.ref: task.head.task_def_name for task in step.all_tasks() if task.status in _NAMED
    }
    header.permissive_failures = {
        task.ref: task.id
        for task in newest.values()
        if not task.open and task.status not in TASK_SUCCESSFUL and step.workflow_task(task).permissive
    }
    step.latest_overlay.update(
        {task.links.base_ref: task.id for task in sorted(newest.values(), key=lambda t: t.head.seq)}
    )
    last = max(newest.values(), key=lambda t: t.head.seq, default=None)
    header.last_task_id = None if last is None else last.id
    return _frontier(step, newest)


def _remove_half_forks(step: Step) -> None:
    """A fork whose creation ended the workflow has no JOIN: it is taken away, to be created anew."""
    tasks = step.all_tasks()
    refs = {task.ref for task in tasks}
    for task in tasks:
        if task.head.task_type == "FORK" and step.known(task.id) is not None:
            join = step.graph.nodes[task.links.base_ref].next
            if join is not None and join + task.links.suffix not in refs:
                gone = {task.id} | downstream(step.graph, task, tasks) | _of_fork(step, task, tasks)
                for item in tasks:
                    if item.id in gone:
                        step.remove(item)


def _revive_around(step: Step, newest: dict[str, Task]) -> None:
    """An ended JOIN or DO_WHILE around a task that is open again must be open, too."""
    moved = True
    while moved:
        moved = False
        for ref, task in list(newest.items()):
            if task.open or task.status is TaskStatus.SKIPPED:
                continue
            kind = task.head.task_type
            inside = [newest.get(name) for name in _joined_refs(step, task)] if kind == "JOIN" else []
            if kind == "DO_WHILE":
                inside = [t for t in newest.values() if t.links.loop == ref]
            if any(t is not None and t.open for t in inside):
                newest[ref] = step.revive(task, TaskStatus.IN_PROGRESS, reason_for_incompletion=UNSET)
                moved = True


def _frontier(step: Step, newest: dict[str, Task]) -> list[Wanted]:
    wanted: list[Wanted] = []
    if not newest and step.graph.first is not None:
        return [want(step, step.graph.first, Place())]
    for task in sorted(newest.values(), key=lambda t: t.head.seq):
        if task.open or not (_is_final(task) or task.status is TaskStatus.COMPLETED):
            continue
        if task.ref in step.header.skipped:
            continue
        wanted += [
            want(step, ref, place_of(task))
            for ref in _leads_to(step, task)
            if ref + task.links.suffix not in newest or ref in step.header.skipped
        ]
    for ref, state in list(step.header.joins.items()):
        if state.waiting == 0:
            from engine.core.flow import ended

            wanted += ended(step, forks.complete_join(step, step.task(step.header.joins[ref].task_id)))
    for task in newest.values():
        current = step.known(task.id)
        if current is not None and current.open and current.head.task_type == "EXCLUSIVE_JOIN":
            wanted += run_rearmed(step, current)
    for ref, loop in list(step.header.loops.items()):
        if loop.open == 0 and ref in step.header.loops:
            wanted += _turn(step, ref, loop)
    return wanted


def _leads_to(step: Step, task: Task) -> list[str]:
    node = step.node(task)
    if task.head.task_type == "FORK" and node is not None:
        return [branch[0] for branch in node.branches if branch]
    ref = following(step, task)
    return [] if ref is None else [ref]


def _turn(step: Step, ref: str, loop: LoopState) -> list[Wanted]:
    from engine.core.flow import ended

    if loop.iteration == 0:
        return do_while.begin(step, step.task(loop.task_id))
    done, again = do_while.iteration_done(step, ref)
    return again if done is None else ended(step, done)


def _joined_refs(step: Step, task: Task) -> list[str]:
    names = step.document(task.head.input_data).get("joinOn", [])
    return [name + task.links.suffix for name in dict.fromkeys(names)]


def _is_final(task: Task | None) -> bool:
    return task is not None and forks.is_final(task)

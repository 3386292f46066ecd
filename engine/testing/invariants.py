"""What must hold of every execution after every step, whatever happened.

The world checks it on its dicts, the simulator on the store's rows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from engine.core.graph import in_queue
from engine.core.records import Header, Task
from engine.core.statuses import (
    TASK_MOVES,
    TASK_REVIVALS,
    WORKFLOW_MOVES,
    WORKFLOW_OPEN,
    WORKFLOW_REVIVALS,
    TaskStatus,
    WorkflowStatus,
)

REVIVING_EVENTS = frozenset({"Retry", "Rerun", "Restart", "ChildRevived", "Terminate"})
"""Events that may lead out of an ended status."""


def check_execution(
    header: Header, listed: Sequence[Task], queued: Collection[str], timers: Collection[str]
) -> None:
    """Every count equals what it counts, nothing runs twice, nothing of an ended workflow is left.

    Args:
        header: as stored.
        listed: all tasks, by seq.
        queued: ids of the tasks that stand in a queue.
        timers: keys of the timers that are set.

    Raises:
        AssertionError: a promise is broken; the text says which.
    """
    seqs = [task.head.seq for task in listed]
    assert len(set(seqs)) == len(seqs), "two tasks with one seq"
    refs = [task.ref for task in listed if not task.state.retried]
    assert len(set(refs)) == len(refs), f"a reference ran twice: {refs}"
    open_tasks = [task for task in listed if task.open]
    if header.status not in WORKFLOW_OPEN:
        assert not open_tasks, f"open tasks in an ended workflow: {[t.ref for t in open_tasks]}"
        assert not queued, "queue entries of an ended workflow"
        assert not timers, f"timers of an ended workflow: {timers}"
        assert header.open == 0
        assert not header.joins
        assert not header.loops
        return
    waiting = len(header.pending) + len(header.unprocessed)
    assert header.open == len(open_tasks) + waiting, (
        f"open is {header.open}, not {len(open_tasks)} + {waiting}"
    )
    workers = {task.id for task in open_tasks if in_queue(task.head.task_type)}
    assert set(queued) == workers, "the queues are not the scheduled tasks"
    newest = {task.ref: task for task in listed}
    for ref, join in header.joins.items():
        _check_join(newest, ref, join.waiting)
    by_id = {task.id: task for task in listed}
    for ref, loop in header.loops.items():
        inside = [task for task in open_tasks if task.links.loop == ref]
        extra = sum(by_id[task_id].links.loop == ref for task_id in header.unprocessed)
        extra += sum(item["place"]["loop"] == ref for item in header.pending)
        assert loop.open == len(inside) + extra, (
            f"loop {ref}: open is {loop.open}, not {len(inside)} + {extra}"
        )
    idle = not open_tasks and not waiting
    assert idle == header.rate_limited, (
        "a running workflow with nothing open" if idle else "a workflow that waits for a slot has begun"
    )


def _check_join(newest: Mapping[str, Task], ref: str, waiting: int) -> None:
    join = newest[ref]
    names = msgspec.json.decode(join.head.input_data)["joinOn"]
    left = 0
    for name in dict.fromkeys(names):
        task = newest.get(name + join.links.suffix)
        left += task is None or task.open or task.state.retried or not task.state.executed
    assert waiting == left, f"join {ref} waits for {waiting}, not {left}"


def check_task_move(before: Task, after: Task, *, revivals: bool) -> None:
    """The table allows the move; `revivals`: an operation that may bring ended tasks back was in the step."""
    old, new = before.status, after.status
    legal = TASK_MOVES[old] | (_through_revival(old) if revivals else frozenset())
    assert new is old or new in legal, f"{after.ref}: {old} became {new}"


def check_workflow_move(old: WorkflowStatus, new: WorkflowStatus, *, revivals: bool) -> None:
    """The same for the workflow's own status; a step may bring it back and end it again."""
    legal = WORKFLOW_MOVES[old]
    if revivals:
        revived = WORKFLOW_REVIVALS.get(old, frozenset())
        legal |= revived.union(*(WORKFLOW_MOVES[status] for status in revived))
    assert new is old or new in legal, f"workflow: {old} became {new}"


def _through_revival(before: TaskStatus) -> frozenset[TaskStatus]:
    """Statuses within one operation's reach: revived first, and perhaps ended again in the same step."""
    revived = TASK_REVIVALS.get(before, frozenset())
    return revived.union(*(TASK_MOVES[status] for status in revived))

"""What is kept of an accepted event, so that a history can be decided again.

The event itself, with the seed it was decided on. Of a worker's report the output is left out: the task's row
has it. Where an operation takes rows away or uses them again, what they held goes into the operation's own
event, so that the usual event stays small.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from engine.core import events as ev
from engine.core.records import EMPTY_OBJECT, Header, HistoryRow, Task
from engine.core.step import Step

BRINGING_BACK = (ev.Retry, ev.Rerun, ev.Restart, ev.ChildRevived)
"""Events after which rows may be gone, or hold something else."""


class Kept(Struct, kw_only=True, omit_defaults=True):
    """What an operation took away.

    Attributes:
        outputs: by task id, of ended tasks that it removed or opened again.
        polled: by task id, of the same: worker id, time of the first poll, polls.
        variables, failed_refs, failed_names, create_ms: of the workflow that it began anew.
    """

    outputs: dict[str, Raw] = {}
    polled: dict[str, tuple[str, int, int]] = {}
    variables: dict[str, Any] = {}
    failed_refs: list[str] = []
    failed_names: list[str] = []
    create_ms: int = 0


class Recorded(Struct, kw_only=True, omit_defaults=True):
    """The payload of a history row."""

    seed: int
    event: ev.Event
    kept: Kept | None = None


def read_row(row: HistoryRow) -> Recorded:
    """The payload of a row. What a worker said of its progress meant nothing to the decision and is left out.

    Raises:
        msgspec.MsgspecError: it is none.
    """
    payload = bytes(row.payload)
    if b'"progress"' in payload:
        document = msgspec.json.decode(payload)
        lease = ((document.get("event") or {}).get("entry") or {}).get("lease") or {}
        lease.pop("progress", None)
        payload = msgspec.json.encode(document)
    return msgspec.json.decode(payload, type=Recorded)


def begins_anew(event: ev.Event) -> bool:
    """Whether the event forgets every task: what was before it cannot be decided again."""
    return isinstance(event, ev.Restart) or (isinstance(event, ev.Rerun) and event.task_id is None)


def history_row(step: Step, item: ev.Stamped) -> HistoryRow:
    """The row of an event that was just applied."""
    event = item.event
    if isinstance(event, ev.TaskReported):
        event = replace(event, output=None)
    task_id = getattr(event, "task_id", None)
    kept = _kept(step, event) if isinstance(event, BRINGING_BACK) else None
    recorded = Recorded(seed=item.stamp.seed, event=event, kept=kept)
    return HistoryRow(
        event_id=item.stamp.event_id,
        workflow_id=step.header.workflow_id,
        task_id=task_id,
        type=type(event).__name__,
        at_ms=item.stamp.now_ms,
        payload=Raw(msgspec.json.encode(recorded)),
    )


def _kept(step: Step, event: ev.Event) -> Kept | None:
    before: Header | None = step.view.header
    if begins_anew(event):
        if before is None:
            return None
        return Kept(
            variables=before.variables,
            failed_refs=before.failed_refs,
            failed_names=before.failed_names,
            create_ms=before.create_ms,
        )
    known = step.view.tasks
    lost: dict[str, Task] = {task_id: known[task_id] for task_id in step.removed if task_id in known}
    for task_id, task in step.changed.items():
        old = known.get(task_id)
        if old is not None and not old.open and (task.open or task.output != old.output):
            lost[task_id] = old
    outputs = {task_id: task.output for task_id, task in lost.items() if task.output != EMPTY_OBJECT}
    polled = {task_id: polled_by(task) for task_id, task in lost.items() if task.state.poll_count}
    return Kept(outputs=outputs, polled=polled) if outputs or polled else None


def polled_by(task: Task) -> tuple[str, int, int]:
    """Worker id, time of the first poll and number of polls, as an ended task's row has them."""
    state = task.state
    return state.worker_id if isinstance(state.worker_id, str) else "", state.start_time, state.poll_count

"""What can happen to a workflow. The decider applies an event or refuses it; then nothing changes."""

from __future__ import annotations

from typing import Any

from msgspec import Raw, Struct

from engine.core.facts import Stamp
from engine.core.records import EMPTY_OBJECT, QueueEntry, Task
from engine.core.statuses import TaskStatus, WorkflowStatus


class Start(Struct, kw_only=True, tag=True, omit_defaults=True):
    """The workflow comes into being; its graph is in the view.

    Attributes:
        slots_max: take one of so many slots, if its definition has a rate limit; None takes one unasked.
        wait_for_slot: come into being without a task and wait for a slot.
    """

    input: Raw = EMPTY_OBJECT
    correlation_id: str | None = None
    priority: int = 0
    task_to_domain: dict[str, str] = {}
    parent_workflow_id: str | None = None
    parent_task_id: str | None = None
    event: str | None = None
    created_by: str | None = None
    idempotency_key: str | None = None
    slots_max: int | None = None
    wait_for_slot: bool = False


class TaskReported(Struct, kw_only=True, tag=True, omit_defaults=True):
    """A worker (or an outside caller) reports on a task.

    Attributes:
        output: replaces the task's output, or is merged over it when `merge`; None keeps it.
        entry: the queue entry of the task as the shell knows it: who polled and when.
    """

    task_id: str
    status: TaskStatus
    output: Raw | None = None
    merge: bool = False
    reason: str | None = None
    worker_id: str | None = None
    callback_after_seconds: int = 0
    sub_workflow_id: str | None = None
    entry: QueueEntry | None = None


class DeadlinePassed(Struct, kw_only=True, tag=True, omit_defaults=True):
    """A queue entry's deadline has passed: poll, response, run or total time is over."""

    task_id: str
    entry: QueueEntry


class TimerFired(Struct, kw_only=True, tag=True, omit_defaults=True):
    """A durable timer's instant has come; see records.Timer for keys and kinds."""

    key: str
    kind: str


class ChildEnded(Struct, kw_only=True, tag=True, omit_defaults=True):
    """A sub-workflow ended."""

    task_id: str
    child_id: str
    name: str
    status: WorkflowStatus
    output: Raw = EMPTY_OBJECT
    reason: str | None = None


class ChildFailed(Struct, kw_only=True, tag=True, omit_defaults=True):
    """A sub-workflow could not be started."""

    task_id: str
    reason: str


class ChildAttached(Struct, kw_only=True, tag=True, omit_defaults=True):
    """The task waits for an execution that has its idempotency key, and not for one of its own."""

    task_id: str
    child_id: str


class WaiterAdded(Struct, kw_only=True, tag=True, omit_defaults=True):
    """A task of another workflow waits for this one's end; see ChildAttached."""

    workflow_id: str
    task_id: str


class ChildRevived(Struct, kw_only=True, tag=True, omit_defaults=True):
    """A sub-workflow that had ended runs again: its ancestors must, too."""

    task_id: str
    child_id: str


class Pause(Struct, kw_only=True, tag=True):
    pass


class Resume(Struct, kw_only=True, tag=True):
    pass


class Terminate(Struct, kw_only=True, tag=True, omit_defaults=True):
    """End it from outside; open tasks are cancelled, children terminated."""

    reason: str | None = None


class Retry(Struct, kw_only=True, tag=True):
    """Run the failed tasks of an ended workflow again."""


class Restart(Struct, kw_only=True, tag=True):
    """Begin again under the same id; the graph to use is in the view."""


class Rerun(Struct, kw_only=True, tag=True, omit_defaults=True):
    """Run again from a task, or from the beginning when none is named."""

    task_id: str | None = None
    workflow_input: dict[str, Any] | None = None
    task_input: dict[str, Any] | None = None
    correlation_id: str | None = None


class SkipTask(Struct, kw_only=True, tag=True, omit_defaults=True):
    """Step over a task that has not been reached yet."""

    ref: str
    input: Raw = EMPTY_OBJECT
    output: Raw = EMPTY_OBJECT


class MessageSent(Struct, kw_only=True, tag=True):
    """Somebody sent the workflow a message, for a PULL_WORKFLOW_MESSAGES task; `payload` is JSON."""

    message_id: str
    payload: Raw


class ResetCallbacks(Struct, kw_only=True, tag=True):
    """Make postponed tasks due now."""


class SetVariables(Struct, kw_only=True, tag=True, omit_defaults=True):
    """Write over the workflow's variables: a JSON object. With `append` lists grow by what is given."""

    variables: Raw
    append: bool = False


class Jump(Struct, kw_only=True, tag=True, omit_defaults=True):
    """Drop what is under way and go on from this task, `input` written over its own."""

    ref: str
    input: Raw = EMPTY_OBJECT


class SlotFreed(Struct, kw_only=True, tag=True):
    """There may be room for a workflow that waits for one of `slots_max` slots."""

    slots_max: int


class Continue(Struct, kw_only=True, tag=True):
    """Go on with what an earlier step left pending because it had done enough."""


Event = (
    Start
    | TaskReported
    | DeadlinePassed
    | TimerFired
    | ChildEnded
    | ChildFailed
    | ChildRevived
    | ChildAttached
    | WaiterAdded
    | Pause
    | Resume
    | Terminate
    | Retry
    | Restart
    | Rerun
    | SkipTask
    | MessageSent
    | ResetCallbacks
    | SetVariables
    | Jump
    | SlotFreed
    | Continue
)


class Applied(Struct, kw_only=True, frozen=True):
    """An accepted event. `changed` is false when it was late or a repeat; `task` is the task it was about."""

    changed: bool
    task: Task | None = None


class Stamped(Struct, kw_only=True):
    """An event with its stamp."""

    event: Event
    stamp: Stamp

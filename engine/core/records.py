"""The records of an execution: what one step reads, changes and writes.

A task is kept in parts that are written at different times: `TaskHead` once, when the task is created,
`TaskState` whenever it moves, the output when it ends, and the lease (who polled it, when) by the queue
alone, so that a poll writes nothing of the task. Head and state encode to the members of the wire's Task
object; a reader splices them.

Times are Unix milliseconds, 0 when unset, as on the wire.
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Raw, Struct, UnsetType

from engine.core.statuses import TASK_OPEN, TaskStatus, WorkflowStatus

EMPTY_OBJECT = Raw(b"{}")
REASON_CHARS_MAX = 500  # upstream cuts reasonForIncompletion there


class TaskHead(Struct, kw_only=True, rename="camel"):
    """Members of the wire's Task that are fixed when the task is created."""

    task_type: str
    reference_task_name: str
    task_def_name: str
    task_id: str
    workflow_instance_id: str
    workflow_type: str
    input_data: Raw = EMPTY_OBJECT
    retry_count: int = 0
    seq: int = 0
    correlation_id: str | UnsetType = UNSET
    scheduled_time: int = 0
    start_delay_in_seconds: int = 0
    retried_task_id: str | UnsetType = UNSET
    response_timeout_seconds: int = 0
    workflow_priority: int = 0
    iteration: int = 0
    domain: str | UnsetType = UNSET
    rate_limit_per_frequency: int = 0
    rate_limit_frequency_in_seconds: int = 0
    execution_name_space: str | UnsetType = UNSET
    isolation_group_id: str | UnsetType = UNSET
    callback_from_worker: bool = True
    first_start_time: int = 0
    parent_task_id: str | UnsetType = UNSET


class TaskState(Struct, kw_only=True, rename="camel"):
    """Members of the wire's Task that change while it runs."""

    status: TaskStatus = TaskStatus.SCHEDULED
    poll_count: int = 0
    start_time: int = 0
    end_time: int = 0
    update_time: int = 0
    retried: bool = False
    executed: bool = False
    callback_after_seconds: int = 0
    worker_id: str | UnsetType = UNSET
    reason_for_incompletion: str | UnsetType = UNSET
    sub_workflow_id: str | UnsetType = UNSET
    subworkflow_changed: bool = False
    external_input_payload_storage_path: str | UnsetType = UNSET
    external_output_payload_storage_path: str | UnsetType = UNSET


class TaskLinks(Struct, kw_only=True, omit_defaults=True):
    """Where a task stands in its workflow; internal, never on the wire.

    Attributes:
        base_ref: the reference without loop suffixes; expressions name tasks by it.
        in_def: the base ref is a node of the definition (false for a dynamic fork's branches).
        loop: reference (with suffixes) of the innermost running DO_WHILE around the task.
        suffix: what the loops around it append to references, e.g. `__2` or `__2__1`.
        joins: JOIN references (with suffixes) that a dynamic branch reports to.
        workflow_task: wire JSON of the WorkflowTask when the definition has none (dynamic branches).
        first_scheduled_ms: when the first attempt was scheduled; total timeouts count from it.
        wait_until_ms: absolute end of a WAIT with a duration or date; 0 = none.
    """

    base_ref: str = ""
    in_def: bool = True
    loop: str | None = None
    suffix: str = ""
    joins: tuple[str, ...] = ()
    workflow_task: Raw | None = None
    first_scheduled_ms: int = 0
    wait_until_ms: int = 0


class Task(Struct, kw_only=True):
    """One attempt at one task. Treated as a value: a step replaces parts, it never edits them in place."""

    head: TaskHead
    state: TaskState
    links: TaskLinks
    output: Raw = EMPTY_OBJECT

    @property
    def id(self) -> str:
        return self.head.task_id

    @property
    def ref(self) -> str:
        return self.head.reference_task_name

    @property
    def status(self) -> TaskStatus:
        return self.state.status

    @property
    def open(self) -> bool:
        return self.state.status in TASK_OPEN


def iteration_in(suffix: str) -> int:
    """The iteration of the innermost loop that a suffix such as `__2__1` names; 0 outside loops."""
    last = suffix.rsplit("__", 1)[-1]
    return int(last) if last else 0


class JoinState(Struct, kw_only=True):
    """Progress of one JOIN: how many of its references have not ended for good yet."""

    task_id: str
    waiting: int


class LoopState(Struct, kw_only=True):
    """Progress of one running DO_WHILE: its iteration (from 1), and how many of its tasks are not final."""

    task_id: str
    iteration: int
    open: int


class InboxMessage(Struct, kw_only=True):
    """A message sent to the workflow that no PULL_WORKFLOW_MESSAGES has taken yet; `payload` is JSON."""

    id: str
    payload: Raw
    received_ms: int


class Header(Struct, kw_only=True):
    """One row per workflow, rewritten by every step and guarded by its version.

    Its size does not grow with the task list.
    """

    workflow_id: str
    name: str
    version: int
    definition_hash: str
    status: WorkflowStatus = WorkflowStatus.RUNNING
    create_ms: int = 0
    update_ms: int = 0
    end_ms: int = 0
    last_retried_ms: int = 0
    timeout_from_ms: int = (
        0  # what the workflow's timeout counts from when it was brought back; 0 = its start
    )
    priority: int = 0
    correlation_id: str | None = None
    parent_workflow_id: str | None = None
    parent_task_id: str | None = None
    waiters: list[
        tuple[str, str]
    ] = []  # workflow and task of others that wait for the end, by idempotency key
    reason: str | None = None
    event: str | None = None
    idempotency_key: str | None = None
    created_by: str | None = None
    owner_app: str | None = None
    rerun_from_workflow_id: str | None = None
    failed_task_id: str | None = None
    task_to_domain: dict[str, str] = {}
    variables: dict[str, Any] = {}
    failed_refs: list[str] = []
    failed_names: list[str] = []
    # `failed_refs` is what clients see and is set when the workflow ends; `failed_seen` (ref -> name) gathers
    # until then
    failed_seen: dict[str, str] = {}
    # counters: what lets a step decide without reading the task list
    seq: int = 0
    open: int = 0
    revived: bool = False  # retried or rerun: what follows a task may exist already
    last_task_id: str | None = None
    dynamic_forks: int = 0
    joins: dict[str, JoinState] = {}
    loops: dict[str, LoopState] = {}
    skipped: dict[str, str] = {}
    permissive_failures: dict[str, str] = {}
    unprocessed: list[str] = []  # tasks that ended while the workflow was paused; resume goes on from them
    pending: list[Any] = []  # tasks still to be created by a Continue event
    inbox: list[InboxMessage] = []  # bounded, see engine/core/tasks/inbox.py
    rate_limit_key: str | None = None  # set while a rate limit of its definition concerns it
    rate_limited: bool = False  # it waits for a slot and has no task yet


class Lease(Struct, kw_only=True):
    """What the queue knows of a task that somebody polled.

    Attributes:
        worker_id: who polled last.
        start_ms: first poll of this attempt; 0 when it was never polled.
        update_ms: last poll or lease extension.
        poll_count: deliveries of this attempt.
        held: a worker has it now (false: it waits in the queue).
        progress: JSON object the worker last reported with a lease extension.
    """

    worker_id: str = ""
    start_ms: int = 0
    update_ms: int = 0
    poll_count: int = 0
    held: bool = False
    progress: Raw | None = None


class QueueEntry(Struct, kw_only=True, omit_defaults=True):
    """A scheduled task as its queue sees it. The queue is `[domain:]type`.

    Attributes:
        def_name: the task definition whose limits count it.
        lane: the part of the queue it waits in; see core/limits.py.
        due_ms: not handed out before.
        seq: order among equals within the store (assigned by the task's workflow).
        response_ms: how long a poll may stay silent; 0 = for ever.
        run_ms: how long an attempt may run from its first poll; 0 = for ever.
        poll_by_ms: absolute time by which somebody must have polled; 0 = none.
        total_by_ms: absolute end of all attempts together; 0 = none.
        lease: set when the task is handed to a waiting poller in the commit that schedules it, or carried
            over.
    """

    task_id: str
    workflow_id: str
    queue: str
    priority: int = 0
    due_ms: int = 0
    response_ms: int = 0
    run_ms: int = 0
    poll_by_ms: int = 0
    total_by_ms: int = 0
    def_name: str = ""
    lane: str = ""
    lease: Lease | None = None

    def deadline_ms(self) -> int:
        """The next instant at which the decider must look at the task; 0 = never."""
        held = self.lease is not None and self.lease.held
        started = self.lease.start_ms if self.lease is not None else 0
        candidates = [self.total_by_ms]
        if held and self.lease is not None and self.response_ms:
            candidates.append(self.lease.update_ms + self.response_ms)
        if started and self.run_ms:
            candidates.append(started + self.run_ms)
        if not held:
            candidates.append(self.poll_by_ms)
        return min((c for c in candidates if c), default=0)


class Timer(Struct, kw_only=True, frozen=True):
    """A durable instant: one row however far away.

    Attributes:
        key: unique within the workflow: `workflow` or a task id.
        kind: `workflow_timeout`, `wait` or `task_timeout`.
    """

    workflow_id: str
    key: str
    kind: str
    due_ms: int


class Message(Struct, kw_only=True):
    """An effect on another workflow, written with the step that causes it and delivered at least once.

    Attributes:
        id: unique; the receiver drops repeats by its own idempotency.
        kind: `start_child`, `child_ended`, `terminate_child`, `start_failure_workflow` or `child_revived`.
        target_id: the workflow that receives it.
        body: JSON; its shape belongs to the kind (engine/core/messages.py).
    """

    id: str
    kind: str
    target_id: str
    body: Raw


class HistoryRow(Struct, kw_only=True):
    """One accepted event. `payload` is the event without what the task row already holds."""

    event_id: str
    workflow_id: str
    task_id: str | None
    type: str
    at_ms: int
    payload: Raw


class Slot(Struct, kw_only=True, frozen=True):
    """One workflow's place among those that share a rate limit.

    Attributes:
        key: what they share; see `WorkflowDef.rateLimitConfig`.
        held: it runs in a slot (false: it waits for one, in the order in which the rows were written).
        held_max: take the slot only if fewer than so many are held; None takes it without asking.
    """

    key: str
    held: bool
    held_max: int | None = None


class Delta(Struct, kw_only=True):
    """All that one step writes about one workflow: whole or not at all.

    Attributes:
        expected_version: row version the step was decided on; 0 creates the workflow.
        input: the workflow's input; only when it is new or replaced.
        output: the workflow's output; only when it changed.
        definition: wire JSON of the frozen definition; only when the workflow is created or its definition
            replaced.
        tasks_new, tasks_changed: whole records. A changed one rewrites its head too when `heads_changed` has
            its id.
        tasks_removed: ids; `remove_all_tasks` drops every task, queue entry and timer first (restart).
        delete: the workflow itself goes, with all that belongs to it.
        slot: the slot it takes or waits for, instead of what it had; None leaves that as it is.
        slot_freed: it neither holds nor waits for a slot any more.
        status_moved: the workflow's status differs from before; nothing of it is stored, watchers are told.
    """

    workflow_id: str
    expected_version: int
    header: Header
    input: Raw | None = None
    output: Raw | None = None
    definition: Raw | None = None
    tasks_new: list[Task] = []
    tasks_changed: list[Task] = []
    heads_changed: set[str] = set()
    tasks_removed: list[str] = []
    remove_all_tasks: bool = False
    queue_put: list[QueueEntry] = []
    queue_removed: list[str] = []
    timers_set: list[Timer] = []
    timers_cleared: list[str] = []
    history: list[HistoryRow] = []
    outbox: list[Message] = []
    delete: bool = False
    slot: Slot | None = None
    slot_freed: bool = False
    status_moved: bool = False

    @property
    def rows(self) -> int:
        """How many rows the delta touches, the header included."""
        return (
            1
            + len(self.tasks_new)
            + len(self.tasks_changed)
            + len(self.tasks_removed)
            + len(self.queue_put)
            + len(self.queue_removed)
            + len(self.timers_set)
            + len(self.timers_cleared)
            + len(self.history)
            + len(self.outbox)
        )

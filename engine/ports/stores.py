"""What the engine asks of a store. The contract is engine/testing/execution_store.py and metadata_store.py.

A workflow, its tasks, queue entries, timers, history and outbox live in one shard (the workflow id): no
operation here assumes a transaction over two workflows. Reads see every write acknowledged before they began.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from msgspec import Raw, Struct
from msgspec.structs import replace

from engine.core.errors import StoreError
from engine.core.limits import NO_LIMITS, TaskLimits
from engine.core.records import Delta, Header, HistoryRow, Lease, Message, QueueEntry, Task, Timer
from engine.core.search import SearchQuery
from engine.core.statuses import TaskStatus


class Claim(Struct, kw_only=True, frozen=True):
    """Lease up to `count` due, unheld entries of one queue: by priority (high first), due time, then age.

    Result: list[Claimed], possibly empty. Each claimed entry gets poll_count + 1, start_ms if it had none,
    update_ms = now_ms. An entry whose task is not there is leased too, but left out of the result.

    Lanes: all entries of one lane of a queue have one `def_name`. The highest priority goes first over all
    lanes of the queue. Among entries of one priority the lanes take turns, one entry each, and within a lane
    the order holds. The order of turns is that of the names of all lanes that have an unheld entry (due or
    not), begun anew for each priority at number `turn` modulo their count; a lane with nothing to give is
    passed over.

    Limits: an entry whose `def_name` is in `limits` goes only while fewer than `held_max` entries of that
    name are held, in whichever queue, and while fewer than `deliveries_max` of that name were leased by
    claims at times above `now_ms - window_ms`; otherwise its lane is passed over.
    Counting and leasing are one atomic thing, also between servers. What is held is counted from the queue
    rows themselves; deliveries are noted only for definitions with `deliveries_max`, and may be forgotten
    once they are older than the window. A delivery that is given back still counts as one.
    """

    queue: str
    count: int
    worker_id: str
    now_ms: int
    limits: TaskLimits = NO_LIMITS
    turn: int = 0


class ExtendLease(Struct, kw_only=True, frozen=True):
    """Bump update_ms (and so the response deadline) of a task still in its queue; keep `progress` when given.

    Result: True when the entry exists, else False. Progress of None leaves the stored one;
    a now_ms before the stored update_ms moves nothing back.
    """

    task_id: str
    now_ms: int
    progress: Raw | None = None


class Release(Struct, kw_only=True, frozen=True):
    """Give a task just claimed back, as if it had not been polled: nobody was there to take it.

    Result: None, also when nobody holds the task any more. Its age, and so its place in the queue, is kept.
    With `update_ms`, only the lease with that last sign of life is given back, so that a release may be
    repeated.
    """

    task_id: str
    update_ms: int | None = None


class MessagesDone(Struct, kw_only=True, frozen=True):
    """Forget delivered outbox messages. Result: None. Unknown ids are no error."""

    message_ids: tuple[str, ...]


class AppendLogs(Struct, kw_only=True, frozen=True):
    """Append log lines to a task, in order. `lines` are (text, created_ms). Result: None.

    Whether the task exists is the caller's check.
    """

    task_id: str
    lines: tuple[tuple[str, int], ...]


class MarkPolls(Struct, kw_only=True, frozen=True):
    """Note last polls, never back: (task type, domain or "", worker id, at_ms). Result: None."""

    marks: tuple[tuple[str, str, str, int], ...]


Write = Delta | Claim | ExtendLease | Release | MessagesDone | AppendLogs | MarkPolls


class Claimed(Struct, kw_only=True):
    """A task just leased: the stored task (untouched by the poll) and its queue entry, lease filled in."""

    task: Task
    entry: QueueEntry


def leased(before: Lease | None, claim: Claim) -> Lease:
    """The lease a claim makes of the one before."""
    before = before or Lease()
    return Lease(
        worker_id=claim.worker_id,
        start_ms=before.start_ms or claim.now_ms,
        update_ms=claim.now_ms,
        poll_count=before.poll_count + 1,
        held=True,
        progress=before.progress,
    )


def lease_matches(lease: Lease | None, release: Release) -> bool:
    """Whether the lease is the one to be given back."""
    if lease is None or not lease.held:
        return False
    return release.update_ms is None or lease.update_ms == release.update_ms


def released(lease: Lease) -> Lease:
    """The lease without its last poll. Who polled before is not known any more, only that somebody did."""
    if lease.poll_count <= 1:
        return Lease(progress=lease.progress)
    return replace(lease, poll_count=lease.poll_count - 1, held=False)


WriteResult = int | list[Claimed] | bool | None | StoreError


class StoredWorkflow(Struct, kw_only=True):
    """A workflow's header as stored; `row_version` is what the next delta must expect."""

    header: Header
    row_version: int
    input: Raw


class WorkflowRow(Struct, kw_only=True):
    """A workflow for reading: header with input and output."""

    header: Header
    input: Raw
    output: Raw


class ExecutionRows(Struct, kw_only=True):
    """All that a client sees of a workflow, as of one moment: tasks by seq, queue entries by task id."""

    row: WorkflowRow
    tasks: list[Task]
    entries: dict[str, QueueEntry]


class PollMark(Struct, kw_only=True, frozen=True):
    task_type: str
    domain: str
    worker_id: str
    at_ms: int


class ExecutionStore(Protocol):
    """Executions under optimistic versions; the contract is ExecutionStoreContract."""

    delta_rows_max: int | None
    """How many rows one delta may touch; None = no bound of the store's own."""

    total_exact_max: int | None
    """Matches of a search that are counted exactly (FREE_TEXT_EXACT_MAX with a free text, if that is less);
    None = however many."""

    leases_apart: bool
    """Whether groups of claims and leases gain by being written beside groups of steps, at the same time."""

    async def write(self, group: Sequence[Write]) -> list[WriteResult]:
        """Do all of `group` in one transaction, durable when this returns; deltas first, then the rest.

        Each delta is written whole or not at all and a refused one never fails its neighbours. At most one
        delta a workflow. Within a delta what goes is written before what comes. A removed task takes its
        queue entry, timer and log along; a deleted workflow everything but its outbox messages, which others
        still wait for.

        Returns:
            one result a write, in order. For a Delta: the new row version, or (as a value, not raised)
            VersionConflictError when the row version differs, the workflow exists already (expected 0) or
            is gone: nothing of it was written. StoreError itself (a value too, for any write) when a record
            cannot be written: a task id or an attempt (workflow, ref, retry count) scheduled twice, a
            changed task that is not there, a message id used twice. SlotsTakenError when `slot` asks for a
            held slot with `held_max` and as many other workflows hold one of that key, or when the workflow
            has no row of its own for the key and another one waits: nothing of the delta was written.

        Raises:
            StoreFullError: nothing of the group was written.
            OutcomeUnknownError: perhaps written; read the versions back before anything else.
            StoreError: any other failure; nothing of the group was written.
            InvariantError: two deltas of one workflow; nothing was written.
        """
        ...

    async def load(self, workflow_id: str) -> StoredWorkflow | None: ...

    async def row(self, workflow_id: str) -> WorkflowRow | None: ...

    async def execution(self, workflow_id: str) -> ExecutionRows | None:
        """Header, tasks and queue entries of one moment: no commit lies between them."""
        ...

    async def definition(self, definition_hash: str) -> bytes | None:
        """The frozen definition's wire JSON by its content hash."""
        ...

    async def tasks_by_id(self, task_ids: Collection[str]) -> dict[str, Task]:
        """Missing ids are left out."""
        ...

    async def latest(self, workflow_id: str, base_refs: Collection[str]) -> dict[str, Task]:
        """Per base reference the task with the highest seq; references never scheduled are left out."""
        ...

    async def by_ref(self, workflow_id: str, refs: Collection[str]) -> dict[str, Task]:
        """Per full reference (with loop suffix) the task with the highest seq; so a JOIN reads branches."""
        ...

    async def open_tasks(self, workflow_id: str) -> list[Task]:
        """SCHEDULED and IN_PROGRESS ones, by seq."""
        ...

    async def tasks(
        self,
        workflow_id: str,
        *,
        after_seq: int = 0,
        limit: int | None = None,
        statuses: Collection[TaskStatus] | None = None,
    ) -> list[Task]:
        """All tasks by seq, optionally a page of them."""
        ...

    async def task_count(self, workflow_id: str, statuses: Collection[TaskStatus] | None = None) -> int: ...

    async def entries(self, task_ids: Collection[str]) -> dict[str, QueueEntry]:
        """Queue entries (with leases) of tasks that are in a queue."""
        ...

    async def entries_of(self, workflow_id: str) -> dict[str, QueueEntry]:
        """Queue entries of one workflow, by task id."""
        ...

    async def ready(self, queue: str, now_ms: int, limits: TaskLimits = NO_LIMITS) -> bool:
        """Whether a claim at now_ms would find something."""
        ...

    async def next_due_ms(self, queue: str, now_ms: int = 0, limits: TaskLimits = NO_LIMITS) -> int | None:
        """The earliest due time among unheld entries of the queue; None when there is none.

        With limits, the earliest instant at which a claim may find something if nothing else happens: lanes
        of a definition with `held_max` entries held are left out, and one whose deliveries are used up is due
        when its window opens, at the earliest.
        """
        ...

    async def leased_at(self, queue: str, worker_id: str, at_ms: int) -> list[Claimed]:
        """What a claim of that worker at that instant leased and nobody has touched since.

        For a claim whose outcome is not known; it may read every held entry.
        """
        ...

    async def slots(self, key: str, limit: int) -> tuple[int, list[str]]:
        """How many workflows hold a slot of the key, and the first `limit` that wait, in order."""
        ...

    async def slot_keys_waited_for(self) -> list[str]:
        """Keys that some workflow waits for, sorted."""
        ...

    async def due_timers(self, now_ms: int, limit: int) -> list[Timer]: ...

    async def due_deadlines(self, now_ms: int, limit: int) -> list[QueueEntry]:
        """Queue entries whose `deadline_ms()` is set and has passed, earliest first."""
        ...

    async def next_instant_ms(self) -> int | None:
        """The earliest timer or queue deadline; None when there is none."""
        ...

    async def pending_messages(self, limit: int, after_id: str = "") -> list[Message]:
        """Undelivered outbox messages by id (ids sort by time)."""
        ...

    async def queue_sizes(self, queues: Collection[str] | None = None) -> dict[str, int]:
        """Unheld entries per queue; queues asked for and empty count 0, None = all queues that have any."""
        ...

    async def queue_detail(self) -> dict[str, tuple[int, int]]:
        """Per queue: (unheld, held)."""
        ...

    async def poll_marks(self, task_type: str | None = None) -> list[PollMark]: ...

    async def logs(self, task_id: str) -> list[tuple[str, int]]:
        """Log lines (text, created_ms) in order of writing."""
        ...

    async def history(self, workflow_id: str) -> list[HistoryRow]:
        """Accepted events in the order they were decided."""
        ...

    async def ended_before(self, at_ms: int, limit: int) -> list[str]:
        """Ids of up to `limit` workflows that ended before at_ms, in any order.

        A sub-workflow is left out while its parent is open.
        """
        ...

    async def search(self, query: SearchQuery) -> tuple[int, list[WorkflowRow]]:
        """How many match, and one page of them.

        The count is exact up to `total_exact_max`. Beyond, it is an estimate: greater than the bound, and
        never less than the end of the page returned. Pages themselves are exact however far.

        Raises (here and in the other searches):
            SearchTooLongError: it looks at more than it may in its time.
        """
        ...

    async def status_counts(self, query: SearchQuery) -> dict[str, int]:
        """How many matches have each status; those without any are left out. Sort and page do not matter."""
        ...

    async def search_tasks(self, query: SearchQuery) -> tuple[int, list[Task]]:
        """The same over tasks (TASK_FIELDS): status, times and worker of a leased one are its lease's."""
        ...

    async def search_by_tasks(self, query: SearchQuery) -> tuple[int, list[WorkflowRow]]:
        """The workflows that have a task which `search_tasks` would find, each once."""
        ...

    async def close(self) -> None: ...


class MetadataStore(Protocol):
    """Workflow and task definitions as wire JSON."""

    async def put_workflow_def(self, name: str, version: int, body: bytes, *, replace: bool) -> bool:
        """False when it exists and `replace` is false; nothing is written then."""
        ...

    async def get_workflow_def(self, name: str, version: int | None = None) -> bytes | None:
        """The highest version when `version` is None."""
        ...

    async def list_workflow_defs(self, name: str | None = None) -> list[bytes]:
        """By name, then version."""
        ...

    async def delete_workflow_def(self, name: str, version: int) -> bool: ...

    async def put_task_defs(self, defs: Sequence[tuple[str, bytes]]) -> None: ...

    async def get_task_def(self, name: str) -> bytes | None: ...

    async def list_task_defs(self) -> list[bytes]: ...

    async def delete_task_def(self, name: str) -> bool: ...


__all__ = [
    "AppendLogs",
    "Claim",
    "Claimed",
    "ExecutionStore",
    "ExtendLease",
    "Lease",
    "MarkPolls",
    "MessagesDone",
    "MetadataStore",
    "PollMark",
    "Release",
    "StoredWorkflow",
    "WorkflowRow",
    "Write",
    "WriteResult",
    "lease_matches",
    "leased",
    "released",
]

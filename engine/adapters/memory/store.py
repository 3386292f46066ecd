"""Stores that live and die with the process: for tests, the simulator and trying things out.

Records are copied on their way in and out, so that nobody holds what the store holds. Everything happens
between two awaits, which is all the atomicity one event loop needs; a refused delta is found before anything
of it is written.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import TypeVar, assert_never

import msgspec
from msgspec import Struct

from engine.adapters.memory import claims
from engine.adapters.memory.matching import (
    TaskRow,
    task_matches,
    tasks_ordered,
    workflow_matches,
    workflows_ordered,
)
from engine.adapters.memory.slots import MemorySlots
from engine.core.errors import InvariantError, StoreError, VersionConflictError
from engine.core.limits import NO_LIMITS, TaskLimits
from engine.core.records import (
    EMPTY_OBJECT,
    Delta,
    Header,
    HistoryRow,
    Lease,
    Message,
    QueueEntry,
    Task,
    Timer,
)
from engine.core.search import BY_TASKS_ORDER, SearchQuery
from engine.core.statuses import TaskStatus
from engine.ports.stores import (
    AppendLogs,
    Claim,
    Claimed,
    ExecutionRows,
    ExtendLease,
    MarkPolls,
    MessagesDone,
    PollMark,
    Release,
    StoredWorkflow,
    WorkflowRow,
    Write,
    WriteResult,
    lease_matches,
    leased,
    released,
)

S = TypeVar("S", bound=Struct)


class _Workflow:
    """All that belongs to one workflow, tasks by id in order of creation."""

    __slots__ = ("entries", "header", "history", "input", "output", "row_version", "tasks", "timers")

    def __init__(self) -> None:
        self.header: Header
        self.row_version = 0
        self.input = EMPTY_OBJECT
        self.output = EMPTY_OBJECT
        self.tasks: dict[str, Task] = {}
        self.entries: set[str] = set()
        self.timers: dict[str, Timer] = {}
        self.history: list[HistoryRow] = []


class MemoryExecutionStore:
    """ExecutionStore in plain dicts."""

    delta_rows_max: int | None = None
    leases_apart = False
    total_exact_max: int | None = None

    def __init__(self) -> None:
        self._workflows: dict[str, _Workflow] = {}
        self._home: dict[str, str] = {}  # task id -> workflow id
        self._entries: dict[str, QueueEntry] = {}  # in order of age
        self._definitions: dict[str, bytes] = {}
        self._outbox: dict[str, Message] = {}
        self._logs: dict[str, list[tuple[str, int]]] = {}
        self._marks: dict[tuple[str, str, str], int] = {}
        self._deliveries: claims.Deliveries = {}
        self._slots = MemorySlots()

    async def write(self, group: Sequence[Write]) -> list[WriteResult]:
        workflows = [write.workflow_id for write in group if isinstance(write, Delta)]
        if len(set(workflows)) != len(workflows):
            raise InvariantError("a group has two deltas of one workflow")
        results: list[WriteResult] = [None] * len(group)
        for index, write in enumerate(group):
            if isinstance(write, Delta):
                try:
                    results[index] = self._step(_copy(write))
                except StoreError as error:
                    results[index] = error
                except (msgspec.MsgspecError, InvariantError, TypeError, ValueError) as error:
                    results[index] = StoreError(
                        f"workflow {write.workflow_id}: the store refused the write ({error})"
                    )
                    results[index].__cause__ = error  # type: ignore[union-attr]  # the line above made it an error
        for index, write in enumerate(group):
            if not isinstance(write, Delta):
                results[index] = self._other(write)
        return results

    async def load(self, workflow_id: str) -> StoredWorkflow | None:
        stored = self._workflows.get(workflow_id)
        if stored is None:
            return None
        return StoredWorkflow(
            header=_copy(stored.header), row_version=stored.row_version, input=stored.input.copy()
        )

    async def row(self, workflow_id: str) -> WorkflowRow | None:
        stored = self._workflows.get(workflow_id)
        return None if stored is None else _row(stored)

    async def execution(self, workflow_id: str) -> ExecutionRows | None:
        if workflow_id not in self._workflows:
            return None
        return ExecutionRows(
            row=_row(self._workflows[workflow_id]),
            tasks=await self.tasks(workflow_id),
            entries=await self.entries_of(workflow_id),
        )

    async def definition(self, definition_hash: str) -> bytes | None:
        return self._definitions.get(definition_hash)

    async def tasks_by_id(self, task_ids: Collection[str]) -> dict[str, Task]:
        return {
            task_id: _copy_task(self._workflows[self._home[task_id]].tasks[task_id])
            for task_id in task_ids
            if task_id in self._home
        }

    async def latest(self, workflow_id: str, base_refs: Collection[str]) -> dict[str, Task]:
        wanted = set(base_refs)
        by_seq = self._by_seq(workflow_id)
        return {task.links.base_ref: _copy_task(task) for task in by_seq if task.links.base_ref in wanted}

    async def by_ref(self, workflow_id: str, refs: Collection[str]) -> dict[str, Task]:
        wanted = set(refs)
        return {task.ref: _copy_task(task) for task in self._by_seq(workflow_id) if task.ref in wanted}

    async def open_tasks(self, workflow_id: str) -> list[Task]:
        return [_copy_task(task) for task in self._by_seq(workflow_id) if task.open]

    async def tasks(
        self,
        workflow_id: str,
        *,
        after_seq: int = 0,
        limit: int | None = None,
        statuses: Collection[TaskStatus] | None = None,
    ) -> list[Task]:
        found = [task for task in self._with(workflow_id, statuses) if task.head.seq > after_seq]
        return [_copy_task(task) for task in found[:limit]]

    async def task_count(self, workflow_id: str, statuses: Collection[TaskStatus] | None = None) -> int:
        return len(self._with(workflow_id, statuses))

    async def entries(self, task_ids: Collection[str]) -> dict[str, QueueEntry]:
        return {task_id: _copy(self._entries[task_id]) for task_id in task_ids if task_id in self._entries}

    async def entries_of(self, workflow_id: str) -> dict[str, QueueEntry]:
        stored = self._workflows.get(workflow_id)
        return {} if stored is None else await self.entries(stored.entries)

    async def ready(self, queue: str, now_ms: int, limits: TaskLimits = NO_LIMITS) -> bool:
        due_ms = await self.next_due_ms(queue, now_ms, limits)
        return due_ms is not None and due_ms <= now_ms

    async def next_due_ms(self, queue: str, now_ms: int = 0, limits: TaskLimits = NO_LIMITS) -> int | None:
        return claims.next_due_ms(self._entries.values(), self._deliveries, queue, now_ms, limits)

    async def leased_at(self, queue: str, worker_id: str, at_ms: int) -> list[Claimed]:
        found = []
        for entry in self._entries.values():
            lease = entry.lease
            home = self._home.get(entry.task_id)
            if entry.queue != queue or home is None or lease is None or not lease.held:
                continue
            if (lease.worker_id, lease.update_ms) == (worker_id, at_ms):
                task = self._workflows[home].tasks[entry.task_id]
                found.append(Claimed(task=_copy_task(task), entry=_copy(entry)))
        return found

    async def slots(self, key: str, limit: int) -> tuple[int, list[str]]:
        held, waiting = self._slots.of(key)
        return held, waiting[:limit]

    async def slot_keys_waited_for(self) -> list[str]:
        return self._slots.keys_waited_for()

    async def due_timers(self, now_ms: int, limit: int) -> list[Timer]:
        due = [timer for timer in self._timers() if timer.due_ms <= now_ms]
        return sorted(due, key=lambda timer: (timer.due_ms, timer.workflow_id, timer.key))[:limit]

    async def due_deadlines(self, now_ms: int, limit: int) -> list[QueueEntry]:
        due = [entry for entry in self._entries.values() if 0 < entry.deadline_ms() <= now_ms]
        return [_copy(entry) for entry in sorted(due, key=QueueEntry.deadline_ms)[:limit]]

    async def next_instant_ms(self) -> int | None:
        instants = [timer.due_ms for timer in self._timers()]
        instants += [deadline for entry in self._entries.values() if (deadline := entry.deadline_ms())]
        return min(instants, default=None)

    async def pending_messages(self, limit: int, after_id: str = "") -> list[Message]:
        ids = sorted(message_id for message_id in self._outbox if message_id > after_id)
        return [_copy(self._outbox[message_id]) for message_id in ids[:limit]]

    async def queue_sizes(self, queues: Collection[str] | None = None) -> dict[str, int]:
        sizes = dict.fromkeys(queues or (), 0)
        for entry in self._entries.values():
            if not claims.held(entry) and (queues is None or entry.queue in sizes):
                sizes[entry.queue] = sizes.get(entry.queue, 0) + 1
        return sizes

    async def queue_detail(self) -> dict[str, tuple[int, int]]:
        detail: dict[str, tuple[int, int]] = {}
        for entry in self._entries.values():
            waiting, held = detail.get(entry.queue, (0, 0))
            detail[entry.queue] = (waiting, held + 1) if claims.held(entry) else (waiting + 1, held)
        return detail

    async def poll_marks(self, task_type: str | None = None) -> list[PollMark]:
        return [
            PollMark(task_type=key[0], domain=key[1], worker_id=key[2], at_ms=at_ms)
            for key, at_ms in sorted(self._marks.items())
            if task_type in {None, key[0]}
        ]

    async def logs(self, task_id: str) -> list[tuple[str, int]]:
        return list(self._logs.get(task_id, ()))

    async def history(self, workflow_id: str) -> list[HistoryRow]:
        stored = self._workflows.get(workflow_id)
        return [] if stored is None else [_copy(row) for row in stored.history]

    async def ended_before(self, at_ms: int, limit: int) -> list[str]:
        def is_over(header: Header) -> bool:
            parent = self._workflows.get(header.parent_workflow_id or "")
            return 0 < header.end_ms < at_ms and (parent is None or parent.header.end_ms > 0)

        found = [key for key, stored in self._workflows.items() if is_over(stored.header)]
        return found[:limit]

    async def search(self, query: SearchQuery) -> tuple[int, list[WorkflowRow]]:
        found = [row for row in map(_row, self._workflows.values()) if workflow_matches(row, query)]
        return len(found), workflows_ordered(found, query.sort)[query.start : query.start + query.size]

    async def status_counts(self, query: SearchQuery) -> dict[str, int]:
        return Counter(
            stored.header.status.value
            for stored in self._workflows.values()
            if workflow_matches(_row(stored), query)
        )

    async def search_tasks(self, query: SearchQuery) -> tuple[int, list[Task]]:
        found = tasks_ordered(self._matching_tasks(query), query.sort)
        return len(found), [_copy_task(row.task) for row in found[query.start : query.start + query.size]]

    async def search_by_tasks(self, query: SearchQuery) -> tuple[int, list[WorkflowRow]]:
        ids = {row.header.workflow_id for row in self._matching_tasks(query)}
        sort = [(BY_TASKS_ORDER[key], down) for key, down in query.sort if key in BY_TASKS_ORDER]
        found = workflows_ordered([_row(self._workflows[each]) for each in ids], sort)
        return len(found), found[query.start : query.start + query.size]

    def _matching_tasks(self, query: SearchQuery) -> list[TaskRow]:
        rows = (
            TaskRow(task, self._entries.get(task.id), stored.header)
            for stored in self._workflows.values()
            for task in stored.tasks.values()
        )
        return [row for row in rows if task_matches(row, query)]

    async def close(self) -> None:
        """Nothing to let go of."""

    def _step(self, delta: Delta) -> int | StoreError:
        stored = self._workflows.get(delta.workflow_id)
        version = 0 if stored is None else stored.row_version
        if version != delta.expected_version or (delta.delete and stored is None):
            return VersionConflictError(
                f"workflow {delta.workflow_id} is not at version {delta.expected_version} any more"
            )
        if not delta.delete:
            if (taken := self._slots.refusal(delta)) is not None:
                return taken
            self._check(delta, stored)
        self._slots.write(delta)
        if stored is None:
            stored = self._workflows[delta.workflow_id] = _Workflow()
        if delta.delete or delta.remove_all_tasks:
            self._remove_tasks(stored, list(stored.tasks))
            self._drop_entries(stored, list(stored.entries))
            stored.timers.clear()
        for message in delta.outbox:
            self._outbox[message.id] = message
        if delta.delete:
            del self._workflows[delta.workflow_id]
        else:
            self._change(stored, delta)
        return version + 1

    def _check(self, delta: Delta, stored: _Workflow | None) -> None:
        """Find what a database's constraints would refuse, before anything is written."""
        kept = {} if stored is None or delta.remove_all_tasks else dict(stored.tasks)
        for task_id in delta.tasks_removed:
            kept.pop(task_id, None)
        attempts = {(task.ref, task.head.retry_count): task.id for task in kept.values()}
        gone = set() if stored is None else set(stored.tasks) - set(kept)
        for task in delta.tasks_new:
            taken = task.id in kept or (task.id in self._home and task.id not in gone)
            if taken or (task.ref, task.head.retry_count) in attempts:
                raise InvariantError(
                    f"task {task.id} ({task.ref}, retry {task.head.retry_count}) exists already"
                )
            kept[task.id] = task
            attempts[(task.ref, task.head.retry_count)] = task.id
        for task in delta.tasks_changed:
            if task.id not in kept:
                raise InvariantError("a changed task is not among the workflow's tasks")
        messages = [message.id for message in delta.outbox]
        if len(set(messages)) != len(messages) or any(message_id in self._outbox for message_id in messages):
            raise InvariantError("an outbox message exists already")

    def _change(self, stored: _Workflow, delta: Delta) -> None:
        stored.header, stored.row_version = delta.header, delta.expected_version + 1
        stored.input = stored.input if delta.input is None else delta.input
        stored.output = stored.output if delta.output is None else delta.output
        if delta.definition is not None:
            self._definitions.setdefault(delta.header.definition_hash, bytes(delta.definition))
        self._remove_tasks(stored, delta.tasks_removed)
        for task in delta.tasks_new:
            stored.tasks[task.id] = task
            self._home[task.id] = delta.workflow_id
        for task in delta.tasks_changed:
            head = task.head if task.id in delta.heads_changed else stored.tasks[task.id].head
            stored.tasks[task.id] = msgspec.structs.replace(task, head=head)
        self._drop_entries(stored, delta.queue_removed)
        for entry in delta.queue_put:
            self._drop_entries(stored, [entry.task_id])  # a put-back entry is the youngest again
            entry.lease = _said(entry.lease)
            self._entries[entry.task_id] = entry
            stored.entries.add(entry.task_id)
        for key in delta.timers_cleared:
            stored.timers.pop(key, None)
        stored.timers.update({timer.key: timer for timer in delta.timers_set})
        stored.history += delta.history

    def _remove_tasks(self, stored: _Workflow, task_ids: Iterable[str]) -> None:
        for task_id in task_ids:
            if stored.tasks.pop(task_id, None) is not None:
                del self._home[task_id]
                self._logs.pop(task_id, None)
            self._drop_entries(stored, [task_id])
            stored.timers.pop(task_id, None)

    def _drop_entries(self, stored: _Workflow, task_ids: Iterable[str]) -> None:
        for task_id in task_ids:
            self._entries.pop(task_id, None)
            stored.entries.discard(task_id)

    def _other(self, write: Write) -> WriteResult:
        match write:
            case Claim():
                return self._claim(write)
            case ExtendLease():
                return self._extend(write)
            case Release():
                self._release(write)
            case MessagesDone():
                for message_id in write.message_ids:
                    self._outbox.pop(message_id, None)
            case AppendLogs():
                self._logs.setdefault(write.task_id, []).extend(write.lines)
            case MarkPolls():
                for task_type, domain, worker_id, at_ms in write.marks:
                    key = (task_type, domain, worker_id)
                    self._marks[key] = max(at_ms, self._marks.get(key, at_ms))
            case Delta():
                raise InvariantError("deltas are written before the rest")
            case _:
                assert_never(write)
        return None

    def _claim(self, claim: Claim) -> list[Claimed]:
        claimed = []
        for entry in claims.choose(self._entries.values(), self._deliveries, claim):
            entry.lease = leased(entry.lease, claim)
            home = self._home.get(entry.task_id)
            if home is not None:
                task = self._workflows[home].tasks[entry.task_id]
                claimed.append(Claimed(task=_copy_task(task), entry=_copy(entry)))
        return claimed

    def _extend(self, extension: ExtendLease) -> bool:
        entry = self._entries.get(extension.task_id)
        if entry is None:
            return False
        lease = entry.lease = entry.lease or Lease()
        lease.update_ms = max(lease.update_ms, extension.now_ms)
        if extension.progress is not None:
            lease.progress = extension.progress.copy()
        return True

    def _release(self, release: Release) -> None:
        entry = self._entries.get(release.task_id)
        if entry is not None and entry.lease is not None and lease_matches(entry.lease, release):
            entry.lease = _said(released(entry.lease))

    def _by_seq(self, workflow_id: str) -> list[Task]:
        stored = self._workflows.get(workflow_id)
        return [] if stored is None else sorted(stored.tasks.values(), key=lambda task: task.head.seq)

    def _with(self, workflow_id: str, statuses: Collection[TaskStatus] | None) -> list[Task]:
        return [task for task in self._by_seq(workflow_id) if statuses is None or task.status in statuses]

    def _timers(self) -> Iterable[Timer]:
        for stored in self._workflows.values():
            yield from stored.timers.values()


class MemoryMetadataStore:
    """MetadataStore in plain dicts."""

    def __init__(self) -> None:
        self._workflow_defs: dict[tuple[str, int], bytes] = {}
        self._task_defs: dict[str, bytes] = {}

    async def put_workflow_def(self, name: str, version: int, body: bytes, *, replace: bool) -> bool:
        if (name, version) in self._workflow_defs and not replace:
            return False
        self._workflow_defs[name, version] = bytes(body)
        return True

    async def get_workflow_def(self, name: str, version: int | None = None) -> bytes | None:
        if version is None:
            version = max((v for n, v in self._workflow_defs if n == name), default=0)
        return self._workflow_defs.get((name, version))

    async def list_workflow_defs(self, name: str | None = None) -> list[bytes]:
        return [body for key, body in sorted(self._workflow_defs.items()) if name in {None, key[0]}]

    async def delete_workflow_def(self, name: str, version: int) -> bool:
        return self._workflow_defs.pop((name, version), None) is not None

    async def put_task_defs(self, defs: Sequence[tuple[str, bytes]]) -> None:
        self._task_defs.update({name: bytes(body) for name, body in defs})

    async def get_task_def(self, name: str) -> bytes | None:
        return self._task_defs.get(name)

    async def list_task_defs(self) -> list[bytes]:
        return [body for _, body in sorted(self._task_defs.items())]

    async def delete_task_def(self, name: str) -> bool:
        return self._task_defs.pop(name, None) is not None


def _copy(record: S) -> S:
    return copy.deepcopy(record)


def _copy_task(task: Task) -> Task:
    # Its parts hold only what cannot change, so one level is deep enough, and much quicker.
    return Task(
        head=copy.copy(task.head),
        state=copy.copy(task.state),
        links=copy.copy(task.links),
        output=task.output,
    )


def _said(lease: Lease | None) -> Lease | None:
    """The lease, or none when it says nothing."""
    return None if lease == Lease() else lease


def _row(stored: _Workflow) -> WorkflowRow:
    return WorkflowRow(header=_copy(stored.header), input=stored.input.copy(), output=stored.output.copy())


__all__ = ["MemoryExecutionStore", "MemoryMetadataStore"]

"""What a simulation watches: every commit, every answer, every lease; the first broken promise is kept."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from engine.core.errors import EngineError, OutcomeUnknownError, StoreError, VersionConflictError
from engine.core.records import Delta, Header, QueueEntry, Task, Timer
from engine.core.statuses import WORKFLOW_OPEN, TaskStatus, WorkflowStatus
from engine.ports.scripts import ScriptRunner
from engine.ports.stores import ExecutionStore, Write, WriteResult
from engine.services.replay import record, replay
from engine.testing.invariants import (
    REVIVING_EVENTS,
    check_execution,
    check_task_move,
    check_workflow_move,
)
from engine.testing.simulator_servers import SKEW_MS_MAX

TRACE_LINES_MAX = 400
LEAK_GRACE_S = 5.0
"""How long after a poll ended a lease of its may stand that nobody got."""
FOR_EVER_MS = 2**62


class PollRecord(Struct, kw_only=True):
    """One poll of one worker; its id is the worker id that its leases carry.

    Attributes:
        clean: no fault and no crash fell between its begin and its end, so nothing excuses a lost lease.
        ended_s: when it ended; None while it runs.
        got: tasks that reached the worker.
    """

    clean: bool = True
    ended_s: float | None = None
    got: set[str] = msgspec.field(default_factory=set)


class Audit:
    """Watches and remembers.

    Attributes:
        failure: the first broken promise, None while all hold.
        failed: done as soon as there is one.
        commits: groups that reached the store.
        limits: how many tasks of a type workers may hold at once.
    """

    def __init__(
        self, store: ExecutionStore, loop: asyncio.AbstractEventLoop, limits: Mapping[str, int]
    ) -> None:
        self.store = store
        self.limits = limits
        self.failure: str | None = None
        self.failed: asyncio.Future[None] = loop.create_future()
        self.commits = 0
        self.trace: deque[str] = deque(maxlen=TRACE_LINES_MAX)
        self.polls: dict[str, PollRecord] = {}
        self._loop = loop
        self._tasks: dict[str, dict[str, Task]] = {}
        self._status: dict[str, WorkflowStatus] = {}
        self._holders: dict[str, tuple[str, float]] = {}
        self._names: dict[str, str] = {}

    # ------------------------------------------------------------------------------------ telling
    def note(self, text: str) -> None:
        self.trace.append(f"{self._loop.time():10.3f}  {text}")

    def fail(self, text: str) -> None:
        self.note(f"BROKEN: {text}")
        if self.failure is None:
            self.failure = text
            if not self.failed.done():
                self.failed.set_result(None)

    def name(self, workflow_id: str) -> str:
        """A short name for traces, in order of appearance."""
        return self._names.setdefault(workflow_id, f"w{len(self._names) + 1}")

    # ------------------------------------------------------------------------------------ commits
    async def seen(self, server: str, group: Sequence[Write], results: Sequence[WriteResult]) -> None:
        """A group reached the store."""
        self.commits += 1
        for write, result in zip(group, results, strict=True):
            if isinstance(result, StoreError) and not isinstance(
                result, VersionConflictError | OutcomeUnknownError
            ):
                self.fail(f"{server} wrote what the store refuses: {result}")
            if isinstance(write, Delta) and isinstance(result, int):
                await self._step(server, write)
        if self.limits:
            detail = await self.store.queue_detail()
            for task_type, held_max in self.limits.items():
                _, held = detail.get(task_type, (0, 0))
                if held > held_max:
                    self.fail(f"{held} tasks of {task_type} are out after {server} wrote, {held_max} may be")

    async def _step(self, server: str, delta: Delta) -> None:
        workflow_id = delta.workflow_id
        header, tasks, entries, timers = await self.rows(workflow_id)
        kinds = [row.type for row in delta.history]
        before = self._tasks.get(workflow_id, {})
        moved = [
            f"{t.ref} {t.status}" for t in tasks if t.id not in before or before[t.id].status is not t.status
        ]
        shown = f"{server}: {self.name(workflow_id)} {header.name} {'+'.join(kinds)}: {', '.join(moved)}"
        self.note(f"{shown} [{header.status}]")
        for entry in delta.queue_put:
            self._holders.pop(entry.task_id, None)  # somebody's IN_PROGRESS gave it back to its queue
        revivals = any(kind in REVIVING_EVENTS for kind in kinds)
        if revivals:
            for task in tasks:
                self._holders.pop(task.id, None)  # what is brought back may be handed out anew
        try:
            for task in tasks:
                if task.id in before and not delta.remove_all_tasks:
                    check_task_move(before[task.id], task, revivals=revivals)
            if workflow_id in self._status:
                check_workflow_move(self._status[workflow_id], header.status, revivals=revivals)
            check_execution(header, tasks, set(entries), {timer.key for timer in timers})
        except AssertionError as broken:
            self.fail(f"{self.name(workflow_id)} ({workflow_id}) after {'+'.join(kinds)}: {broken}")
        self._tasks[workflow_id] = {task.id: task for task in tasks}
        self._status[workflow_id] = header.status

    async def rows(self, workflow_id: str) -> tuple[Header, list[Task], dict[str, QueueEntry], list[Timer]]:
        """All that the store has of one workflow."""
        stored = await self.store.load(workflow_id)
        assert stored is not None, f"workflow {workflow_id} is gone"
        tasks = await self.store.tasks(workflow_id)
        entries = await self.store.entries_of(workflow_id)
        timers = [
            t for t in await self.store.due_timers(FOR_EVER_MS, 100_000) if t.workflow_id == workflow_id
        ]
        return stored.header, tasks, entries, timers

    @property
    def workflows(self) -> dict[str, WorkflowStatus]:
        """Every workflow ever committed, with its status now."""
        return self._status

    def tasks_of(self, workflow_id: str) -> list[Task]:
        return list(self._tasks.get(workflow_id, {}).values())

    # ------------------------------------------------------------------------------------ answers
    def acknowledged_start(self, workflow_id: str) -> None:
        if workflow_id not in self._status:
            self.fail(f"the start of {workflow_id} was acknowledged, and the store does not have it")

    async def one_per_key(self) -> None:
        """However often a start with a key was sent, one workflow came of it."""
        keys: dict[str, str] = {}
        for workflow_id in self._status:
            stored = await self.store.load(workflow_id)
            key = None if stored is None else stored.header.idempotency_key
            if key and keys.setdefault(key, workflow_id) != workflow_id:
                self.fail(f"the start with key {key} became {keys[key]} and {workflow_id}")

    async def acknowledged_update(self, workflow_id: str, task_id: str) -> None:
        """A result was acknowledged: its task is not open any more, or was brought back since."""
        task = self._tasks.get(workflow_id, {}).get(task_id)
        if task is None or not task.open or self._status[workflow_id] not in WORKFLOW_OPEN:
            return
        rows = await self.store.history(workflow_id)
        if any(row.type in REVIVING_EVENTS for row in rows):
            return  # it may have come to an ended task, which was brought back before the answer was here
        if not any(row.task_id == task_id and row.type in {"TaskReported", "DeadlinePassed"} for row in rows):
            self.fail(f"a result of {task.ref} ({task_id}) was acknowledged, and the store does not have it")

    # ------------------------------------------------------------------------------------ leases
    def handed(self, task_id: str, ref: str, poll_id: str, response_s: float) -> None:
        """A worker received a task."""
        self.polls[poll_id].got.add(task_id)
        holder, until_s = self._holders.get(task_id, ("", 0.0))
        if self._loop.time() < until_s - 2 * SKEW_MS_MAX / 1000:
            self.fail(f"{ref} ({task_id}) was handed to {poll_id} while {holder} holds it")
        self._holders[task_id] = (poll_id, self._loop.time() + response_s)

    def let_go(self, task_id: str) -> None:
        """Its holder reported on it: another may get it now."""
        self._holders.pop(task_id, None)

    async def leaks(self) -> None:
        """Every lease has a holder: the poll that took it is under way, or handed it to its worker."""
        now_s = self._loop.time()
        for workflow_id, status in list(self._status.items()):
            if status not in WORKFLOW_OPEN:
                continue
            for entry in (await self.store.entries_of(workflow_id)).values():
                poll = self.polls.get(entry.lease.worker_id) if entry.lease and entry.lease.held else None
                if poll is None or not poll.clean or poll.ended_s is None or entry.task_id in poll.got:
                    continue
                if now_s - poll.ended_s > LEAK_GRACE_S:
                    lease = entry.lease
                    self.fail(
                        f"task {entry.task_id} is leased to {lease and lease.worker_id}, whose poll ended"
                    )

    # ------------------------------------------------------------------------------------ the end
    async def at_rest(self) -> list[str]:
        """What is left to do; empty when everything has ended and nothing is on its way."""
        left = [
            f"{self.name(workflow_id)} ({workflow_id}) is {status}: "
            + ", ".join(
                f"{t.ref} {t.head.task_type} {t.status}" for t in self.tasks_of(workflow_id) if t.open
            )
            for workflow_id, status in self._status.items()
            if status in WORKFLOW_OPEN
        ]
        messages = await self.store.pending_messages(100)
        left += [f"message {one.kind} to {self.name(one.target_id)}" for one in messages]
        left += [f"queue {name}: {count}" for name, count in (await self.store.queue_detail()).items()]
        left += [f"timer {one.key}" for one in await self.store.due_timers(FOR_EVER_MS, 100)]
        return left

    async def check_histories(self, scripts: ScriptRunner) -> None:
        """Every history, decided again, leads to what the store has."""
        for workflow_id in self._status:
            try:
                replayed = await replay(await record(self.store, workflow_id, environment={}), scripts)
            except EngineError as error:
                self.fail(f"the history of {self.name(workflow_id)} cannot be replayed: {error}")
                return
            if replayed.divergence is not None:
                self.fail(f"the replay of {self.name(workflow_id)} leaves its history: {replayed.divergence}")
                return

    async def check_families(self) -> None:
        """What parents and children say of each other agrees, where no operation came between."""
        for workflow_id in self._status:
            for task in self.tasks_of(workflow_id):
                child_id = task.state.sub_workflow_id
                if task.head.task_type == "SUB_WORKFLOW" and isinstance(child_id, str):
                    await self._check_child(workflow_id, task, child_id)

    async def _check_child(self, parent_id: str, task: Task, child_id: str) -> None:
        child = await self.store.load(child_id)
        if child is None:
            if task.status is TaskStatus.COMPLETED:
                self.fail(f"{self.name(parent_id)} {task.ref} completed without a child")
            return
        if child.header.parent_workflow_id != parent_id:
            self.fail(f"child {child_id} has another parent than {parent_id}")
        kinds = {row.type for one in (parent_id, child_id) for row in await self.store.history(one)}
        if kinds & (REVIVING_EVENTS | {"TaskReported" if _told(task) else ""}):
            return
        done = child.header.status is WorkflowStatus.COMPLETED
        if (task.status is TaskStatus.COMPLETED) != done and task.status is not TaskStatus.CANCELED:
            self.fail(f"{self.name(parent_id)} {task.ref} is {task.status}, its child {child.header.status}")


def _told(task: Task) -> bool:
    """Whether somebody outside may have ended a SUB_WORKFLOW task in its child's place."""
    given: Any = msgspec.json.decode(task.output)
    return "subWorkflowId" not in given

"""Task queues: long polls, leases, hand-over, sizes.

A poll that finds nothing waits on a future of its queue, not on the store. A task that is scheduled while a
poll waits is handed over in the commit that schedules it: its queue entry is written with the lease already
in it. Tasks of a limited definition are claimed instead, because only the store can count them; a poll that a
limit holds back is woken when a task of that definition ends, or when its window opens.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from msgspec import Raw

from engine.core.errors import OutcomeUnknownError
from engine.core.graph import Graph
from engine.core.limits import TaskLimits
from engine.core.records import Delta, Lease, QueueEntry, Task
from engine.ports.stores import (
    Claim,
    Claimed,
    ExecutionStore,
    ExtendLease,
    Write,
    WriteResult,
)
from engine.ports.system import Clock
from engine.services.committer import Committer, raise_failure
from engine.services.definitions import Definitions
from engine.services.delivery import Delivery
from engine.services.latency import LatencyCounter
from engine.services.leases import Leases
from engine.services.poll_marks import PollMarks
from engine.services.task_limits import CurrentLimits

LIMITED_LOOK_EVERY_S = 0.5
"""How often a poll that a limit holds back looks by itself: a task may have ended on another server."""
TURNS_KEPT_MAX = 10_000
"""Queues whose lanes' turns are remembered."""


class _Waiter:
    __slots__ = ("count", "entries", "future", "worker_id")

    def __init__(self, future: asyncio.Future[list[Claimed]], count: int, worker_id: str) -> None:
        self.future = future
        self.count = count
        self.worker_id = worker_id
        self.entries: list[tuple[int, QueueEntry, Task]] = []  # handed over by the group being written

    @property
    def handed(self) -> bool:
        """Whether tasks were handed over to it, or are just now."""
        return bool(self.entries) or (self.future.done() and bool(self.future.result()))


class Queues:
    """Polls of this server.

    Attributes:
        handed_over, claimed: tasks that reached a poll in the commit that scheduled them, and by a claim.
        dispatch: how long they had been due when they reached it.
    """

    def __init__(
        self,
        store: ExecutionStore,
        definitions: Definitions,
        delivery: Delivery,
        clock: Clock,
        limits: CurrentLimits,
    ) -> None:
        self._store = store
        self._delivery = delivery
        self._definitions = definitions
        self._clock = clock
        self._committer: Committer | None = None
        self._limits = limits
        self._waiting: dict[str, deque[_Waiter]] = {}
        self._queues_of: dict[str, set[str]] = {}  # task type -> its queues that have a waiting poll
        self._turns: dict[str, int] = {}
        self._handed: dict[int, list[_Waiter]] = {}  # by the group that is being written
        self._marks = PollMarks(store)
        self._leases = Leases(store, self._write, self._returned)
        self._graph_of: Callable[[str], Graph | None] = lambda _: None
        self._note_deadline: Callable[[int], None] = lambda _: None
        self._on_returned: Callable[[QueueEntry], None] = lambda _: None
        self._background: set[asyncio.Task[Any]] = set()
        self._refreshing = False
        self.handed_over = 0
        self.claimed = 0
        self.dispatch = LatencyCounter()

    def wire_up(
        self,
        committer: Committer,
        graph_of: Callable[[str], Graph | None],
        note_deadline: Callable[[int], None],
    ) -> None:
        self._committer, self._graph_of, self._note_deadline = committer, graph_of, note_deadline

    # ------------------------------------------------------------------------------------ polls
    async def poll(
        self, task_type: str, *, domain: str | None, worker_id: str, count: int, timeout_ms: int
    ) -> list[bytes]:
        """Lease up to `count` tasks, each as wire JSON; wait up to `timeout_ms` for the first.

        Cancelling the call gives back what it was about to receive.
        """
        claimed = await self.take(
            task_type, domain=domain, worker_id=worker_id, count=count, timeout_ms=timeout_ms
        )
        return await self._documents(claimed)

    async def take(
        self,
        task_type: str,
        *,
        domain: str | None = None,
        worker_id: str,
        count: int,
        timeout_ms: int,
        mark: bool = True,
    ) -> list[Claimed]:
        """As `poll`, for callers in this process: the tasks with their queue entries.

        `mark`: note that a worker asked; the server's own workers are not among those that clients see.
        """
        queue = f"{domain}:{task_type}" if domain else task_type
        marks = self._marks.note(task_type, domain or "", worker_id, self._clock.now_ms()) if mark else None
        if marks is not None:
            self._in_background(self._write(marks))
        if count <= 0:
            return []
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_ms / 1000
        woken = False
        while True:
            waiter = _Waiter(loop.create_future(), count, worker_id)
            self._waiting.setdefault(queue, deque()).append(waiter)
            self._queues_of.setdefault(task_type, set()).add(queue)
            try:
                claimed = await self._take(task_type, queue, waiter, end)
            except BaseException:  # cancelled, or the store failed: what is on its way here goes back
                self._leave(task_type, queue, waiter)
                self._leases.give_back(waiter.future)
                if woken or waiter.future.done():
                    self.wake(queue)  # the news this poll was told is for another one now
                raise
            self._leave(task_type, queue, waiter)
            woken = woken or (waiter.future.done() and not waiter.handed)
            if claimed or loop.time() >= end:
                if woken:
                    self.wake(queue)  # it may have been told of more than it takes away
                return claimed

    async def _take(self, task_type: str, queue: str, waiter: _Waiter, end: float) -> list[Claimed]:
        """Claim what is ready, else wait for a hand-over, a due task or the end of the poll's time."""
        now_ms = self._clock.now_ms()
        await self._limits.current()
        limits = self._limits.of(task_type)
        due_ms = await self._store.next_due_ms(queue, now_ms, limits)
        ready = due_ms is not None and due_ms <= now_ms
        if ready and not waiter.handed:  # told to look meanwhile or not: it did, and a claim looks again
            self._leave(task_type, queue, waiter)
            return await self._claim(queue, waiter, now_ms, limits)
        loop = asyncio.get_running_loop()
        until = end if due_ms is None else min(end, loop.time() + max(1, due_ms - now_ms) / 1000)
        if limits and not ready and await self._store.ready(queue, now_ms):
            until = min(until, loop.time() + LIMITED_LOOK_EVERY_S)
        done, _ = await asyncio.wait({waiter.future}, timeout=max(0.0, until - loop.time()))
        if done:
            return waiter.future.result()
        if waiter.entries:  # handed over by the group being written right now
            return await asyncio.shield(waiter.future)
        return []

    async def _claim(self, queue: str, waiter: _Waiter, now_ms: int, limits: TaskLimits) -> list[Claimed]:
        if len(self._turns) > TURNS_KEPT_MAX:
            self._turns.clear()
        turn = self._turns[queue] = self._turns.get(queue, -1) + 1
        claim = Claim(
            queue=queue,
            count=waiter.count,
            worker_id=waiter.worker_id,
            now_ms=now_ms,
            limits=limits,
            turn=turn,
        )
        writing = asyncio.ensure_future(self._write(claim))
        try:
            result = await asyncio.shield(writing)
        except asyncio.CancelledError:
            writing.add_done_callback(lambda done: self._leases.abandoned(claim, done))
            raise
        except OutcomeUnknownError:
            result = await self._leases.read_back(claim)
        claimed = result if isinstance(result, list) else []
        self.claimed += len(claimed)
        self._note([item.entry for item in claimed])
        self._note_given(claimed)
        if any(item.entry.def_name in limits for item in claimed):
            self.wake(queue)  # there may be room for another one, too
        return claimed

    def _note_given(self, claimed: Sequence[Claimed]) -> None:
        now_ms = self._clock.now_ms()
        for item in claimed:
            self.dispatch.observe(now_ms - item.entry.due_ms)
        self._leases.given(claimed)

    def _leave(self, task_type: str, queue: str, waiter: _Waiter) -> None:
        waiting = self._waiting.get(queue)
        if waiting is not None:
            if waiter in waiting:
                waiting.remove(waiter)
            if not waiting:
                del self._waiting[queue]
                queues = self._queues_of.get(task_type, set())
                queues.discard(queue)
                if not queues:
                    self._queues_of.pop(task_type, None)

    def on_returned(self, hook: Callable[[QueueEntry], None]) -> None:
        """Call `hook(entry)` after a poll that went away gave a task back."""
        self._on_returned = hook

    def _returned(self, entry: QueueEntry) -> None:
        self._on_returned(entry)
        self.wake(entry.queue)
        self.freed(entry.def_name)

    def _in_background(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._forget)

    def wake(self, queue: str) -> bool:
        """Something became ready behind the polls' back: let one of them look; whether there is one."""
        for waiter in self._waiting.get(queue, ()):
            if not waiter.future.done() and not waiter.entries:
                waiter.future.set_result([])
                return True
        return False

    def waited_for(self) -> list[str]:
        """Queues that some poll waits for."""
        return list(self._waiting)

    def freed(self, def_name: str) -> None:
        """A task of that definition is not held any more: a poll of each queue it may hold back looks.

        Whoever gets something then wakes the next.
        """
        if def_name not in self._limits.known:
            return
        for task_type, queues in self._queues_of.items():
            if def_name in self._limits.of(task_type):
                for queue in queues:
                    self.wake(queue)

    def freed_by(self, delta: Delta) -> set[str]:
        """Limited definitions of which a step may have left fewer tasks held."""
        limited = self._limits.known
        if not limited:
            return set()
        if delta.delete or delta.remove_all_tasks or delta.tasks_removed:
            return set(limited)  # which ones it had is not told
        names = {task.head.task_def_name for task in delta.tasks_changed if not task.open}
        names |= {e.def_name for e in delta.queue_put if e.lease is not None and not e.lease.held}
        return names & limited.keys()

    # ------------------------------------------------------------------------------------ hand-over
    def before(self, group: Sequence[Write]) -> None:
        """Lease due tasks of the group to the polls that wait for them."""
        now_ms = self._clock.now_ms()
        if self._waiting and self._limits.stale and not self._refreshing:
            self._refreshing = True
            self._in_background(self._refresh_limits())
        if self._limits.unread:
            return  # nobody knows what is limited; the polls are woken, and claim
        for index, write in enumerate(group):
            if isinstance(write, Delta) and write.queue_put and self._waiting:
                self._offer(self._handed.setdefault(id(group), []), index, write, now_ms)

    async def _refresh_limits(self) -> None:
        try:
            await self._limits.current()
        finally:
            self._refreshing = False

    def _offer(self, handed: list[_Waiter], index: int, delta: Delta, now_ms: int) -> None:
        limited = self._limits.known
        tasks = {task.id: task for task in (*delta.tasks_changed, *delta.tasks_new)}
        for entry in sorted(delta.queue_put, key=lambda e: -e.priority):
            waiter = self._first_free(entry.queue)
            task = tasks.get(entry.task_id)
            if waiter is None or task is None or entry.due_ms > now_ms or entry.def_name in limited:
                continue
            before = entry.lease or Lease()
            if before.held:
                continue  # put as somebody's already: an asyncComplete call that was made
            entry.lease = Lease(
                worker_id=waiter.worker_id,
                start_ms=before.start_ms or now_ms,
                update_ms=now_ms,
                poll_count=before.poll_count + 1,
                held=True,
            )
            if not waiter.entries:
                handed.append(waiter)
            waiter.entries.append((index, entry, task))

    def _first_free(self, queue: str) -> _Waiter | None:
        for waiter in self._waiting.get(queue, ()):
            if len(waiter.entries) < waiter.count and not waiter.future.done():
                return waiter
        return None

    def after(self, group: Sequence[Write], results: Sequence[WriteResult]) -> None:
        """Resolve the polls whose tasks were written; the others go on waiting."""
        for index, write in enumerate(group):
            if isinstance(write, Delta) and isinstance(results[index], int):
                self._note(write.queue_put)
                self._wake_for(write)
                for def_name in self.freed_by(write) if self._waiting else ():
                    self.freed(def_name)
        for waiter in self._handed.pop(id(group), ()):
            got = [
                Claimed(task=task, entry=entry)
                for index, entry, task in waiter.entries
                if isinstance(results[index], int)
            ]
            for index, entry, _ in waiter.entries:
                if not isinstance(results[index], int | OutcomeUnknownError):
                    entry.lease = None
            self.handed_over += len(got)
            self._note_given(got)
            waiter.entries = []
            if not waiter.future.done():
                waiter.future.set_result(got)

    def recovered(self, delta: Delta) -> None:
        """The delta was written after all: what it leased to polls that were told nothing goes back."""
        self._note(delta.queue_put)
        self._wake_for(delta)
        self._leases.recovered(delta)

    def _wake_for(self, delta: Delta) -> None:
        """Entries not handed over (not due yet, say) may change how long a waiting poll should sleep."""
        for entry in delta.queue_put:
            if entry.lease is None or not entry.lease.held:
                self.wake(entry.queue)

    def _note(self, entries: Sequence[QueueEntry]) -> None:
        for entry in entries:
            deadline_ms = entry.deadline_ms()
            if deadline_ms:
                self._note_deadline(deadline_ms)

    # ----------------------------------------------------------------------------------- leases, sizes, marks
    async def extend(self, task_id: str, progress: Raw | None) -> bool:
        """Renew a lease; False when the task is in no queue any more."""
        return bool(
            await self._write(ExtendLease(task_id=task_id, now_ms=self._clock.now_ms(), progress=progress))
        )

    async def sizes(self, task_types: list[str] | None = None) -> dict[str, int]:
        """Queue name -> unheld tasks; all queues when None."""
        return await self._store.queue_sizes(task_types)

    async def detail(self) -> dict[str, tuple[int, int]]:
        """Queue name -> (unheld, held)."""
        return await self._store.queue_detail()

    async def poll_data(self, task_type: str | None = None) -> list[dict[str, Any]]:
        """PollData objects {queueName, domain?, workerId, lastPollTime}."""
        return await self._marks.data(task_type)

    def _forget(self, done: asyncio.Task[Any]) -> None:
        self._background.discard(done)
        if not done.cancelled():
            done.exception()  # the next poll marks again and reports the store

    async def _write(self, write: Write) -> WriteResult:
        if self._committer is None:
            raise RuntimeError("the queues are not wired up")
        return raise_failure(await self._committer.write(write))

    async def _documents(self, claimed: Sequence[Claimed]) -> list[bytes]:
        """What the worker gets; when that cannot be had, the tasks go back to their queue."""
        try:
            return [await self._document(item) for item in claimed]
        except BaseException:
            for item in claimed:
                self._leases.let_go(item.entry)
            raise

    async def _document(self, item: Claimed) -> bytes:
        graph = self._graph_of(item.entry.workflow_id)
        if graph is None:
            stored = await self._store.load(item.entry.workflow_id)
            if stored is None:
                raise RuntimeError(f"task {item.entry.task_id} is queued for a workflow that is gone")
            graph = await self._definitions.frozen(stored.header.definition_hash)
        return await self._delivery.document(item.task, graph, item.entry)

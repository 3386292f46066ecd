"""Task queues: long polls, leases, hand-over, sizes.

A poll that finds nothing waits on a future of its queue, not on the store. A task that is scheduled while a
poll waits is handed over in the commit that schedules it: its queue entry is written with the lease already
in it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from msgspec import Raw

from engine.core.errors import OutcomeUnknownError
from engine.core.graph import Graph
from engine.core.records import Delta, Lease, QueueEntry, Task
from engine.ports.stores import (
    Claim,
    Claimed,
    ExecutionStore,
    ExtendLease,
    MarkPolls,
    Release,
    Write,
    WriteResult,
)
from engine.ports.system import Clock
from engine.services.committer import Committer, raise_failure
from engine.services.definitions import Definitions
from engine.services.documents import task_json

POLL_MARK_EVERY_MS = 5_000
"""How often the time of a worker's last poll is written; in between it is known in memory."""


class _Waiter:
    __slots__ = ("count", "entries", "future", "worker_id")

    def __init__(self, future: asyncio.Future[list[Claimed]], count: int, worker_id: str) -> None:
        self.future = future
        self.count = count
        self.worker_id = worker_id
        self.entries: list[tuple[int, QueueEntry, Task]] = []  # handed over by the group being written


class Queues:
    def __init__(self, store: ExecutionStore, definitions: Definitions, clock: Clock) -> None:
        self._store = store
        self._definitions = definitions
        self._clock = clock
        self._committer: Committer | None = None
        self._waiting: dict[str, deque[_Waiter]] = {}
        self._handed: list[_Waiter] = []
        self._marks: dict[tuple[str, str, str], tuple[int, int]] = {}
        self._graph_of: Callable[[str], Graph | None] = lambda _: None
        self._note_deadline: Callable[[int], None] = lambda _: None
        self._background: set[asyncio.Task[Any]] = set()
        self.handed_over = 0
        self.claimed = 0

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
        queue = f"{domain}:{task_type}" if domain else task_type
        self._mark(task_type, domain or "", worker_id)
        if count <= 0:
            return []
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_ms / 1000
        woken = False
        while True:
            waiter = _Waiter(loop.create_future(), count, worker_id)
            waiting = self._waiting.setdefault(queue, deque())
            waiting.append(waiter)
            try:
                claimed = await self._take(queue, waiter, end)
            except BaseException:  # cancelled, or the store failed: what is on its way here goes back
                self._leave(queue, waiter)
                self._give_back(waiter)
                if woken or waiter.future.done():
                    self.wake(queue)  # the news this poll was told is for another one now
                raise
            self._leave(queue, waiter)
            if claimed:
                return await self._documents(claimed)
            woken = woken or waiter.future.done()
            if loop.time() >= end:
                if woken:
                    self.wake(queue)
                return []

    async def _take(self, queue: str, waiter: _Waiter, end: float) -> list[Claimed]:
        """Claim what is ready, else wait for a hand-over, a due task or the end of the poll's time."""
        now_ms = self._clock.now_ms()
        if await self._store.ready(queue, now_ms) and not waiter.entries and not waiter.future.done():
            self._leave(queue, waiter)
            return await self._claim(queue, waiter, now_ms)
        next_due_ms = await self._store.next_due_ms(queue)
        loop = asyncio.get_running_loop()
        until = end if next_due_ms is None else min(end, loop.time() + max(1, next_due_ms - now_ms) / 1000)
        done, _ = await asyncio.wait({waiter.future}, timeout=max(0.0, until - loop.time()))
        if done:
            return waiter.future.result()
        if waiter.entries:  # handed over by the group being written right now
            return await asyncio.shield(waiter.future)
        return []

    async def _claim(self, queue: str, waiter: _Waiter, now_ms: int) -> list[Claimed]:
        claim = Claim(queue=queue, count=waiter.count, worker_id=waiter.worker_id, now_ms=now_ms)
        writing = asyncio.ensure_future(self._write(claim))
        try:
            result = await asyncio.shield(writing)
        except asyncio.CancelledError:
            writing.add_done_callback(self._release_result)
            raise
        claimed = result if isinstance(result, list) else []
        self.claimed += len(claimed)
        self._note([item.entry for item in claimed])
        return claimed

    def _leave(self, queue: str, waiter: _Waiter) -> None:
        waiting = self._waiting.get(queue)
        if waiting is not None:
            if waiter in waiting:
                waiting.remove(waiter)
            if not waiting:
                del self._waiting[queue]

    def _give_back(self, waiter: _Waiter) -> None:
        """The poll went away: what is being handed to it goes back to the queue."""
        waiter.future.add_done_callback(self._release_result)

    def _release_result(self, done: asyncio.Future[Any]) -> None:
        if done.cancelled() or done.exception() is not None:
            return
        result = done.result()
        for item in result if isinstance(result, list) else []:
            self._in_background(self._release(item.entry))

    async def _release(self, entry: QueueEntry) -> None:
        await self._write(Release(task_id=entry.task_id))
        self.wake(entry.queue)

    def _in_background(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._forget)

    def wake(self, queue: str) -> None:
        """Something became ready behind the polls' back: let one of them look."""
        for waiter in self._waiting.get(queue, ()):
            if not waiter.future.done() and not waiter.entries:
                waiter.future.set_result([])
                break

    # ------------------------------------------------------------------------------------ hand-over
    def before(self, group: Sequence[Write]) -> None:
        """Lease due tasks of the group to the polls that wait for them."""
        now_ms = self._clock.now_ms()
        for index, write in enumerate(group):
            if isinstance(write, Delta) and write.queue_put and self._waiting:
                self._offer(index, write, now_ms)

    def _offer(self, index: int, delta: Delta, now_ms: int) -> None:
        tasks = {task.id: task for task in (*delta.tasks_changed, *delta.tasks_new)}
        for entry in sorted(delta.queue_put, key=lambda e: -e.priority):
            waiter = self._first_free(entry.queue)
            task = tasks.get(entry.task_id)
            if waiter is None or task is None or entry.due_ms > now_ms:
                continue
            before = entry.lease or Lease()
            entry.lease = Lease(
                worker_id=waiter.worker_id,
                start_ms=before.start_ms or now_ms,
                update_ms=now_ms,
                poll_count=before.poll_count + 1,
                held=True,
            )
            if not waiter.entries:
                self._handed.append(waiter)
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
        handed, self._handed = self._handed, []
        for waiter in handed:
            got = [
                Claimed(task=task, entry=entry)
                for index, entry, task in waiter.entries
                if isinstance(results[index], int)
            ]
            for index, entry, _ in waiter.entries:
                if not isinstance(results[index], int | OutcomeUnknownError):
                    entry.lease = None
            self.handed_over += len(got)
            waiter.entries = []
            if not waiter.future.done():
                waiter.future.set_result(got)

    def recovered(self, delta: Delta) -> None:
        """The delta was written after all: what it leased to polls that were told nothing goes back."""
        self._note(delta.queue_put)
        self._wake_for(delta)
        for entry in delta.queue_put:
            if entry.lease is not None and entry.lease.held:
                self._in_background(self._release(entry))

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
        latest = {
            (m.task_type, m.domain, m.worker_id): m.at_ms for m in await self._store.poll_marks(task_type)
        }
        for key, (at_ms, _) in self._marks.items():
            if task_type is None or key[0] == task_type:
                latest[key] = max(at_ms, latest.get(key, 0))
        found = []
        for (name, domain, worker_id), at_ms in sorted(latest.items()):
            mark: dict[str, Any] = {"queueName": name, "workerId": worker_id, "lastPollTime": at_ms}
            if domain:
                mark["domain"] = domain
            found.append(mark)
        return found

    def _mark(self, task_type: str, domain: str, worker_id: str) -> None:
        key, now_ms = (task_type, domain, worker_id), self._clock.now_ms()
        _, written_ms = self._marks.get(key, (0, 0))
        if now_ms - written_ms < POLL_MARK_EVERY_MS:
            self._marks[key] = (now_ms, written_ms)
            return
        self._marks[key] = (now_ms, now_ms)
        self._in_background(self._write(MarkPolls(marks=((*key, now_ms),))))

    def _forget(self, done: asyncio.Task[Any]) -> None:
        self._background.discard(done)
        if not done.cancelled():
            done.exception()  # the next poll marks again and reports the store; a lease runs out

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
                self._in_background(self._release(item.entry))
            raise

    async def _document(self, item: Claimed) -> bytes:
        graph = self._graph_of(item.entry.workflow_id)
        if graph is None:
            stored = await self._store.load(item.entry.workflow_id)
            if stored is None:
                raise RuntimeError(f"task {item.entry.task_id} is queued for a workflow that is gone")
            graph = await self._definitions.frozen(stored.header.definition_hash)
        return task_json(item.task, graph, entry=item.entry)

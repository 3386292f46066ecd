"""The server's own workers: they take tasks such as HTTP from the ordinary queues and carry out the calls.

A task is leased like a worker's, so several servers share the queues and a server that dies gives its tasks
back: a call may be made twice, its result is taken once. The lease is short and renewed while a call lasts.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping

import msgspec
import structlog
from msgspec import Raw
from msgspec.structs import replace

from engine.core import events as ev
from engine.core.errors import EngineError, RefusedError, StoreError
from engine.core.records import Delta, Task
from engine.core.statuses import TaskStatus
from engine.core.tasks.calls import SERVER_LEASE_MS, completes_later
from engine.ports.calls import Caller, CallResult
from engine.ports.stores import ExecutionStore, Release
from engine.services.committer import Committer
from engine.services.mailboxes import Mailboxes
from engine.services.queues import Queues
from engine.services.secrets import Secrets

log = structlog.get_logger(__name__)

CALLS_PER_TYPE_MAX = 64
"""Calls of one type that one server has under way."""
POLL_MS = 10_000
RENEW_EVERY_MS = SERVER_LEASE_MS // 3
RESPONSE_TIMEOUT_SECONDS = 3_600  # upstream's, for a task whose definition sets none
TAKE_AGAIN_S = 1.0
REPORTS_MAX = 5
REPORT_AGAIN_S = 1.0
DRAIN_MS = 5_000
"""How long a server that closes waits for calls under way before it gives their tasks back."""


class SystemTasks:
    """The calls this server has under way.

    Attributes:
        taken, abandoned: calls begun, and those dropped because their task ended or went to another server.
    """

    def __init__(
        self,
        store: ExecutionStore,
        *,
        queues: Queues,
        committer: Committer,
        mailboxes: Mailboxes,
        secrets: Secrets,
        callers: Mapping[str, Caller],
        worker_id: str,
    ) -> None:
        self._store = store
        self._queues = queues
        self._committer = committer
        self._mailboxes = mailboxes
        self._secrets = secrets
        self._callers = callers
        self._worker_id = worker_id
        self._running: dict[str, asyncio.Task[None]] = {}
        self._of_kind: dict[str, set[asyncio.Task[None]]] = {kind: set() for kind in callers}
        self._reporting: set[str] = set()
        self.taken = 0
        self.abandoned = 0

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(self._callers)

    async def take(self, kind: str, *, timeout_ms: int = POLL_MS) -> int:
        """Wait for tasks of a type and begin their calls; gives how many there were.

        It waits for a free place first. Cancelling it loses nothing.
        """
        under_way = self._of_kind[kind]
        while len(under_way) >= CALLS_PER_TYPE_MAX:
            await asyncio.wait(set(under_way), return_when=asyncio.FIRST_COMPLETED)
        count = CALLS_PER_TYPE_MAX - len(under_way)
        claimed = await self._queues.take(
            kind, worker_id=self._worker_id, count=count, timeout_ms=timeout_ms, mark=False
        )
        for task in (item.task for item in claimed):
            self.taken += 1
            running = asyncio.get_running_loop().create_task(self._run(kind, task))
            self._running[task.id] = running
            under_way.add(running)
            running.add_done_callback(under_way.discard)
            running.add_done_callback(functools.partial(self._done, task.id))
        return len(claimed)

    async def serve(self, kind: str) -> None:
        """Take tasks of a type until cancelled; a store that fails is asked again."""
        while True:
            try:
                await self.take(kind)
            except StoreError as error:
                log.warning("system_tasks_not_taken", type=kind, error=str(error))
                await asyncio.sleep(TAKE_AGAIN_S)
            except Exception:  # logged; the loop must outlive whatever one round does
                log.exception("system_tasks_not_taken", type=kind)
                await asyncio.sleep(TAKE_AGAIN_S)

    def committed(self, delta: Delta) -> None:
        """Abandon the calls of tasks that are in no queue any more: they, or their workflow, have ended."""
        if self._running:
            for task_id in delta.queue_removed:
                running = self._running.get(task_id)
                if running is not None and task_id not in self._reporting:
                    self.abandoned += 1
                    running.cancel()

    async def close(self, *, drain_ms: int = DRAIN_MS) -> None:
        """Let calls under way end for a while, give the tasks of the others back, drop connections."""
        if self._running:
            await asyncio.wait(set(self._running.values()), timeout=drain_ms / 1000)
        left = dict(self._running)
        for running in left.values():
            running.cancel()
        await asyncio.gather(*left.values(), return_exceptions=True)
        for task_id in left:
            await self._committer.write(Release(task_id=task_id))
        for caller in self._callers.values():
            await caller.aclose()

    def _done(self, task_id: str, done: asyncio.Task[None]) -> None:
        if self._running.get(task_id) is done:
            del self._running[task_id]
        if not done.cancelled() and done.exception() is not None:
            log.error("system_task_failed", task_id=task_id, error=repr(done.exception()))

    async def _run(self, kind: str, task: Task) -> None:
        result = await self._result(self._callers[kind], task)
        if result is None:
            self.abandoned += 1
            return
        self._reporting.add(task.id)
        try:
            await self._report(task, result)
        finally:
            self._reporting.discard(task.id)

    async def _result(self, caller: Caller, task: Task) -> CallResult | None:
        """Make the call and renew the lease meanwhile; None when the task has gone."""
        limit_s = task.head.response_timeout_seconds or RESPONSE_TIMEOUT_SECONDS
        call = asyncio.ensure_future(self._call(caller, task))
        end_s = asyncio.get_running_loop().time() + limit_s
        try:
            while True:
                left_s = end_s - asyncio.get_running_loop().time()
                done, _ = await asyncio.wait({call}, timeout=max(0.0, min(left_s, RENEW_EVERY_MS / 1000)))
                if done:
                    return call.result()
                if left_s <= 0:
                    return CallResult(
                        status=TaskStatus.TIMED_OUT,
                        reason=f"Task did not complete within its responseTimeout of {limit_s}s",
                    )
                if not await self._queues.extend(task.id, None):
                    return None
        finally:
            if not call.done():
                call.cancel()
                await asyncio.wait({call})

    async def _call(self, caller: Caller, task: Task) -> CallResult:
        """Make the call; what it says about a failure is cleared of the secrets that it was given."""
        filled = await self._secrets.filled(task.head.input_data)
        try:
            result = await caller.call(msgspec.json.decode(filled.document))
        except Exception as error:  # a caller that breaks must not leave its task open
            log.exception("call_failed", task_id=task.id)
            return CallResult(status=TaskStatus.FAILED, reason=f"the call failed: {type(error).__name__}")
        if result.reason is None or not filled.values:
            return result
        output = {
            key: filled.redacted(value) if isinstance(value, str) else value
            for key, value in result.output.items()
        }
        return replace(result, output=output, reason=filled.redacted(result.reason))

    async def _report(self, task: Task, result: CallResult) -> None:
        """Tell the workflow; a store that fails is asked again, and after that the lease runs out."""
        status = result.status
        if status is TaskStatus.COMPLETED and completes_later(msgspec.json.decode(task.head.input_data)):
            status = TaskStatus.IN_PROGRESS
        for attempt in range(REPORTS_MAX):
            if attempt:
                await asyncio.sleep(REPORT_AGAIN_S)
            try:
                entries = await self._store.entries([task.id])
                event = ev.TaskReported(
                    task_id=task.id,
                    status=status,
                    output=Raw(msgspec.json.encode(result.output)),
                    reason=result.reason,
                    entry=entries.get(task.id),
                )
                await self._mailboxes.submit(task.head.workflow_instance_id, event)
            except RefusedError:
                return  # the workflow is gone
            except EngineError as error:
                log.warning("call_not_reported", task_id=task.id, error=str(error))
            else:
                return

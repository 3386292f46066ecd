"""The server's own workers: they take tasks such as HTTP from the ordinary queues and carry out the calls.

A task is leased like a worker's, so several servers share the queues and a server that dies gives its tasks
back: a call may be made twice, its result is taken once. The lease is short and renewed while a call lasts.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import structlog
from msgspec import Raw

from engine.core import events as ev
from engine.core.errors import EngineError, RefusedError
from engine.core.records import Delta
from engine.core.secrets import has_secrets, secret_names, substitute_secrets
from engine.core.statuses import TaskStatus
from engine.core.tasks.calls import SERVER_LEASE_MS
from engine.ports.calls import Caller, CallResult
from engine.ports.stores import ExecutionStore, Release
from engine.services.committer import Committer
from engine.services.mailboxes import Mailboxes
from engine.services.queues import Queues

log = structlog.get_logger(__name__)

CALLS_PER_TYPE_MAX = 64
"""Calls of one type that one server has under way."""
POLL_MS = 10_000
RENEW_EVERY_MS = SERVER_LEASE_MS // 3
RESPONSE_TIMEOUT_SECONDS = 3_600  # upstream's, for a task whose definition sets none
REPORTS_MAX = 5
REPORT_AGAIN_S = 1.0
DRAIN_MS = 5_000
"""How long a server that closes waits for calls under way before it gives their tasks back."""

SecretText = Callable[[str], Awaitable[str | None]]
"""Gives a secret's text by its name."""


async def _no_secret(_name: str) -> str | None:
    return None


class PolledTask(msgspec.Struct, kw_only=True, rename="camel"):
    """What is needed of a polled task."""

    task_id: str
    workflow_instance_id: str
    input_data: dict[str, Any] = {}
    response_timeout_seconds: int = 0


class SystemTasks:
    """The calls this server has under way.

    Attributes:
        secrets: fills in `${workflow.secrets.NAME}`; the default knows none.
        taken, abandoned: calls begun, and those dropped because their task ended or went to another server.
    """

    def __init__(
        self,
        store: ExecutionStore,
        *,
        queues: Queues,
        committer: Committer,
        mailboxes: Mailboxes,
        callers: Mapping[str, Caller],
        worker_id: str,
    ) -> None:
        self._store = store
        self._queues = queues
        self._committer = committer
        self._mailboxes = mailboxes
        self._callers = callers
        self._worker_id = worker_id
        self._running: dict[str, asyncio.Task[None]] = {}
        self._of_kind: dict[str, set[asyncio.Task[None]]] = {kind: set() for kind in callers}
        self._reporting: set[str] = set()
        self.secrets: SecretText = _no_secret
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
        polled = await self._queues.poll(
            kind, domain=None, worker_id=self._worker_id, count=count, timeout_ms=timeout_ms
        )
        for document in polled:
            task = msgspec.json.decode(document, type=PolledTask)
            self.taken += 1
            running = asyncio.get_running_loop().create_task(self._run(kind, task))
            self._running[task.task_id] = running
            under_way.add(running)
            running.add_done_callback(under_way.discard)
            running.add_done_callback(functools.partial(self._done, task.task_id))
        return len(polled)

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

    async def _run(self, kind: str, task: PolledTask) -> None:
        result = await self._result(self._callers[kind], task)
        if result is None:
            self.abandoned += 1
            return
        self._reporting.add(task.task_id)
        try:
            await self._report(task, result)
        finally:
            self._reporting.discard(task.task_id)

    async def _result(self, caller: Caller, task: PolledTask) -> CallResult | None:
        """Make the call and renew the lease meanwhile; None when the task has gone."""
        limit_s = task.response_timeout_seconds or RESPONSE_TIMEOUT_SECONDS
        shown = task.input_data
        given = await self._with_secrets(shown)
        call = asyncio.ensure_future(caller.call(given, shown))
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
                if not await self._queues.extend(task.task_id, None):
                    return None
        finally:
            if not call.done():
                call.cancel()
                await asyncio.wait({call})

    async def _with_secrets(self, shown: dict[str, Any]) -> dict[str, Any]:
        if not has_secrets(shown):
            return shown
        found = {name: await self.secrets(name) for name in secret_names(shown)}
        given: dict[str, Any] = substitute_secrets(shown, found.get)
        return given

    async def _report(self, task: PolledTask, result: CallResult) -> None:
        """Tell the workflow; a store that fails is asked again, and after that the lease runs out."""
        status = result.status
        if status is TaskStatus.COMPLETED and _completes_later(task):
            status = TaskStatus.IN_PROGRESS
        for attempt in range(REPORTS_MAX):
            if attempt:
                await asyncio.sleep(REPORT_AGAIN_S)
            try:
                entries = await self._store.entries([task.task_id])
                event = ev.TaskReported(
                    task_id=task.task_id,
                    status=status,
                    output=Raw(msgspec.json.encode(result.output)),
                    reason=result.reason,
                    entry=entries.get(task.task_id),
                )
                await self._mailboxes.submit(task.workflow_instance_id, event)
            except RefusedError:
                return  # the workflow is gone
            except EngineError as error:
                log.warning("call_not_reported", task_id=task.task_id, error=str(error))
            else:
                return


def _completes_later(task: PolledTask) -> bool:
    request = task.input_data.get("http_request")
    return task.input_data.get("asyncComplete") is True or (
        isinstance(request, dict) and request.get("asyncComplete") is True
    )

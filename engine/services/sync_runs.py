"""Calls that wait for a workflow: synchronous starts and signals.

They wait on the feed of committed steps, so that the answer leaves with the step it waits for. What another
server decides is heard of through the notifier, or by a slow look.
Source of shapes and texts: conductor-oss/conductor, WorkflowService and TaskService.signalTask.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Raw, Struct

from engine.core.errors import IllegalStateError, NotFoundError
from engine.core.records import Task
from engine.core.statuses import WORKFLOW_OPEN
from engine.ports.stores import ExecutionStore
from engine.services.executions import Executions, StartRequest
from engine.services.feed import Feed, Watch

WAIT_MS_MAX = 300_000
"""The longest a synchronous call is kept waiting; asking for more gets the state at that time."""
LOOK_EVERY_MS = 1_000
"""How often a waiting call looks by itself: what another server did may come without a word."""
CHILDREN_MAX = 1_000
"""Open sub-workflows, at any depth, that one look descends into."""


class ReturnStrategy(StrEnum):
    """Which part of the run a synchronous call answers with."""

    TARGET_WORKFLOW = "TARGET_WORKFLOW"
    BLOCKING_WORKFLOW = "BLOCKING_WORKFLOW"
    BLOCKING_TASK = "BLOCKING_TASK"
    BLOCKING_TASK_INPUT = "BLOCKING_TASK_INPUT"


class _Found(Struct, kw_only=True):
    """One look at a run.

    Attributes:
        blocked_in, blocked_on: the (sub-)workflow and the WAIT task that hold the run up, when one does.
        reached: one of the awaited references has ended.
    """

    ended: bool
    blocked_in: str | None = None
    blocked_on: Task | None = None
    reached: bool = False

    @property
    def over(self) -> bool:
        return self.ended or self.reached or self.blocked_on is not None


class SyncRuns:
    def __init__(self, store: ExecutionStore, executions: Executions, feed: Feed) -> None:
        self._store = store
        self._executions = executions
        self._feed = feed
        self._watches: set[Watch] = set()
        self._draining = False

    def drain(self) -> None:
        """The server is stopping: every waiting call is answered with the state as it is."""
        self._draining = True
        for watch in self._watches:
            watch.wake()

    async def execute(
        self,
        request: StartRequest,
        *,
        wait_ms: int,
        until_refs: Collection[str] = (),
        strategy: ReturnStrategy = ReturnStrategy.TARGET_WORKFLOW,
        request_id: str,
    ) -> bytes:
        """Start a workflow and wait until it ended, is blocked on a WAIT, or one of `until_refs` has ended.

        Returns:
            the wire's SignalResponse; at the end of `wait_ms` the state at that time, `signalTimeout` true.

        Raises:
            what `Executions.start` raises; IllegalStateError: a task was asked for and none blocks the run.
        """
        workflow_id = await self._executions.start(request)
        return await self.result(
            workflow_id, wait_ms=wait_ms, until_refs=until_refs, strategy=strategy, request_id=request_id
        )

    async def signal(self, workflow_id: str, status: str, output: Raw) -> bool:
        """Update the first open WAIT task, the workflow's own before its children's, merging the output.

        Returns:
            False when nothing is blocked.

        Raises:
            NotFoundError: no such workflow. MalformedBodyError: no such status.
        """
        if await self._store.load(workflow_id) is None:
            raise NotFoundError(f"No such workflow found by id: {workflow_id}")
        found = await self._look(workflow_id, timed=True)
        if found.blocked_in is None or found.blocked_on is None:
            return False
        ref = found.blocked_on.ref
        return await self._executions.update_by_ref(found.blocked_in, ref, status, output, None) is not None

    async def signal_sync(
        self,
        workflow_id: str,
        status: str,
        output: Raw,
        *,
        wait_ms: int,
        strategy: ReturnStrategy = ReturnStrategy.TARGET_WORKFLOW,
        request_id: str,
    ) -> bytes:
        """Signal, then wait until the workflow ended or is blocked again; otherwise as `execute`.

        Raises:
            NotFoundError: no such workflow, or nothing is blocked.
        """
        if not await self.signal(workflow_id, status, output):
            raise NotFoundError(f"Found no blocked task in workflow {workflow_id} to signal")
        return await self.result(workflow_id, wait_ms=wait_ms, strategy=strategy, request_id=request_id)

    async def result(
        self,
        workflow_id: str,
        *,
        wait_ms: int,
        until_refs: Collection[str] = (),
        strategy: ReturnStrategy = ReturnStrategy.TARGET_WORKFLOW,
        request_id: str,
    ) -> bytes:
        """Wait for a run that is under way; see `execute`."""
        found = await self._wait(workflow_id, frozenset(until_refs), min(wait_ms, WAIT_MS_MAX))
        return await self._answer(workflow_id, found, strategy, request_id)

    # ------------------------------------------------------------------------------------ waiting
    async def _wait(self, workflow_id: str, until_refs: frozenset[str], wait_ms: int) -> _Found:
        loop = asyncio.get_running_loop()
        end_s = loop.time() + max(0, wait_ms) / 1000
        with self._feed.watch() as watch:
            self._watches.add(watch)
            try:
                while True:
                    found = await self._look(workflow_id, until_refs=until_refs, watch=watch)
                    left_s = end_s - loop.time()
                    if found.over or left_s <= 0 or self._draining:
                        return found
                    await watch.wait(min(left_s, LOOK_EVERY_MS / 1000))
            finally:
                self._watches.discard(watch)

    async def _look(
        self,
        workflow_id: str,
        *,
        until_refs: frozenset[str] = frozenset(),
        watch: Watch | None = None,
        timed: bool = False,
    ) -> _Found:
        """Look at a workflow and at its open children, each parent before its children.

        Args:
            workflow_id: where to begin.
            until_refs: references whose end is waited for.
            watch: follows every workflow looked at, before it is looked at.
            timed: a WAIT that ends by itself counts as blocking too.
        """
        todo, seen = [workflow_id], 0
        found = _Found(ended=False)
        while todo and seen < CHILDREN_MAX:
            current = todo.pop(0)
            seen += 1
            if watch is not None:
                watch.follow(current)
            stored = await self._store.load(current)
            is_open = stored is not None and stored.header.status in WORKFLOW_OPEN
            if current == workflow_id:
                found.ended = not is_open
            if until_refs:
                tasks = await self._store.by_ref(current, until_refs)
                found.reached = found.reached or any(not task.open for task in tasks.values())
            if not is_open:
                continue
            open_tasks = await self._store.open_tasks(current)
            if found.blocked_on is None:
                blocking = next((task for task in open_tasks if blocks(task, timed=timed)), None)
                if blocking is not None:
                    found.blocked_in, found.blocked_on = current, blocking
            if found.over:
                break
            todo += children_of(open_tasks)
        return found

    # ------------------------------------------------------------------------------------ answers
    async def _answer(
        self, workflow_id: str, found: _Found, strategy: ReturnStrategy, request_id: str
    ) -> bytes:
        target = await self._document(workflow_id)
        shown = target
        if strategy is not ReturnStrategy.TARGET_WORKFLOW and found.blocked_in not in (None, workflow_id):
            shown = await self._document(found.blocked_in or workflow_id)
        common: dict[str, Any] = {
            "responseType": strategy,
            "targetWorkflowId": workflow_id,
            "targetWorkflowStatus": target["status"],
            "requestId": request_id,
            "signalTimeout": not found.over,
        }
        if strategy in (ReturnStrategy.TARGET_WORKFLOW, ReturnStrategy.BLOCKING_WORKFLOW):
            return msgspec.json.encode(common | _members(shown, _RUN))
        if found.blocked_on is None:
            raise IllegalStateError(
                f"No task blocks workflow {workflow_id}, so there is none to answer with; "
                "ask for returnStrategy TARGET_WORKFLOW"
            )
        task = msgspec.json.decode(await self._executions.task(found.blocked_on.id), type=dict[str, Raw])
        run = _members(task, _TASK) | {
            "workflowId": shown["workflowId"],
            "priority": shown["priority"],
            "variables": shown["variables"],
            "tasks": Raw(b"[" + msgspec.json.encode(task) + b"]"),
        }
        return msgspec.json.encode(common | run)

    async def _document(self, workflow_id: str) -> dict[str, Raw]:
        return msgspec.json.decode(await self._executions.workflow(workflow_id), type=dict[str, Raw])


def blocks(task: Task, *, timed: bool = False) -> bool:
    """Whether an open task waits to be signalled; one that ends by itself counts only when `timed`."""
    return task.head.task_type == "WAIT" and (timed or not task.links.wait_until_ms)


def children_of(tasks: Collection[Task]) -> list[str]:
    """Ids of the sub-workflows that open tasks wait for."""
    ids = (task.state.sub_workflow_id for task in tasks if task.head.task_type == "SUB_WORKFLOW")
    return [child_id for child_id in ids if isinstance(child_id, str)]


# Names in the answer, and in the document they come from.
_RUN = {
    name: name
    for name in (
        "workflowId",
        "correlationId",
        "input",
        "output",
        "priority",
        "variables",
        "tasks",
        "createdBy",
        "createTime",
        "status",
        "updateTime",
    )
}
_TASK = {
    "correlationId": "correlationId",
    "input": "inputData",
    "output": "outputData",
    "taskType": "taskType",
    "taskId": "taskId",
    "referenceTaskName": "referenceTaskName",
    "retryCount": "retryCount",
    "taskDefName": "taskDefName",
    "retriedTaskId": "retriedTaskId",
    "workflowType": "workflowType",
    "reasonForIncompletion": "reasonForIncompletion",
    "createdBy": "workerId",
    "createTime": "startTime",
    "status": "status",
    "updateTime": "updateTime",
}


def _members(document: dict[str, Raw], names: dict[str, str]) -> dict[str, Raw]:
    return {shown: document[name] for shown, name in names.items() if name in document}

"""Testing a definition: it runs for real, but the results of its tasks come from the request.

The run is set apart in a domain that nobody polls, so no worker and no outside system sees its tasks; types
that end by themselves are executed.
Source of behaviour: conductor-oss/conductor, WorkflowTestService.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from engine.core.errors import ConflictError, InvalidRequestError, NotFoundError
from engine.core.facts import IdStream
from engine.core.graph import in_queue
from engine.core.records import Task
from engine.core.statuses import WORKFLOW_OPEN
from engine.ports.stores import ExecutionStore
from engine.ports.system import Chance, Clock
from engine.services.executions import REPORTABLE, Executions, StartRequest, TaskUpdate
from engine.services.feed import Feed, Watch
from engine.services.sync_runs import children_of

TEST_MS_MAX = 30_000
"""How long one test may run."""
LOOK_EVERY_MS = 1_000
MOCKS_MAX = 10_000
"""Results one test may hold; sub-workflows' included."""
DEPTH_MAX = 20
_ITERATIONS = re.compile(r"(__[0-9]+)+$")
ENDED_REASON = "The test of the workflow has ended"


class TaskMock(Struct, kw_only=True, rename="camel"):
    """The result of one attempt at a task; `execution_time` and `queue_wait_time` in milliseconds."""

    status: str = "COMPLETED"
    output: dict[str, Any] = {}
    execution_time: int = 0
    queue_wait_time: int = 0


class WorkflowTestRequest(StartRequest):
    """What to run, with the results of its tasks.

    `taskRefToMockOutput` has a list of results a reference: one is used an attempt, or an iteration of a loop
    (which may also be named: `ref__2`). `subWorkflowTestRequest` has the same for sub-workflows.
    """

    task_ref_to_mock_output: dict[str, list[TaskMock]] = {}
    sub_workflow_test_request: dict[str, WorkflowTestRequest] = {}


class _Run(Struct, kw_only=True):
    """One workflow of a test: the mocks left by reference, and the tests of its children."""

    mocks: dict[str, list[TaskMock]]
    children: Mapping[str, WorkflowTestRequest]


class WorkflowTests:
    def __init__(
        self, store: ExecutionStore, executions: Executions, feed: Feed, *, clock: Clock, chance: Chance
    ) -> None:
        self._store = store
        self._executions = executions
        self._feed = feed
        self._clock = clock
        self._chance = chance

    async def run(self, request: WorkflowTestRequest) -> bytes:
        """Run the workflow until it ends, or until nothing moves any more for want of a mock.

        Returns:
            the wire's Workflow as it stands then; times are those of the mocks where they give any. What is
            still open afterwards is terminated.

        Raises:
            what `Executions.start` raises. InvalidRequestError: a mock has no such status, or they are too
                many.
        """
        _check(request)
        domain = IdStream(self._chance.seed(), self._clock.now_ms()).uuid()
        domains = {"*": domain} | {f"ref:{ref}": domain for ref in _mocked(request)}
        start = StartRequest(
            **{name: getattr(request, name) for name in StartRequest.__struct_fields__}
            | {"task_to_domain": domains}
        )
        workflow_id = await self._executions.start(start)
        used: dict[str, TaskMock] = {}
        runs = {workflow_id: _run_of(request)}
        with self._feed.watch() as watch:
            await self._drive(runs, used, watch)
        body = await self._executions.workflow(workflow_id)
        for run_id in reversed(runs):
            await self._end(run_id)
        return _with_times(body, used)

    async def _drive(self, runs: dict[str, _Run], used: dict[str, TaskMock], watch: Watch) -> None:
        loop = asyncio.get_running_loop()
        end_s = loop.time() + TEST_MS_MAX / 1000
        quiet = False  # nothing moved in the last look; one more makes sure that nothing slipped through it
        while loop.time() < end_s:
            moves = found = False
            reports: list[Awaitable[None]] = []
            for workflow_id in list(runs):
                watch.follow(workflow_id)
                for task in await self._store.open_tasks(workflow_id):
                    run = runs[workflow_id]
                    mock = _take(run.mocks, task)
                    if mock is not None:
                        used[task.id] = mock
                        reports.append(self._report(workflow_id, task, mock))
                        continue
                    moves = moves or _moves(task)
                    for child_id in children_of([task]):
                        if watch.follow(child_id):
                            found = True
                            known = run.children.get(task.links.base_ref)
                            runs[child_id] = _run_of(known or WorkflowTestRequest())
            if reports:
                await asyncio.gather(*reports)
            moves = moves or (not reports and not found and await self._under_way(runs))
            if moves and not reports and not found:
                await watch.wait(LOOK_EVERY_MS / 1000)
            elif quiet and not reports and not found:
                return
            quiet = not (reports or moves or found)

    async def _under_way(self, runs: Mapping[str, _Run]) -> bool:
        """Whether a message is on its way: to begin or to go on, or that a child has ended."""
        for workflow_id in runs:
            stored = await self._store.load(workflow_id)
            if stored is None:
                return True
            parent_id, header = stored.header.parent_task_id, stored.header
            if header.pending and header.status in WORKFLOW_OPEN:
                return True
            if parent_id and header.status not in WORKFLOW_OPEN:
                parent = (await self._store.tasks_by_id([parent_id])).get(parent_id)
                if parent is not None and parent.open and parent.state.sub_workflow_id == workflow_id:
                    return True
        return False

    async def _report(self, workflow_id: str, task: Task, mock: TaskMock) -> None:
        await self._executions.update(
            TaskUpdate(
                workflow_instance_id=workflow_id,
                task_id=task.id,
                status=mock.status,
                output_data=Raw(msgspec.json.encode(mock.output)),
            )
        )

    async def _end(self, workflow_id: str) -> None:
        try:
            stored = await self._store.load(workflow_id)
            if stored is not None and stored.header.status in WORKFLOW_OPEN:
                await self._executions.terminate(workflow_id, ENDED_REASON)
        except (ConflictError, NotFoundError):
            return  # it ended by itself meanwhile


def _take(mocks: dict[str, list[TaskMock]], task: Task) -> TaskMock | None:
    for ref in (task.ref, task.links.base_ref):
        if mocks.get(ref):
            return mocks[ref].pop(0)
    return None


def _moves(task: Task) -> bool:
    """Whether an open task without a mock goes on by itself."""
    kind = task.head.task_type
    if kind == "WAIT":
        return task.links.wait_until_ms > 0
    return in_queue(kind) and not task.head.domain


def _run_of(request: WorkflowTestRequest) -> _Run:
    mocks = {ref: list(one) for ref, one in request.task_ref_to_mock_output.items()}
    return _Run(mocks=mocks, children=request.sub_workflow_test_request)


def _requests(request: WorkflowTestRequest, depth: int = 0) -> Iterator[WorkflowTestRequest]:
    if depth > DEPTH_MAX:
        raise InvalidRequestError(f"subWorkflowTestRequest nests deeper than {DEPTH_MAX} levels")
    yield request
    for inner in request.sub_workflow_test_request.values():
        yield from _requests(inner, depth + 1)


def _mocked(request: WorkflowTestRequest) -> set[str]:
    """References of every mocked task, with and without the iterations they name."""
    given = {ref for one in _requests(request) for ref in one.task_ref_to_mock_output}
    return given | {_ITERATIONS.sub("", ref) for ref in given}


def _check(request: WorkflowTestRequest) -> None:
    count = 0
    for one in _requests(request):
        for ref, mocks in one.task_ref_to_mock_output.items():
            count += len(mocks)
            for mock in mocks:
                if mock.status not in REPORTABLE:
                    known = ", ".join(REPORTABLE)
                    raise InvalidRequestError(
                        f'taskRefToMockOutput.{ref}: status is "{mock.status}"; it must be one of {known}'
                    )
    if count > MOCKS_MAX:
        raise InvalidRequestError(f"taskRefToMockOutput holds {count} results; at most {MOCKS_MAX} are taken")


def _with_times(body: bytes, used: Mapping[str, TaskMock]) -> bytes:
    timed = {task_id for task_id, mock in used.items() if mock.execution_time or mock.queue_wait_time}
    if not timed:
        return body
    document = msgspec.json.decode(body)
    for task in document["tasks"]:
        if task["taskId"] in timed:
            mock = used[task["taskId"]]
            task["startTime"] = task["scheduledTime"] + mock.queue_wait_time
            task["endTime"] = task["startTime"] + mock.execution_time
            task["queueWaitTime"] = mock.queue_wait_time
    return msgspec.json.encode(document)

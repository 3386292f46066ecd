"""Upstream's TaskResource: poll, update, logs, queues."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from api.conductor.deps import (
    BodyDep,
    EngineDep,
    HotDep,
    TaskType,
    TaskTypes,
    empty,
    encoded,
    json_answer,
    nothing,
    object_of,
    split_commas,
    text,
)
from api.conductor.openapi import (
    EMPTY,
    TEXT,
    or_nothing,
    path_text,
    query,
    returns,
    returns_list,
    returns_schema,
    takes,
)
from api.conductor.shapes import RESULT_STATUSES
from api.errors import BadParameterError, ClientGoneError
from api.hot import POLL_COUNT_MAX, POLL_TIMEOUT_MS, POLL_TIMEOUT_MS_MAX, Answer
from engine.core.errors import NotFoundError
from engine.core.model import MalformedBodyError

router = APIRouter(prefix="/api/tasks", tags=["tasks"])

SHARD = "a"  # the one shard that upstream's SQL back ends name in the verbose queue listing

_WHO = [
    query("workerid", "string", "Who polls; `workerId` is understood too."),
    query("domain", "string", "Only tasks of this domain."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """Path and query of an update by reference."""

    workflow_id: str
    ref: str
    status: str
    workerid: str = ""


PendingDep = Annotated[Pending, Depends()]
_SIZES: dict[str, Any] = {"type": "object", "additionalProperties": {"type": "integer"}}


@router.get(
    "/poll/batch/{taskType}",
    responses=returns_list("Task"),
    openapi_extra={
        "parameters": [
            path_text("taskType"),
            *_WHO,
            query("count", "integer", f"Tasks wanted, at most {POLL_COUNT_MAX}.", default=1),
            query(
                "timeout",
                "integer",
                "How long to wait for the first task, milliseconds.",
                default=POLL_TIMEOUT_MS,
                maximum=POLL_TIMEOUT_MS_MAX,
            ),
        ]
    },
)
async def poll_batch(request: Request, hot: HotDep) -> Response:
    """Lease up to `count` tasks; waits for the first, answers `[]` when none came."""
    return hot_response(await hot.poll_batch(request.scope, request.receive, request.path_params["taskType"]))


@router.get(
    "/poll/{taskType}",
    responses=or_nothing(returns("Task"), "No task waits"),
    openapi_extra={"parameters": [path_text("taskType"), *_WHO]},
)
async def poll(request: Request, hot: HotDep) -> Response:
    """Lease one task."""
    return hot_response(await hot.poll(request.scope, request.receive, request.path_params["taskType"]))


@router.post("", responses=TEXT, openapi_extra=takes("TaskResult"))
async def update(request: Request, hot: HotDep) -> Response:
    """Record a worker's result; answers the task id. Late and duplicate results change nothing."""
    return hot_response(await hot.update(request.scope, request.receive, ""))


@router.post(
    "/update-v2",
    responses=or_nothing(returns("Task"), "Recorded, and no further task waits"),
    openapi_extra=takes("TaskResult"),
)
async def update_v2(request: Request, hot: HotDep) -> Response:
    """Record a worker's result and lease it the next task of the same type and domain."""
    return hot_response(await hot.update_v2(request.scope, request.receive, ""))


@router.get("/queue/sizes", responses=returns_schema(_SIZES))
async def queue_sizes(engine: EngineDep, task_type: TaskTypes = None) -> Response:
    """Waiting tasks per queue; all queues when no type is named."""
    return encoded(await engine.queues.sizes(split_commas(task_type) or None))


@router.get("/queue/size", responses=returns_schema({"type": "integer"}))
async def queue_size(
    engine: EngineDep,
    task_type: TaskType,
    domain: str = "",
    isolation: Annotated[str, Query(alias="isolationGroupId")] = "",
    namespace: Annotated[str, Query(alias="executionNamespace")] = "",
) -> Response:
    """Waiting tasks of one queue."""
    queue = f"{domain}:{task_type}" if domain else task_type
    queue += f"@{namespace}" if namespace else ""
    queue += f"-{isolation}" if isolation else ""
    return encoded((await engine.queues.sizes([queue])).get(queue, 0))


@router.get("/queue/all", responses=returns_schema(_SIZES))
async def all_queues(engine: EngineDep) -> Response:
    """Waiting tasks of every queue, sorted by name."""
    return encoded(dict(sorted((await engine.queues.sizes()).items())))


@router.get("/queue/all/verbose", responses=returns_schema({"type": "object"}))
async def all_queues_verbose(engine: EngineDep) -> Response:
    """Waiting (`size`) and leased (`uacked`) tasks of every queue, per shard."""
    detail = await engine.queues.detail()
    shown = {
        name: {SHARD: {"size": waiting, "uacked": held}} for name, (waiting, held) in sorted(detail.items())
    }
    return encoded(shown)


@router.get("/queue/polldata", responses=returns_list("PollData"))
async def poll_data(engine: EngineDep, task_type: TaskType) -> Response:
    """Who polled for this type, per domain."""
    return encoded(await engine.queues.poll_data(task_type))


@router.get("/queue/polldata/all", responses=returns_list("PollData"))
async def all_poll_data(engine: EngineDep) -> Response:
    """Who polled for what."""
    return encoded(await engine.queues.poll_data())


@router.post("/queue/requeue/{task_type}", responses=TEXT)
async def requeue(engine: EngineDep, task_type: str) -> Response:
    """Count the pending tasks of a type. A queue is a view of them here, so none can be missing from it."""
    detail = await engine.queues.detail()
    pending = sum(
        waiting + held for name, (waiting, held) in detail.items() if name.rpartition(":")[2] == task_type
    )
    return text(str(pending))


@router.post(
    "/{workflow_id}/{ref}/{status}/sync",
    responses=returns("Workflow"),
    openapi_extra=takes({"type": "object"}),
)
async def update_by_ref_sync(engine: EngineDep, body: BodyDep, pending: PendingDep) -> Response:
    """Update the open task of a reference, merging the output; answers the workflow."""
    task_id = await _update_by_ref(engine, body, pending)
    if task_id is None:
        raise NotFoundError(
            f"Found no running task {pending.ref} of workflow {pending.workflow_id} to update"
        )
    return json_answer(await engine.executions.workflow(pending.workflow_id))


@router.post(
    "/{workflow_id}/{ref}/{status}",
    responses=TEXT,
    openapi_extra=takes({"type": "object"}),
)
async def update_by_ref(engine: EngineDep, body: BodyDep, pending: PendingDep) -> Response:
    """Update the open task of a reference, merging the output; answers its id, or nothing if none is open."""
    task_id = await _update_by_ref(engine, body, pending)
    return empty() if task_id is None else text(task_id)


@router.post(
    "/{task_id}/log",
    responses=EMPTY,
    openapi_extra={"requestBody": {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def add_log(engine: EngineDep, body: BodyDep, task_id: str) -> Response:
    """Append one log entry: the body as it is."""
    try:
        line = body.decode()
    except UnicodeDecodeError as error:
        raise MalformedBodyError("The log text must be UTF-8") from error
    await engine.executions.add_log(task_id, line)
    return empty()


@router.get("/{task_id}/log", responses=or_nothing(returns_list("TaskExecLog"), "No log entries"))
async def logs(engine: EngineDep, task_id: str) -> Response:
    """The task's log entries, oldest first."""
    entries = await engine.executions.logs(task_id)
    return encoded(entries) if entries else nothing()


@router.get("/{task_id}", responses=returns("Task"))
async def task(engine: EngineDep, task_id: str) -> Response:
    """One task, of a running or an ended workflow."""
    return json_answer(await engine.executions.task(task_id))


def hot_response(answer: Answer | None) -> Response:
    """A hot handler's answer as FastAPI sends it."""
    if answer is None:
        raise ClientGoneError
    status, content_type, body = answer
    return Response(body, status, headers={"content-type": content_type.decode()} if body else None)


async def _update_by_ref(engine: EngineDep, body: bytes, pending: Pending) -> str | None:
    status = pending.status
    if status not in RESULT_STATUSES:
        raise BadParameterError(
            f'Failed to convert the path\'s status; for input string: "{status}"; use one of '
            + ", ".join(sorted(RESULT_STATUSES))
        )
    output = object_of(body)
    try:
        return await engine.executions.update_by_ref(
            pending.workflow_id, pending.ref, status, output, pending.workerid or None
        )
    except NotFoundError:
        # Upstream does not tell an unknown workflow from one without such a task.
        return None

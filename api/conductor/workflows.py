"""Upstream's WorkflowResource: start, read, operate, search."""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request, Response

from api.bodies import decode
from api.conductor.deps import (
    ArchiveWorkflow,
    BodyDep,
    EndTime,
    EngineDep,
    HotDep,
    IncludeClosed,
    IncludeOutput,
    IncludeTasks,
    IncludeVariables,
    IntQuery,
    ResumeSubworkflowTasks,
    StartTime,
    UseLatestDefinitions,
    empty,
    encoded,
    json_answer,
    json_list,
    not_negative,
    nothing,
    search_result,
    split_commas,
    text,
)
from api.conductor.openapi import (
    EMPTY,
    NOTHING,
    TEXT,
    path_text,
    query,
    returns,
    returns_list,
    returns_schema,
    takes,
)
from api.conductor.shapes import CorrelationIdsSearchRequest, RerunWorkflowRequest, SkipTaskRequest
from api.conductor.tasks import hot_response
from engine.core.errors import InvalidRequestError
from engine.core.statuses import TaskStatus

router = APIRouter(prefix="/api/workflow", tags=["workflow"])

CORRELATION_IDS_MAX = 1000
PLAIN_CLASSIFIER = "workflow"  # what upstream calls a workflow without a classifier; there are no others here

_read_rerun = msgspec.json.Decoder(RerunWorkflowRequest)
_read_skip = msgspec.json.Decoder(SkipTaskRequest)
_read_batch = msgspec.json.Decoder(CorrelationIdsSearchRequest)
_read_ids = msgspec.json.Decoder(list[str])
_SKIP_PARAMETER = re.compile(r"(taskInput|taskOutput)\[([^\]]+)\]")


@router.post("", responses=TEXT, openapi_extra=takes("StartWorkflowRequest"))
async def start(request: Request, hot: HotDep) -> Response:
    """Start a workflow; answers its id. The first tasks are scheduled when the answer comes."""
    return hot_response(await hot.start(request.scope, request.receive, ""))


@router.get("/running/{name}", responses=returns_schema({"type": "array", "items": {"type": "string"}}))
async def running(
    engine: EngineDep,
    name: str,
    version: IntQuery = 1,
    start_time: StartTime = None,
    end_time: EndTime = None,
) -> Response:
    """Ids of running workflows; with both times, of all of that version created between them."""
    timed = bool(start_time and end_time)
    found = await engine.executions.running(
        name,
        version=version if timed else None,
        start_ms=start_time if timed else None,
        end_ms=end_time if timed else None,
    )
    return encoded(found)


@router.put("/decide/{workflow_id}", responses=EMPTY)
async def decide(engine: EngineDep, workflow_id: str) -> Response:
    """Look at a workflow now."""
    await engine.executions.decide(workflow_id)
    return empty()


@router.get("/{name}/correlated/{correlation_id}", responses=returns_list("Workflow"))
async def correlated(
    engine: EngineDep,
    name: str,
    correlation_id: str,
    include_closed: IncludeClosed = False,
    include_tasks: IncludeTasks = False,
) -> Response:
    """Workflows of a name with a correlation id; running ones only, unless `includeClosed`."""
    found = await engine.executions.correlated(
        name, [correlation_id], include_closed=include_closed, include_tasks=include_tasks
    )
    return json_list(found.get(correlation_id, []))


@router.post(
    "/{name}/correlated",
    responses=returns_schema({"type": "object"}),
    openapi_extra=takes({"type": "array", "items": {"type": "string"}, "maxItems": CORRELATION_IDS_MAX}),
)
async def correlated_many(
    engine: EngineDep,
    body: BodyDep,
    name: str,
    include_closed: IncludeClosed = False,
    include_tasks: IncludeTasks = False,
) -> Response:
    """The same for many correlation ids."""
    ids = decode(_read_ids, body)
    if len(ids) > CORRELATION_IDS_MAX:
        raise InvalidRequestError(
            f"Ask for at most {CORRELATION_IDS_MAX} correlation ids; there are {len(ids)}"
        )
    found = await engine.executions.correlated(
        name, ids, include_closed=include_closed, include_tasks=include_tasks
    )
    return _by_correlation({key: found.get(key, []) for key in ids})


@router.post(
    "/correlated/batch",
    responses=returns_schema({"type": "object"}),
    openapi_extra=takes("CorrelationIdsSearchRequest"),
)
async def correlated_batch(
    engine: EngineDep,
    body: BodyDep,
    include_closed: IncludeClosed = False,
    include_tasks: IncludeTasks = False,
) -> Response:
    """The same for many workflow names as well."""
    wanted = decode(_read_batch, body)
    names, ids = list(dict.fromkeys(wanted.workflow_names)), list(dict.fromkeys(wanted.correlation_ids))
    if len(names) * len(ids) > CORRELATION_IDS_MAX:
        raise InvalidRequestError(
            f"Ask for at most {CORRELATION_IDS_MAX} pairs of name and correlation id; "
            f"there are {len(names) * len(ids)}"
        )
    merged: dict[str, list[bytes]] = {key: [] for key in ids}
    for name in names:
        found = await engine.executions.correlated(
            name, ids, include_closed=include_closed, include_tasks=include_tasks
        )
        for key in ids:
            merged[key] += found.get(key, [])
    return _by_correlation(merged)


@router.get("/{workflow_id}/status", responses=returns("WorkflowStatusAnswer"))
async def status(
    engine: EngineDep,
    workflow_id: str,
    include_output: IncludeOutput = False,
    include_variables: IncludeVariables = False,
) -> Response:
    """A workflow's status, on request with its output and variables."""
    found = await engine.executions.status(
        workflow_id, include_output=include_output, include_variables=include_variables
    )
    return encoded(found)


@router.get("/{workflow_id}/tasks", responses=returns("TaskSearchResult"))
async def tasks_page(
    engine: EngineDep,
    workflow_id: str,
    start: IntQuery = 0,
    count: IntQuery = 15,
    status: Annotated[list[str] | None, Query()] = None,
) -> Response:
    """A page of a workflow's tasks in order, on request only those in some statuses."""
    not_negative(start=start, count=count)
    wanted = split_commas(status)
    known = frozenset(TaskStatus(value) for value in wanted if value in TaskStatus.__members__)
    if wanted and not known:
        await engine.executions.status(workflow_id)  # an unknown workflow is a 404 all the same
        return search_result(0, ())
    total, page = await engine.executions.tasks_page(
        workflow_id, start=start, count=count, statuses=known or None
    )
    return search_result(total, page)


@router.get("/{workflow_id}", responses=returns("Workflow"))
async def workflow(engine: EngineDep, workflow_id: str, include_tasks: IncludeTasks = True) -> Response:
    """One workflow, with its tasks unless told otherwise."""
    return json_answer(await engine.executions.workflow(workflow_id, include_tasks=include_tasks))


@router.delete("/{workflow_id}/remove", responses=EMPTY)
async def remove(engine: EngineDep, workflow_id: str, archive: ArchiveWorkflow = True) -> Response:
    """Remove a workflow; an unended one only with `archiveWorkflow=false`."""
    await engine.executions.remove(workflow_id, archive=archive)
    return empty()


@router.delete("/{workflow_id}/terminate-remove", responses=EMPTY)
async def terminate_remove(
    engine: EngineDep,
    workflow_id: str,
    reason: str | None = None,
    archive: ArchiveWorkflow = True,
) -> Response:
    """Terminate a workflow and remove it."""
    await engine.executions.terminate(workflow_id, reason)
    await engine.executions.remove(workflow_id, archive=archive)
    return empty()


@router.delete("/{workflow_id}", responses=EMPTY)
async def terminate(engine: EngineDep, workflow_id: str, reason: str | None = None) -> Response:
    """Terminate a workflow; a failed one becomes TERMINATED too."""
    await engine.executions.terminate(workflow_id, reason)
    return empty()


@router.put("/{workflow_id}/pause", responses=EMPTY)
async def pause(engine: EngineDep, workflow_id: str) -> Response:
    """Schedule nothing new until resumed; tasks that wait or run go on."""
    await engine.executions.pause(workflow_id)
    return empty()


@router.put("/{workflow_id}/resume", responses=EMPTY)
async def resume(engine: EngineDep, workflow_id: str) -> Response:
    """Go on after a pause."""
    await engine.executions.resume(workflow_id)
    return empty()


@router.put(
    "/{workflow_id}/skiptask/{ref}",
    responses=EMPTY,
    openapi_extra=takes("SkipTaskRequest", required=False),
)
async def skip_task(
    request: Request, engine: EngineDep, body: BodyDep, workflow_id: str, ref: str
) -> Response:
    """Skip a task that has not been scheduled yet, giving it an input and an output."""
    # Upstream binds the maps from the query (`taskOutput[key]=value`) and ignores the body its clients send.
    skip = decode(_read_skip, body) if body.strip() else SkipTaskRequest()
    from_query: dict[str, dict[str, Any]] = {"taskInput": {}, "taskOutput": {}}
    for name, value in request.query_params.items():
        bound = _SKIP_PARAMETER.fullmatch(name)
        if bound is not None:
            from_query[bound[1]][bound[2]] = value
    await engine.executions.skip_task(
        workflow_id,
        ref,
        from_query["taskInput"] | (skip.task_input or {}),
        from_query["taskOutput"] | (skip.task_output or {}),
    )
    return empty()


@router.post("/{workflow_id}/rerun", responses=TEXT, openapi_extra=takes("RerunWorkflowRequest"))
async def rerun(engine: EngineDep, body: BodyDep, workflow_id: str) -> Response:
    """Run an ended workflow again, whole or from one task; answers its id."""
    wanted = decode(_read_rerun, body)
    rerun_id = await engine.executions.rerun(
        workflow_id,
        from_task_id=wanted.re_run_from_task_id or None,
        workflow_input=wanted.workflow_input,
        task_input=wanted.task_input,
        correlation_id=wanted.correlation_id,
    )
    return text(rerun_id)


@router.post("/{workflow_id}/resetcallbacks", status_code=204, responses=NOTHING)
async def reset_callbacks(engine: EngineDep, workflow_id: str) -> Response:
    """Make tasks due now that a worker or a retry put off."""
    await engine.executions.reset_callbacks(workflow_id)
    return nothing()


@router.post("/{workflow_id}/restart", status_code=204, responses=NOTHING)
async def restart(
    engine: EngineDep, workflow_id: str, use_latest_definitions: UseLatestDefinitions = False
) -> Response:
    """Start an ended workflow from the beginning under the same id."""
    await engine.executions.restart(workflow_id, use_latest_definitions=use_latest_definitions)
    return nothing()


@router.post("/{workflow_id}/retry", status_code=204, responses=NOTHING)
async def retry(
    engine: EngineDep, workflow_id: str, resume_subworkflow_tasks: ResumeSubworkflowTasks = False
) -> Response:
    """Retry the failed tasks of an ended workflow."""
    await engine.executions.retry(workflow_id, resume_subworkflow_tasks=resume_subworkflow_tasks)
    return nothing()


@router.post(
    "/{name}",
    responses=TEXT,
    openapi_extra={
        **takes({"type": "object"}),
        "parameters": [
            path_text("name"),
            query("version", "integer", "The newest when absent."),
            query("correlationId", "string", "A name of the caller's own."),
            query("priority", "integer", "0 to 99; higher goes first.", default=0),
        ],
    },
)
async def start_by_name(request: Request, hot: HotDep) -> Response:
    """Start a workflow with the body as its input; answers its id."""
    return hot_response(await hot.start_by_name(request.scope, request.receive, request.path_params["name"]))


def _by_correlation(found: dict[str, list[bytes]]) -> Response:
    members = (msgspec.json.encode(key) + b":[" + b",".join(each) + b"]" for key, each in found.items())
    return json_answer(b"{" + b",".join(members) + b"}")

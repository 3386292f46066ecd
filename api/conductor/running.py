"""What somebody may do to a running workflow beside reporting on its tasks."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Response

from api.bodies import decode
from api.conductor.deps import BodyDep, EngineDep, empty, json_answer, object_of, text
from api.conductor.openapi import EMPTY, TEXT, returns, takes
from api.conductor.shapes import RESULT_STATUSES, WorkflowStateUpdate
from api.conductor.sync_runs import Waiting, refs_of, request_id_of, strategy_of, wait_ms_of
from engine.bootstrap import Engine
from engine.core.errors import ConflictError, InvalidRequestError, NotFoundError, RateLimitedError
from engine.core.model import MalformedBodyError
from engine.core.records import EMPTY_OBJECT

router = APIRouter(prefix="/api/workflow", tags=["workflow"])

_read_variables = msgspec.json.Decoder(dict[str, Any])
_read_state = msgspec.json.Decoder(WorkflowStateUpdate)

AppendArray = Annotated[bool, Query(alias="appendArray", description="Lists grow instead of being replaced.")]

TaskReference = Annotated[
    str, Query(alias="taskReferenceName", description="Wins over the path: clients put it here.")
]


@router.post(
    "/{workflow_id}/variables", responses=returns("Workflow"), openapi_extra=takes({"type": "object"})
)
async def set_variables(
    engine: EngineDep, body: BodyDep, workflow_id: str, *, append: AppendArray = False
) -> Response:
    """Write members over a workflow's variables; answers the workflow."""
    await engine.executions.set_variables(workflow_id, decode(_read_variables, body), append=append)
    return json_answer(await engine.executions.workflow(workflow_id))


@router.post(
    "/{workflow_id}/state",
    responses=returns("SignalResponse"),
    openapi_extra=takes("WorkflowStateUpdate"),
)
async def update_state(
    engine: EngineDep, body: BodyDep, workflow_id: str, waiting: Annotated[Waiting, Depends()]
) -> Response:
    """Set variables and report on an open task, then wait as a synchronous start does."""
    update = decode(_read_state, body)
    result, ref = update.task_result, update.task_reference_name
    if (result is None) != (not ref):
        raise InvalidRequestError("taskReferenceName and taskResult belong together; one of them is missing")
    if result is not None:
        if result.status not in RESULT_STATUSES:
            known = ", ".join(sorted(RESULT_STATUSES))
            raise MalformedBodyError(f'taskResult.status is "{result.status}"; it must be one of {known}')
        await _must_be_open(engine, workflow_id, ref or "")
    if update.variables:
        await engine.executions.set_variables(workflow_id, update.variables)
    if result is not None and ref:
        output = (
            object_of(bytes(result.output_data)) if bytes(result.output_data) != b"null" else EMPTY_OBJECT
        )
        await engine.executions.update_by_ref(workflow_id, ref, result.status or "", output, result.worker_id)
    return json_answer(
        await engine.sync_runs.result(
            workflow_id,
            wait_ms=wait_ms_of(waiting.wait_s),
            until_refs=refs_of(waiting.until_refs),
            strategy=strategy_of(waiting.strategy),
            request_id=request_id_of(waiting.request_id),
        )
    )


@router.post("/{workflow_id}/jump/{ref}", responses=EMPTY, openapi_extra=takes({"type": "object"}))
async def jump(
    engine: EngineDep, body: BodyDep, workflow_id: str, ref: str, named: TaskReference = ""
) -> Response:
    """Drop what is under way and go on from a task of the top level; the body is written over its input."""
    await engine.executions.jump(workflow_id, named or ref, decode(_read_variables, body or b"{}"))
    return empty()


@router.post("/{workflow_id}/messages", responses=TEXT, openapi_extra=takes({"type": "object"}))
async def send_message(engine: EngineDep, body: BodyDep, workflow_id: str) -> Response:
    """Send a message to the workflow's PULL_WORKFLOW_MESSAGES tasks; answers its id.

    404, 409 (the workflow has ended) and 429 (its inbox is full) are told as text, as upstream does.
    """
    payload = object_of(body)
    try:
        return text(await engine.executions.push_message(workflow_id, payload))
    except (NotFoundError, ConflictError, RateLimitedError) as error:
        return Response(str(error), error.status, media_type="text/plain")


async def _must_be_open(engine: Engine, workflow_id: str, ref: str) -> None:
    await engine.executions.status(workflow_id)  # an unknown workflow is a 404 of its own
    if await engine.executions.open_task_id(workflow_id, ref) is None:
        raise NotFoundError(f"Found no running task {ref} of workflow {workflow_id} to update")

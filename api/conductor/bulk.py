"""Upstream's WorkflowBulkResource: one operation on many workflows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from fastapi import APIRouter, Response
from msgspec import Raw

from api.bodies import decode
from api.conductor.deps import (
    ArchiveWorkflow,
    BodyDep,
    EngineDep,
    IncludeTasks,
    UseLatestDefinitions,
    encoded,
)
from api.conductor.openapi import returns, takes
from api.conductor.shapes import BulkResponse
from engine.core.errors import EngineError, InvalidRequestError

router = APIRouter(prefix="/api/workflow/bulk", tags=["workflow bulk"])

BULK_IDS_MAX = 1000
AT_ONCE_MAX = 64
"""Workflows of one call that are worked on together: their commits share transactions, which stay short."""
REMOVALS_AT_ONCE_MAX = 10
"""The same of removals, each of which takes many rows along."""

_read_ids = msgspec.json.Decoder(list[str])
_IDS = takes({"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": BULK_IDS_MAX})
_ANSWER = returns("BulkResponse")


@router.put("/pause", responses=_ANSWER, openapi_extra=_IDS)
async def pause(engine: EngineDep, body: BodyDep) -> Response:
    """Pause workflows."""
    return await _each(_ids(body, "pauseWorkflow"), engine.executions.pause)


@router.put("/resume", responses=_ANSWER, openapi_extra=_IDS)
async def resume(engine: EngineDep, body: BodyDep) -> Response:
    """Resume paused workflows."""
    return await _each(_ids(body, "resumeWorkflow"), engine.executions.resume)


@router.post("/restart", responses=_ANSWER, openapi_extra=_IDS)
async def restart(
    engine: EngineDep, body: BodyDep, use_latest_definitions: UseLatestDefinitions = False
) -> Response:
    """Restart ended workflows from the beginning."""

    async def one(workflow_id: str) -> None:
        await engine.executions.restart(workflow_id, use_latest_definitions=use_latest_definitions)

    return await _each(_ids(body, "restart"), one)


@router.post("/retry", responses=_ANSWER, openapi_extra=_IDS)
async def retry(engine: EngineDep, body: BodyDep) -> Response:
    """Retry the failed tasks of ended workflows."""
    return await _each(_ids(body, "retry"), engine.executions.retry)


@router.post("/terminate", responses=_ANSWER, openapi_extra=_IDS)
async def terminate(engine: EngineDep, body: BodyDep, reason: str | None = None) -> Response:
    """Terminate workflows."""

    async def one(workflow_id: str) -> None:
        await engine.executions.terminate(workflow_id, reason)

    return await _each(_ids(body, "terminate"), one)


@router.delete("/remove", responses=_ANSWER, openapi_extra=_IDS)
async def remove(engine: EngineDep, body: BodyDep, archive: ArchiveWorkflow = True) -> Response:
    """Remove workflows."""

    async def one(workflow_id: str) -> None:
        await engine.executions.remove(workflow_id, archive=archive)

    return await _each(_ids(body, "deleteWorkflow"), one, at_once=REMOVALS_AT_ONCE_MAX)


@router.delete("/terminate-remove", responses=_ANSWER, openapi_extra=_IDS)
async def terminate_remove(
    engine: EngineDep,
    body: BodyDep,
    archive: ArchiveWorkflow = True,
    reason: str | None = None,
) -> Response:
    """Terminate workflows and remove them."""

    async def one(workflow_id: str) -> None:
        await engine.executions.terminate(workflow_id, reason)
        await engine.executions.remove(workflow_id, archive=archive)

    return await _each(_ids(body, "terminateRemove"), one, at_once=REMOVALS_AT_ONCE_MAX)


@router.post("/search", responses=_ANSWER, openapi_extra=_IDS)
async def search(engine: EngineDep, body: BodyDep, include_tasks: IncludeTasks = True) -> Response:
    """Read many workflows."""

    async def one(workflow_id: str) -> Raw:
        return Raw(await engine.executions.workflow(workflow_id, include_tasks=include_tasks))

    return await _each(_ids(body, "searchWorkflow"), one)


def _ids(body: bytes, operation: str) -> list[str]:
    """The distinct ids, in order. `operation` is upstream's method name, which its error paths begin with."""
    ids = decode(_read_ids, body)
    problem = None
    if not ids:
        problem = "WorkflowIds list cannot be null."
    elif len(ids) > BULK_IDS_MAX:
        problem = f"Cannot process more than {BULK_IDS_MAX} workflows. Please use multiple requests."
    if problem is not None:
        raise InvalidRequestError(problem, ((f"{operation}.arg0", problem, None),))
    return list(dict.fromkeys(ids))


async def _each(
    ids: list[str], operation: Callable[[str], Awaitable[Any]], *, at_once: int = AT_ONCE_MAX
) -> Response:
    """Do them some at a time, in order; one that fails does not stop the others."""
    outcomes: list[tuple[str | None, Any]] = []
    for begin in range(0, len(ids), at_once):
        batch = ids[begin : begin + at_once]
        outcomes += await asyncio.gather(*(_outcome(operation, workflow_id) for workflow_id in batch))
    errors: dict[str, str] = {}
    successes: list[Any] = []
    for workflow_id, (error, value) in zip(ids, outcomes, strict=True):
        if error is not None:
            errors[workflow_id] = error
        else:
            successes.append(workflow_id if value is None else value)
    return encoded(BulkResponse(bulk_error_results=errors, bulk_successful_results=successes))


async def _outcome(operation: Callable[[str], Awaitable[Any]], workflow_id: str) -> tuple[str | None, Any]:
    try:
        return None, await operation(workflow_id)
    except EngineError as error:
        return str(error), None

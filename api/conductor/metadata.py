"""Upstream's MetadataResource: workflow and task definitions."""

from __future__ import annotations

from fastapi import APIRouter, Response
from msgspec.structs import replace

from api.conductor.deps import (
    DocumentDep,
    EngineDep,
    Int32Path,
    Overwrite,
    ShippedDep,
    VersionQuery,
    empty,
    encoded,
    json_answer,
    json_list,
)
from api.conductor.openapi import EMPTY, returns, returns_list, returns_schema, takes
from api.conductor.shapes import BulkResponse
from engine.bootstrap import Engine
from engine.core.errors import ConflictError
from engine.core.model import WorkflowDef, decode_workflow_def

router = APIRouter(prefix="/api/metadata", tags=["metadata"])


@router.post("/workflow", responses=EMPTY, openapi_extra=takes("WorkflowDef"))
async def register_workflow(
    engine: EngineDep, shipped: ShippedDep, body: DocumentDep, overwrite: Overwrite = False
) -> Response:
    """Register one version of a workflow; 409 when it exists, unless `overwrite`.

    What the server itself came with may be registered once more as it is: whoever follows the documentation
    step by step is not stopped by a definition that is there already.
    """
    try:
        await engine.metadata.register_workflow(body, overwrite=overwrite)
    except ConflictError:
        if not await _same_as_shipped(engine, shipped, body):
            raise
    return empty()


@router.post(
    "/workflow/validate", responses=returns("DefinitionWarnings"), openapi_extra=takes("WorkflowDef")
)
async def validate_workflow(engine: EngineDep, body: DocumentDep) -> Response:
    """Check a definition without storing it; the body is empty, or names what is allowed but looks wrong."""
    warnings = await engine.metadata.validate_workflow(body)
    return encoded({"warnings": warnings}) if warnings else empty()


@router.put(
    "/workflow",
    responses=returns("BulkResponse"),
    openapi_extra=takes({"type": "array", "items": {"$ref": "#/components/schemas/WorkflowDef"}}),
)
async def update_workflows(engine: EngineDep, body: DocumentDep) -> Response:
    """Register or replace many; an invalid one refuses the whole call."""
    names = await engine.metadata.update_workflows(body)
    return encoded(BulkResponse(bulk_error_results={}, bulk_successful_results=names))


@router.get("/workflow", responses=returns_list("WorkflowDef"))
async def workflows(engine: EngineDep) -> Response:
    """All versions of all workflows."""
    return json_list(await engine.metadata.workflow_defs())


@router.get("/workflow/names-and-versions", responses=returns_schema({"type": "object"}))
async def names_and_versions(engine: EngineDep) -> Response:
    """Every name with its versions."""
    return encoded(await engine.metadata.workflow_summaries())


@router.get("/workflow/names", responses=returns_schema({"type": "array", "items": {"type": "string"}}))
async def names(engine: EngineDep) -> Response:
    """Every name."""
    return encoded(list(await engine.metadata.workflow_summaries()))


@router.get("/workflow/latest-versions", responses=returns_list("WorkflowDef"))
async def latest_versions(engine: EngineDep) -> Response:
    """The newest version of each workflow."""
    return json_list(await engine.metadata.latest_workflow_defs())


@router.get("/workflow/{name}/versions", responses=returns_list("WorkflowDefSummary"))
async def versions(engine: EngineDep, name: str) -> Response:
    """The versions of one workflow; `[]` when nobody registered it."""
    return encoded((await engine.metadata.workflow_summaries()).get(name, []))


@router.get("/workflow/{name}", responses=returns("WorkflowDef"))
async def workflow(engine: EngineDep, name: str, version: VersionQuery = None) -> Response:
    """One definition; the newest version unless one is named."""
    return json_answer(await engine.metadata.workflow_def(name, version))


@router.delete("/workflow/{name}/{version}", responses=EMPTY)
async def delete_workflow(engine: EngineDep, name: str, version: Int32Path) -> Response:
    """Delete one version; what already runs goes on with it."""
    await engine.metadata.delete_workflow(name, version)
    return empty()


@router.post(
    "/taskdefs",
    responses=EMPTY,
    openapi_extra=takes({"type": "array", "items": {"$ref": "#/components/schemas/TaskDef"}}),
)
async def register_tasks(engine: EngineDep, body: DocumentDep) -> Response:
    """Register or replace task definitions."""
    await engine.metadata.register_tasks(body)
    return empty()


@router.put("/taskdefs", responses=EMPTY, openapi_extra=takes("TaskDef"))
async def update_task(engine: EngineDep, body: DocumentDep) -> Response:
    """Replace one task definition; 404 when nobody registered it."""
    await engine.metadata.update_task(body)
    return empty()


@router.get("/taskdefs", responses=returns_list("TaskDef"))
async def task_defs(engine: EngineDep) -> Response:
    """All task definitions."""
    return json_list(await engine.metadata.task_defs())


@router.get("/taskdefs/{task_type}", responses=returns("TaskDef"))
async def task_def(engine: EngineDep, task_type: str) -> Response:
    """One task definition."""
    return json_answer(await engine.metadata.task_def(task_type))


@router.delete("/taskdefs/{task_type}", responses=EMPTY)
async def delete_task(engine: EngineDep, task_type: str) -> Response:
    """Delete a task definition; 404 when nobody registered it."""
    await engine.metadata.delete_task(task_type)
    return empty()


async def _same_as_shipped(engine: Engine, shipped: frozenset[tuple[str, int]], body: bytes) -> bool:
    given = decode_workflow_def(body)
    if (given.name, given.version) not in shipped:
        return False
    registered = decode_workflow_def(await engine.metadata.workflow_def(given.name, given.version))
    return _without_times(given) == _without_times(registered)


def _without_times(definition: WorkflowDef) -> WorkflowDef:
    return replace(definition, create_time=0, update_time=0)

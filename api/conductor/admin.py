"""Upstream's AdminResource: what operators ask for. Nothing here needs repair by hand, so little is done."""

from __future__ import annotations

import platform

from fastapi import APIRouter, Response

from api.conductor.deps import EngineDep, IntQuery, encoded, json_list, text
from api.conductor.openapi import TEXT, returns_list, returns_schema
from api.errors import BadParameterError
from api.ops.routes import version

router = APIRouter(prefix="/api/admin", tags=["admin"])

TASKS_MAX = 1_000
"""Tasks of one answer."""

_MAP = returns_schema({"type": "object"})


@router.get("/config", responses=_MAP)
async def config() -> Response:
    """What this server is. Settings are not shown: they may hold secrets."""
    return encoded({"version": version(), "buildDate": "", "python": platform.python_version()})


@router.get("/task/{task_type}", responses=returns_list("Task"))
async def pending_tasks(
    engine: EngineDep, task_type: str, start: str = "", count: IntQuery = 100
) -> Response:
    """Open tasks of a definition, oldest first; `start` is the id of the last task of the page before."""
    if count < 0:
        raise BadParameterError(f"count must not be negative; it is {count}")
    found = await engine.executions.pending_tasks(task_type, after_id=start, limit=min(count, TASKS_MAX))
    return json_list(found)


@router.post("/sweep/requeue/{workflow_id}", responses=TEXT)
async def sweep(engine: EngineDep, workflow_id: str) -> Response:
    """Look at a workflow now; answers `false.ID`: it is in no queue that it could be missing in."""
    await engine.executions.decide(workflow_id)
    return text(f"false.{workflow_id}")


@router.post("/consistency/verifyAndRepair/{workflow_id}", responses=TEXT)
async def repair(engine: EngineDep, workflow_id: str) -> Response:
    """Look at a workflow now; answers `false`: tasks and their queues are one commit and cannot differ."""
    await engine.executions.decide(workflow_id)
    return text("false")


@router.get("/queues", responses=_MAP)
async def event_queues(engine: EngineDep) -> Response:
    """Sizes of the default event queues."""
    return encoded(await engine.queue_updates.sizes())

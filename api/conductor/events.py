"""Upstream's EventResource and QueueAdminResource: event handlers, and messages for waiting tasks."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Response

from api.bodies import decode
from api.conductor.deps import BodyDep, DocumentDep, EngineDep, empty, encoded, json_list
from api.conductor.openapi import EMPTY, returns_list, returns_schema, takes
from engine.core.errors import NotFoundError
from engine.services.queue_updates import QUEUES

router = APIRouter(prefix="/api")

_EVENT_TAGS: list[Any] = ["event handlers"]
_QUEUE_TAGS: list[Any] = ["queue admin"]
_HANDLER = takes("EventHandler")
_OUTPUT = takes({"type": "object"})
_read_output = msgspec.json.Decoder(dict[str, Any])

ActiveOnly = Annotated[bool, Query(alias="activeOnly")]


@router.post("/event", tags=_EVENT_TAGS, responses=EMPTY, openapi_extra=_HANDLER)
async def add_handler(engine: EngineDep, body: DocumentDep) -> Response:
    """Register an event handler; 409 when its name is taken. It acts on the next event, on every server."""
    await engine.event_handlers.add(body)
    return empty()


@router.put("/event", tags=_EVENT_TAGS, responses=EMPTY, openapi_extra=_HANDLER)
async def update_handler(engine: EngineDep, body: DocumentDep) -> Response:
    """Replace an event handler; 404 when there is none of its name."""
    await engine.event_handlers.update(body)
    return empty()


@router.get("/event", tags=_EVENT_TAGS, responses=returns_list("EventHandler"))
async def handlers(engine: EngineDep) -> Response:
    """All event handlers."""
    return json_list(await engine.event_handlers.all())


@router.get("/event/queue/{rest:path}", include_in_schema=False)
async def queue_config(rest: str) -> Response:
    """Other servers let clients configure queues."""
    raise NotFoundError(f"No such URL: /api/event/queue/{rest}; queues are named in the server's settings")


@router.get("/event/handler/{name}/executions", tags=_EVENT_TAGS, responses=returns_list("EventExecution"))
async def executions(engine: EngineDep, name: str) -> Response:
    """What became of the events that a handler met; not in upstream."""
    return json_list(await engine.events.records(name))


@router.get("/event/{event:path}", tags=_EVENT_TAGS, responses=returns_list("EventHandler"))
async def handlers_of_event(engine: EngineDep, event: str, *, active_only: ActiveOnly = True) -> Response:
    """The handlers of one event, such as `conductor:my_workflow:my_event`."""
    return json_list(await engine.event_handlers.all(event, active_only=active_only))


@router.delete("/event/{name:path}", tags=_EVENT_TAGS, responses=EMPTY)
async def delete_handler(engine: EngineDep, name: str) -> Response:
    """Delete an event handler; 404 when there is none of that name."""
    await engine.event_handlers.delete(name)
    return empty()


# ------------------------------------------------------------------------------------ queue admin
@router.get("/queue/", tags=_QUEUE_TAGS, responses=returns_schema({"type": "object"}))
async def queue_names() -> Response:
    """The queue of each status."""
    return encoded(QUEUES)


@router.get("/queue/size", tags=_QUEUE_TAGS, responses=returns_schema({"type": "object"}))
async def queue_sizes(engine: EngineDep) -> Response:
    """How many messages wait, by status."""
    return encoded(await engine.queue_updates.sizes())


@router.post(
    "/queue/update/{workflow_id}/{ref}/{status}",
    tags=_QUEUE_TAGS,
    responses=EMPTY,
    openapi_extra=_OUTPUT,
)
async def update_by_ref(
    engine: EngineDep, workflow_id: str, ref: str, status: str, body: BodyDep
) -> Response:
    """Complete or fail the task of that reference which waits."""
    output = decode(_read_output, body)
    await engine.queue_updates.post(workflow_id, status, output, ref=ref)
    return empty()


@router.post(
    "/queue/update/{workflow_id}/task/{task_id}/{status}",
    tags=_QUEUE_TAGS,
    responses=EMPTY,
    openapi_extra=_OUTPUT,
)
async def update_by_task_id(
    engine: EngineDep, workflow_id: str, task_id: str, status: str, body: BodyDep
) -> Response:
    """Complete or fail a task that waits."""
    output = decode(_read_output, body)
    await engine.queue_updates.post(workflow_id, status, output, task_id=task_id)
    return empty()

"""Upstream's SchedulerResource: schedules that start workflows, and the record of what they started."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Response

from api.bodies import decode
from api.conductor.deps import (
    INT64_MAX,
    BodyDep,
    DocumentDep,
    EngineDep,
    IntQuery,
    empty,
    encoded,
)
from api.conductor.openapi import EMPTY, returns, returns_list, returns_schema, takes
from api.conductor.shapes import BulkResponse
from engine.core.errors import EngineError, InvalidRequestError
from engine.core.schedules import decode_schedule, next_times, wire
from engine.services.schedule_search import page

router = APIRouter(prefix="/api/scheduler", tags=["scheduler"])

NEXT_TIMES_MAX = 100
"""Times that nextFewSchedules works out in one call."""
TAGS_MAX = 100
BULK_NAMES_MAX = 1_000

_read_tags = msgspec.json.Decoder(list[dict[str, Any]])
_read_names = msgspec.json.Decoder(list[str])
_NAMES = takes({"type": "array", "items": {"type": "string"}, "maxItems": BULK_NAMES_MAX})
_TAGS_SCHEMA = {"type": "array", "items": {"type": "object"}, "maxItems": TAGS_MAX}
_PAGE = returns_schema(
    {
        "type": "object",
        "properties": {
            "totalHits": {"type": "integer"},
            "results": {"type": "array", "items": {"type": "object"}},
        },
    }
)

WorkflowName = Annotated[str | None, Query(alias="workflowName")]
ScheduleName = Annotated[str | None, Query(alias="scheduleName")]
FreeText = Annotated[str, Query(alias="freeText")]
CronExpression = Annotated[str, Query(alias="cronExpression")]
ScheduleStart = Annotated[int | None, Query(alias="scheduleStartTime", ge=0, le=INT64_MAX)]
ScheduleEnd = Annotated[int | None, Query(alias="scheduleEndTime", ge=0, le=INT64_MAX)]
ZoneId = Annotated[str, Query(alias="zoneId")]


@router.post("/schedules", responses=returns("WorkflowSchedule"), openapi_extra=takes("WorkflowSchedule"))
async def save_schedule(engine: EngineDep, body: DocumentDep) -> Response:
    """Create or replace a schedule; answers it as stored, with the next time it is due."""
    return encoded(wire(await engine.scheduler.save(decode_schedule(body))))


@router.get("/schedules", responses=returns_list("WorkflowSchedule"))
async def schedules(engine: EngineDep, workflow_name: WorkflowName = None) -> Response:
    """All schedules, or those that start one workflow."""
    return encoded([wire(one) for one in await engine.scheduler.schedules(workflow_name or None)])


@router.get("/schedules/search", responses=_PAGE)
async def search_schedules(
    engine: EngineDep,
    *,
    workflow_name: WorkflowName = None,
    schedule_name: ScheduleName = None,
    paused: bool | None = None,
    query: str = "",
    free_text: FreeText = "*",
    sort: str = "",
    start: IntQuery = 0,
    size: IntQuery = 100,
) -> Response:
    """Schedules by filters, free text and query, a page of them."""
    found = [
        wire(one)
        for one in await engine.scheduler.schedules(workflow_name or None)
        if (not schedule_name or schedule_name in one.name) and (paused is None or one.paused == paused)
    ]
    total, rows = page(found, query=query, free_text=free_text, sort=sort, start=start, size=size)
    return encoded({"totalHits": total, "results": rows})


@router.get("/schedules/{name}", responses=returns("WorkflowSchedule"))
async def schedule(engine: EngineDep, name: str) -> Response:
    """One schedule."""
    return encoded(wire(await engine.scheduler.schedule(name)))


@router.delete("/schedules/{name}", responses=EMPTY)
async def delete_schedule(engine: EngineDep, name: str) -> Response:
    """Delete a schedule; one that is not there is fine, too."""
    await engine.scheduler.delete(name)
    return empty()


@router.put("/schedules/{name}/pause", responses=EMPTY)
async def pause_schedule(engine: EngineDep, name: str, reason: str | None = None) -> Response:
    """Pause a schedule: its times pass unused."""
    await engine.scheduler.pause(name, reason)
    return empty()


@router.put("/schedules/{name}/resume", responses=EMPTY)
async def resume_schedule(engine: EngineDep, name: str) -> Response:
    """Resume a schedule with its next time."""
    await engine.scheduler.resume(name)
    return empty()


@router.put("/bulk/pause", responses=returns("BulkResponse"), openapi_extra=_NAMES)
async def pause_schedules(engine: EngineDep, body: BodyDep) -> Response:
    """Pause many schedules."""
    return await _each(engine, _names(body), resume=False)


@router.put("/bulk/resume", responses=returns("BulkResponse"), openapi_extra=_NAMES)
async def resume_schedules(engine: EngineDep, body: BodyDep) -> Response:
    """Resume many schedules."""
    return await _each(engine, _names(body), resume=True)


@router.get("/nextFewSchedules", responses=returns_schema({"type": "array", "items": {"type": "integer"}}))
async def next_few_schedules(
    engine: EngineDep,
    *,
    cron_expression: CronExpression,
    schedule_start_time: ScheduleStart = None,
    schedule_end_time: ScheduleEnd = None,
    zone_id: ZoneId = "UTC",
    limit: IntQuery = 5,
) -> Response:
    """The next times of a cron expression, Unix milliseconds."""
    if not 0 <= limit <= NEXT_TIMES_MAX:
        raise InvalidRequestError(f"limit: {limit} is not between 0 and {NEXT_TIMES_MAX}")
    times = next_times(
        cron_expression,
        zone=zone_id or "UTC",
        now_ms=engine.clock.now_ms(),
        start_ms=schedule_start_time,
        end_ms=schedule_end_time,
        limit=limit,
    )
    return encoded(times)


@router.get("/search/executions", responses=_PAGE)
async def search_executions(
    engine: EngineDep,
    *,
    query: str = "",
    free_text: FreeText = "*",
    sort: str = "",
    start: IntQuery = 0,
    size: IntQuery = 100,
) -> Response:
    """What the schedules started, the newest first; the last few of each schedule are kept."""
    rows = [msgspec.to_builtins(run) for run in await engine.scheduler.runs()]
    total, found = page(rows, query=query, free_text=free_text, sort=sort, start=start, size=size)
    return encoded({"totalHits": total, "results": found})


@router.get("/admin/requeue", responses=returns_schema({"type": "object"}))
async def requeue(engine: EngineDep) -> Response:
    """Look at every schedule again. None can get lost here, so there is nothing to put back."""
    await engine.scheduler.look_again()
    return encoded({})


@router.get("/admin/pause", responses=returns_schema({"type": "object"}))
async def pause_all(engine: EngineDep) -> Response:
    """Fire nothing, on any server, until resumed."""
    await engine.scheduler.pause_all()
    return encoded({})


@router.get("/admin/resume", responses=returns_schema({"type": "object"}))
async def resume_all(engine: EngineDep) -> Response:
    """Fire again."""
    await engine.scheduler.resume_all()
    return encoded({})


@router.get("/schedules/{name}/tags", responses=returns_schema(_TAGS_SCHEMA))
async def tags(engine: EngineDep, name: str) -> Response:
    """The tags of a schedule."""
    return encoded((await engine.scheduler.schedule(name)).tags or [])


@router.put("/schedules/{name}/tags", responses=EMPTY, openapi_extra=takes(_TAGS_SCHEMA))
async def put_tags(engine: EngineDep, name: str, body: BodyDep) -> Response:
    """Add tags; one with the key of another replaces it."""
    given = _tags(body)
    keys = {tag.get("key") for tag in given}
    kept = [tag for tag in (await engine.scheduler.schedule(name)).tags or [] if tag.get("key") not in keys]
    if len(kept) + len(given) > TAGS_MAX:
        raise InvalidRequestError(f"tags: a schedule has at most {TAGS_MAX}")
    await engine.scheduler.tag(name, [*kept, *given])
    return empty()


@router.delete("/schedules/{name}/tags", responses=EMPTY, openapi_extra=takes(_TAGS_SCHEMA))
async def delete_tags(engine: EngineDep, name: str, body: BodyDep) -> Response:
    """Take tags away, by key and value."""
    gone = [(tag.get("key"), tag.get("value")) for tag in _tags(body)]
    before = (await engine.scheduler.schedule(name)).tags or []
    await engine.scheduler.tag(
        name, [tag for tag in before if (tag.get("key"), tag.get("value")) not in gone]
    )
    return empty()


def _tags(body: bytes) -> list[dict[str, Any]]:
    given = decode(_read_tags, body)
    if any(not isinstance(tag.get("key"), str) for tag in given):
        raise InvalidRequestError("tags: each needs a key, a text")
    return given


def _names(body: bytes) -> list[str]:
    names = decode(_read_names, body)
    if len(names) > BULK_NAMES_MAX:
        raise InvalidRequestError(f"at most {BULK_NAMES_MAX} names in one request")
    return list(dict.fromkeys(names))


async def _each(engine: EngineDep, names: list[str], *, resume: bool) -> Response:
    errors: dict[str, str] = {}
    done: list[Any] = []
    for name in names:
        try:
            await (engine.scheduler.resume(name) if resume else engine.scheduler.pause(name))
            done.append(name)
        except EngineError as error:
            errors[name] = str(error)
    return encoded(BulkResponse(bulk_error_results=errors, bulk_successful_results=done))

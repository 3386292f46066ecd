"""Plans without an encode: what would be made of a source, asked of the workers as a small workflow."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from api.videos import tracks
from api.videos.errors import ProblemError
from api.videos.models import FieldError
from api.videos.view import failure
from api.videos.wire import Json, last, latest_tasks, obj, objs, output
from engine.bootstrap import Engine
from engine.core.errors import NotFoundError, RefusedError
from engine.services.executions import StartRequest

WORKFLOW = "video_plan"
WAIT_S_MAX = 120.0
"""A plan reads the whole source; one that takes longer is better asked for on the command line."""
UNPOLLED_S_MAX = 2.0
"""So long a plan waits where no worker has asked for such work within the last `POLLED_S`."""
POLLED_S = 600.0
FIRST_TASK = "media_validate"
LOOK_S = 1.0


class PlanSource(Struct, kw_only=True, frozen=True):
    """What is planned: a stored source, and the id under which tasks may keep what they learn of it."""

    owner_id: str
    key: str
    sha256: str
    size: int
    filename: str


async def make_plan(
    engine: Engine, source: PlanSource, *, profile: object, overrides: Json, drm: object = None
) -> dict[str, Any]:
    """Have a source looked into and planned.

    Args:
        engine: runs the workflow.
        source: as stored.
        profile: a name, or a whole profile document.
        overrides: as asked for.
        drm: the workflow's `drm`.

    Returns:
        models.PlanView as data.

    Raises:
        ProblemError: `source_rejected`: the file cannot be processed, or `plan_not_made`: no worker in time.
        EngineError: the workflow could not be started.
    """
    request = StartRequest(
        name=WORKFLOW,
        correlation_id=source.owner_id,
        priority=99,
        input={
            "videoId": source.owner_id,
            "source": {
                "key": source.key,
                "sha256": source.sha256,
                "size": source.size,
                "filename": source.filename,
            },
            "profile": profile,
            "overrides": dict(overrides),
            "drm": drm,
        },
    )
    workflow_id = await engine.executions.start(request)
    workflow = await _ended(engine, workflow_id)
    tasks = latest_tasks(workflow)
    if workflow.get("status") != "COMPLETED":
        raise _refusal(workflow, tasks)
    return _view(tasks)


async def _ended(engine: Engine, workflow_id: str) -> dict[str, Any]:
    """The workflow once it has ended; ends it itself when the time is over or the caller goes away."""
    workflow: dict[str, Any] = {"status": "RUNNING"}
    waited_s = 0.0
    try:
        with engine.feed.watch() as watch:
            watch.follow(workflow_id)
            while waited_s < WAIT_S_MAX:
                workflow = msgspec.json.decode(await engine.executions.workflow(workflow_id))
                if workflow["status"] not in {"RUNNING", "PAUSED"}:
                    return workflow
                if waited_s >= UNPOLLED_S_MAX and not _taken(workflow) and not await _polled_lately(engine):
                    return workflow
                await watch.wait(LOOK_S)
                waited_s += LOOK_S
    finally:
        if workflow["status"] in {"RUNNING", "PAUSED"}:
            try:
                await engine.executions.terminate(workflow_id, "nobody waits for this plan any more")
            except (NotFoundError, RefusedError):
                pass
    return workflow


async def _polled_lately(engine: Engine) -> bool:
    now_ms = engine.clock.now_ms()
    return any(
        now_ms - int(each.get("lastPollTime") or 0) <= POLLED_S * 1000
        for each in await engine.queues.poll_data(FIRST_TASK)
    )


def _taken(workflow: Json) -> bool:
    """Whether some worker has begun with it."""
    return any(task.get("status") != "SCHEDULED" for task in objs(workflow.get("tasks")))


def _refusal(workflow: Json, tasks: list[dict[str, Any]]) -> ProblemError:
    if workflow.get("status") in {"RUNNING", "PAUSED"}:
        return ProblemError(
            "plan_not_made",
            "no worker made the plan in time; see that one runs: showrunner worker",
        )
    found = failure(workflow, tasks)
    return ProblemError(
        "source_rejected",
        found.message,
        errors=[FieldError(path="source", message=found.message, code=found.code)],
    )


def _view(tasks: list[dict[str, Any]]) -> dict[str, Any]:
    plan = obj(output(last(tasks, "media_plan")).get("plan"))
    return {
        "source": tracks.source(tracks.facts(tasks)),
        "verdicts": tracks.verdicts(tasks),
        "profile": plan.get("profile"),
        "frameRate": plan.get("frameRate"),
        "framesTotal": plan.get("framesTotal"),
        "durationSeconds": plan.get("durationSeconds"),
        "ladder": objs(plan.get("renditions")),
        "chunks": objs(plan.get("chunks")),
        "groups": objs(plan.get("groups")),
        "audio": objs(plan.get("audio")),
        "subtitles": objs(plan.get("text")),
        "estimate": obj(plan.get("estimate")),
    }

"""What a video looks like, computed from its workflow: pure, so the same workflow gives the same view."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from api.videos import tracks
from api.videos.models import OPEN_STATUSES, VideoStatus
from api.videos.progress import FRACTION_MAX_OPEN, PHASES, Pace, job_parts, overall, paced, phase_now
from api.videos.renditions import Rendition, renditions
from api.videos.wire import TASK_STATUS, Json, last, latest_tasks, obj, objs, output, texts, whole

_WORKFLOW_STATUS = {
    "COMPLETED": VideoStatus.READY,
    "FAILED": VideoStatus.FAILED,
    "TIMED_OUT": VideoStatus.FAILED,
    "TERMINATED": VideoStatus.CANCELLED,
}
RESERVED_ERROR_FIELDS = frozenset({"code", "message", "retryable"})


class Progress(Struct, kw_only=True, frozen=True, rename="camel"):
    fraction: float = 0.0
    phase: str = "upload"
    eta_seconds: float | None = None
    message: str = ""


class Failure(Struct, kw_only=True, frozen=True, rename="camel"):
    code: str
    message: str
    task: str | None = None
    retryable: bool = False
    details: dict[str, Any] | None = None


class Snapshot(Struct, kw_only=True, frozen=True, rename="camel"):
    """A video's view of its workflow. `playback` has paths relative to the version's folder.

    Attributes:
        preview: {version, playback, rendition?} once something can be played before the title is ready.
        drm: {scheme, systems, keyIds} of an encrypted title.
    """

    status: VideoStatus = VideoStatus.QUEUED
    progress: Progress = Progress(phase="validate", message="waiting for a worker")
    pace: Pace | None = None
    source: dict[str, Any] = {}
    verdicts: list[dict[str, Any]] = []
    renditions: list[Rendition] = []
    audio: list[dict[str, Any]] = []
    subtitles: list[dict[str, Any]] = []
    playback: dict[str, str] = {}
    preview: dict[str, Any] = {}
    drm: dict[str, Any] = {}
    cost: dict[str, Any] = {}
    error: Failure | None = None


def snapshot(workflow: Json, *, previous: Snapshot | None, now_ms: int, note: str = "") -> Snapshot:
    """View a workflow.

    Args:
        workflow: the wire's Workflow with its tasks.
        previous: the last view of the same run, which the progress may not fall behind; None for a fresh one.
        now_ms: Unix milliseconds.
        note: replaces the progress message, when there is something more important to say.
    """
    tasks = latest_tasks(workflow)
    status = _status(workflow, tasks)
    plan = obj(output(last(tasks, "media_plan")).get("plan"))
    made = renditions(plan, tasks, now_ms)
    ended_with = obj(workflow.get("output"))
    parts = job_parts(plan, tasks)
    done = 1.0 if status is VideoStatus.READY else min(overall(parts), FRACTION_MAX_OPEN)
    if previous is not None:
        done = max(done, min(previous.progress.fraction, 1.0))
    pace = paced(previous.pace if previous else None, done, now_ms) if status in OPEN_STATUSES else None
    message = note or _message(workflow, phase_now(parts), status, made)
    return Snapshot(
        status=status,
        progress=_progress(status, phase_now(parts), done, pace, message),
        pace=pace,
        source=tracks.source(tracks.facts(tasks)),
        verdicts=tracks.verdicts(tasks),
        renditions=made,
        audio=tracks.audio(plan, tasks),
        subtitles=tracks.subtitles(plan, tasks),
        playback=texts(ended_with.get("playback")) if status is VideoStatus.READY else {},
        preview=tracks.preview(tasks),
        drm=tracks.protection(tasks),
        cost=tracks.cost(tasks),
        error=failure(workflow, tasks) if status is VideoStatus.FAILED else None,
    )


def waiting_since(workflow: Json) -> dict[str, int]:
    """Task types of which a task waits for a worker, with the Unix milliseconds since when."""
    waiting: dict[str, int] = {}
    for task in latest_tasks(workflow):
        if task.get("status") == "SCHEDULED":
            name, at_ms = str(task.get("taskType")), whole(task.get("scheduledTime")) or 0
            waiting[name] = min(waiting.get(name, at_ms), at_ms)
    return waiting


def changes(before: Snapshot | None, now: Snapshot) -> list[tuple[str, dict[str, Any]]]:
    """The events, as (name, data), that lead from one view to the next; all of them from nothing."""
    events: list[tuple[str, dict[str, Any]]] = []
    known = {each.name: each for each in before.renditions} if before else {}
    events.extend(("rendition", built(each)) for each in now.renditions if known.get(each.name) != each)
    if now.preview and (before is None or before.preview != now.preview):
        events.append(("previewReady", now.preview))
    if before is None or before.progress != now.progress:
        events.append(("progress", built(now.progress)))
    if before is None or before.status != now.status:
        data: dict[str, Any] = {"status": now.status.value}
        if now.error is not None:
            data["error"] = built(now.error)
        events.append(("status", data))
    return events


def built(record: Struct) -> dict[str, Any]:
    """A record as JSON data, without what is unknown."""
    return {name: value for name, value in msgspec.to_builtins(record).items() if value is not None}


# --------------------------------------------------------------------------------------------- the parts
def _status(workflow: Json, tasks: Iterable[Json]) -> VideoStatus:
    ended = _WORKFLOW_STATUS.get(str(workflow.get("status")))
    if ended is not None:
        return ended
    started = any(task.get("startTime") or task.get("status") != "SCHEDULED" for task in tasks)
    return VideoStatus.PROCESSING if started else VideoStatus.QUEUED


def _progress(status: VideoStatus, phase: str, done: float, pace: Pace | None, message: str) -> Progress:
    if status is VideoStatus.READY:
        return Progress(fraction=1.0, phase="publish", message="ready")
    fraction = round(min(done, FRACTION_MAX_OPEN), 4)
    if status not in OPEN_STATUSES:
        return Progress(fraction=fraction, phase=phase, message=status.value)
    eta = pace.eta_seconds() if pace else None
    return Progress(fraction=fraction, phase=phase, eta_seconds=eta, message=message)


def _message(workflow: Json, phase: str, status: VideoStatus, made: Sequence[Rendition]) -> str:
    if workflow.get("status") == "PAUSED":
        return "paused"
    if status is VideoStatus.QUEUED:
        return "waiting for a worker"
    doing = next(words for name, _, words in PHASES if name == phase)
    running = [each.name for each in made if each.status == "running"]
    again = "encoding again" if phase == "measure" and running else doing
    return f"{again} {', '.join(running)}" if phase in {"encode", "measure"} and running else doing


def failure(workflow: Json, tasks: Sequence[Json]) -> Failure:
    """Why a workflow failed: the code and sentence of the task that says so."""
    failed = [t for t in tasks if TASK_STATUS.get(str(t.get("status"))) == "failed"]
    # A permissive or cancelled neighbour is not the reason: the one that says why is.
    told = [t for t in failed if obj(output(t).get("error")).get("code")] or failed
    reason = str(workflow.get("reasonForIncompletion") or "")
    if not told:
        return Failure(code="processing_failed", message=_sentence(reason), retryable=True)
    task = told[-1]
    error = obj(output(task).get("error"))
    terminal = task.get("status") == "FAILED_WITH_TERMINAL_ERROR"
    return Failure(
        code=str(error.get("code") or "processing_failed"),
        message=_sentence(str(error.get("message") or task.get("reasonForIncompletion") or reason)),
        task=str(task.get("referenceTaskName")),
        retryable=bool(error.get("retryable", not terminal)),
        details=_details(task, error),
    )


def _details(task: Json, error: Json) -> dict[str, Any] | None:
    """The figures behind the sentence: what else the error holds, and what the quality gate measured."""
    told = {name: value for name, value in error.items() if name not in RESERVED_ERROR_FIELDS}
    if task.get("taskType") == "media_gate":
        told |= {name: found for name in ("quality", "verdicts") if (found := objs(output(task).get(name)))}
    return told or None


def _sentence(words: str) -> str:
    return " ".join(words.split()) or "a step of the processing failed without saying why"

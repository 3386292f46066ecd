"""What a video looks like, computed from its workflow: pure, so the same workflow gives the same view."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct

from api.videos.models import OPEN_STATUSES, VideoStatus
from api.videos.report import report
from api.videos.wire import Json, first, latest_tasks, made, obj, objs, output, real, text, texts, whole

ItemStatus = Literal["waiting", "running", "ready", "failed", "cancelled"]

ENCODE_TYPES = ("media_encode", "media_audio", "media_stills")

PHASES: tuple[tuple[str, tuple[str, ...], float, str], ...] = (
    ("validate", ("media_validate",), 0.02, "looking into the file"),
    ("plan", ("media_plan",), 0.03, "planning the renditions"),
    ("encode", ENCODE_TYPES, 0.80, "encoding"),
    ("measure", ("media_verify",), 0.05, "checking every frame count and keyframe"),
    ("package", ("media_package",), 0.06, "packaging HLS and DASH"),
    ("publish", ("media_publish",), 0.04, "publishing"),
)
"""Phase, its task types, its share of the whole job (they sum to 1), and what to tell people."""

SIDE_SHARE = 0.05
"""Sound and stills, each against all pictures together: about what they cost on the clips measured."""

SEVERITIES = ("info", "normalise", "warn", "reject")

ETA_AFTER_FRACTION = 0.05
ETA_AFTER_MS = 2_000
"""Before these an estimate is noise."""

_TASK_STATUS: dict[str, ItemStatus] = {
    "SCHEDULED": "waiting",
    "IN_PROGRESS": "running",
    "COMPLETED": "ready",
    "COMPLETED_WITH_ERRORS": "ready",
    "SKIPPED": "ready",
    "FAILED": "failed",
    "FAILED_WITH_TERMINAL_ERROR": "failed",
    "TIMED_OUT": "failed",
    "CANCELED": "cancelled",
}
_WORKFLOW_STATUS = {
    "COMPLETED": VideoStatus.READY,
    "FAILED": VideoStatus.FAILED,
    "TIMED_OUT": VideoStatus.FAILED,
    "TERMINATED": VideoStatus.CANCELLED,
}


class Progress(Struct, kw_only=True, frozen=True, rename="camel"):
    fraction: float = 0.0
    phase: str = "upload"
    eta_seconds: float | None = None
    message: str = ""


class Rendition(Struct, kw_only=True, frozen=True, rename="camel"):
    """As models.RenditionView; None where nothing is known yet."""

    name: str
    codec: str | None = None
    width: int | None = None
    height: int | None = None
    frame_rate: str | None = None
    average_bitrate: int | None = None
    peak_bitrate: int | None = None
    size: int | None = None
    frames: int | None = None
    status: ItemStatus = "waiting"
    progress: float = 0.0
    fps: float | None = None
    speed: float | None = None
    eta_seconds: float | None = None
    encode_seconds: float | None = None
    reused: bool | None = None
    worker: str | None = None


class Failure(Struct, kw_only=True, frozen=True, rename="camel"):
    code: str
    message: str
    task: str | None = None
    retryable: bool = False


class Snapshot(Struct, kw_only=True, frozen=True, rename="camel"):
    """A video's view of its workflow. `playback` has paths relative to the version's folder."""

    status: VideoStatus = VideoStatus.QUEUED
    progress: Progress = Progress(phase="validate", message="waiting for a worker")
    source: dict[str, Any] = {}
    verdicts: list[dict[str, Any]] = []
    renditions: list[Rendition] = []
    audio: list[dict[str, Any]] = []
    subtitles: list[dict[str, Any]] = []
    playback: dict[str, str] = {}
    cost: dict[str, Any] = {}
    error: Failure | None = None
    report: dict[str, Any] = {}


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
    plan = obj(output(first(tasks, "media_plan")).get("plan"))
    encodes = [task for task in tasks if task.get("taskType") == "media_encode"]
    renditions = _renditions(plan, encodes, now_ms)
    validated = output(first(tasks, "media_validate"))
    ended_with = obj(workflow.get("output"))
    failure = _failure(workflow, tasks) if status is VideoStatus.FAILED else None
    ended = status not in OPEN_STATUSES
    return Snapshot(
        status=status,
        progress=_progress(
            workflow, tasks, renditions, status=status, previous=previous, now_ms=now_ms, note=note
        ),
        source=_source(obj(validated.get("facts"))),
        verdicts=_verdicts(validated.get("verdicts")),
        renditions=renditions,
        audio=_audio(plan, tasks),
        subtitles=objs(ended_with.get("subtitles")),
        playback=texts(ended_with.get("playback")) if status is VideoStatus.READY else {},
        cost=_cost(tasks),
        error=failure,
        report=report(workflow) if ended else {},
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


def _fraction(task: Json) -> float:
    match _TASK_STATUS.get(str(task.get("status"))):
        case "ready":
            return 1.0
        case "running" | "waiting":
            # A task that went back to its queue starts over, but what it did once it will do faster again.
            told = real(obj(output(task).get("progress")).get("fraction")) or 0.0
            return min(max(told, 0.0), 1.0)
        case _:
            return 0.0


def _encode_fraction(tasks: Sequence[Json]) -> float:
    pixels = {id(t): _pixels(t) for t in tasks if t.get("taskType") == "media_encode"}
    total = sum(pixels.values()) or 1.0
    weights = [pixels.get(id(task), SIDE_SHARE * total) for task in tasks]
    return sum(w * _fraction(t) for w, t in zip(weights, tasks, strict=True)) / sum(weights)


def _pixels(task: Json) -> float:
    given = obj(task.get("inputData"))
    named = rendition_name(task)
    plan = objs(obj(given.get("plan")).get("renditions"))
    planned = next((each for each in plan if each.get("name") == named), {})
    return max(real(planned.get("width")) or 640.0, 1.0) * max(real(planned.get("height")) or 360.0, 1.0)


def _progress(
    workflow: Json,
    tasks: Sequence[Json],
    renditions: Sequence[Rendition],
    *,
    status: VideoStatus,
    previous: Snapshot | None,
    now_ms: int,
    note: str,
) -> Progress:
    if status is VideoStatus.READY:
        return Progress(fraction=1.0, phase="publish", message="ready")
    done, current = 0.0, ""
    for phase, types, share, _ in PHASES:
        members = [task for task in tasks if task.get("taskType") in types]
        part = (_encode_fraction(members) if phase == "encode" else _fraction(members[0])) if members else 0.0
        done += share * part
        if not current and part < 1.0:
            current = phase
    current = current or "publish"
    # One percent is kept for the end: only a finished workflow is all of it.
    fraction = round(min(max(done, previous.progress.fraction if previous else 0.0), 0.99), 4)
    if status is VideoStatus.FAILED or status is VideoStatus.CANCELLED:
        return Progress(fraction=fraction, phase=current, message=status.value)
    return Progress(
        fraction=fraction,
        phase=current,
        eta_seconds=_eta(workflow, tasks, fraction, now_ms),
        message=note or _message(workflow, current, status, renditions),
    )


def _message(workflow: Json, phase: str, status: VideoStatus, renditions: Sequence[Rendition]) -> str:
    if workflow.get("status") == "PAUSED":
        return "paused"
    if status is VideoStatus.QUEUED:
        return "waiting for a worker"
    doing = next(words for name, _, _, words in PHASES if name == phase)
    running = [each.name for each in renditions if each.status == "running"]
    return f"{doing} {', '.join(running)}" if phase == "encode" and running else doing


def _eta(workflow: Json, tasks: Iterable[Json], fraction: float, now_ms: int) -> float | None:
    started_ms = min((at for task in tasks if (at := whole(task.get("startTime")))), default=0)
    # After a retry, time that went by before it says nothing about what is left.
    started_ms = max(started_ms, whole(workflow.get("lastRetriedTime")) or 0)
    elapsed_ms = now_ms - started_ms
    if not started_ms or fraction < ETA_AFTER_FRACTION or elapsed_ms < ETA_AFTER_MS:
        return None
    return round(elapsed_ms / 1000 * (1 - fraction) / fraction, 1)


def rendition_name(task: Json) -> str:
    """The rendition that an encode task makes."""
    named = obj(task.get("inputData")).get("rendition")
    return str(named or str(task.get("referenceTaskName")).removeprefix("encode_"))


def _renditions(plan: Json, encodes: Sequence[Json], now_ms: int) -> list[Rendition]:
    planned = {str(each.get("name")): each for each in objs(plan.get("renditions"))}
    by_name = {rendition_name(task): task for task in encodes}
    return [
        _rendition(name, planned.get(name, {}), by_name.get(name), plan, now_ms)
        for name in dict.fromkeys([*planned, *by_name])
    ]


def _rendition(name: str, planned: Json, task: Json | None, plan: Json, now_ms: int) -> Rendition:
    said = output(task)
    thing = obj(said.get("video")) or said
    state = _TASK_STATUS.get(str(task.get("status")), "waiting") if task else "waiting"
    told = obj(said.get("progress")) if state == "running" else {}
    started_ms, ended_ms = (whole((task or {}).get(key)) or 0 for key in ("startTime", "endTime"))
    took = real(thing.get("encodeSeconds"))
    if took is None and started_ms and state in {"running", "ready"}:
        took = round(((ended_ms or now_ms) - started_ms) / 1000, 1)
    known = {**planned, **{key: value for key, value in thing.items() if value is not None}}
    return Rendition(
        name=name,
        codec=text(known.get("codec")),
        width=whole(known.get("width")),
        height=whole(known.get("height")),
        frame_rate=text(known.get("frameRate")) or text(plan.get("frameRate")),
        average_bitrate=whole(thing.get("averageBitrate")),
        peak_bitrate=whole(thing.get("peakBitrate")),
        size=whole(obj(said.get("file")).get("size")),
        frames=whole(thing.get("frames")),
        status=state,
        progress=round(_fraction(task), 4) if task else 0.0,
        fps=real(told.get("fps")),
        speed=real(told.get("speed")),
        eta_seconds=real(told.get("etaSeconds")),
        encode_seconds=took,
        reused=said.get("reused") is True if "reused" in said else None,
        worker=text((task or {}).get("workerId")),
    )


def _audio(plan: Json, tasks: Iterable[Json]) -> list[dict[str, Any]]:
    by_name = {
        str(thing.get("track") or task.get("referenceTaskName")): (task, thing)
        for task in tasks
        if task.get("taskType") == "media_audio"
        for thing in [made(task)]
    }
    shown = ("codec", "language", "channels", "durationSeconds", "averageBitrate", "loudnessLufs")
    tracks: list[dict[str, Any]] = []
    for planned in objs(plan.get("audio")):
        name = str(planned.get("name"))
        task, thing = by_name.get(name) or ({}, {})
        known = {**planned, **thing}
        tracks.append(
            {
                "name": name,
                "label": planned.get("label"),
                "default": planned.get("default"),
                "status": _TASK_STATUS.get(str(task.get("status")), "waiting"),
                **{key: known[key] for key in shown if known.get(key) is not None},
            }
        )
    return tracks


def _verdicts(found: object) -> list[dict[str, Any]]:
    shown = [each for each in objs(found) if each.get("severity") in SEVERITIES]
    return [texts(each) for each in shown if text(each.get("code")) and text(each.get("message"))]


def _source(facts: Json) -> dict[str, Any]:
    video = obj(facts.get("video"))
    shown: dict[str, Any] = {
        "container": facts.get("container"),
        "durationSeconds": facts.get("durationSeconds") or video.get("durationSeconds"),
        "width": video.get("codedWidth"),
        "height": video.get("codedHeight"),
        "hdr": video.get("hdr"),
        "video": dict(video) or None,
        "audio": objs(facts.get("audio")),
        "subtitles": objs(facts.get("subtitles")),
    }
    for key in ("displayWidth", "displayHeight", "frameRate", "rotation", "interlaced"):
        shown[key] = video.get(key)
    return {key: value for key, value in shown.items() if value is not None} if facts else {}


def _cost(tasks: Iterable[Json]) -> dict[str, Any]:
    seconds, stored = 0.0, 0
    for task in tasks:
        seconds += real(obj(made(task).get("provenance")).get("cpuSeconds")) or 0.0
        stored += whole(obj(output(task).get("file")).get("size")) or 0
        if task.get("taskType") == "media_publish":
            stored += whole(output(task).get("size")) or 0
    return {"cpuSeconds": round(seconds, 2), "storedBytes": stored} if seconds or stored else {}


def _failure(workflow: Json, tasks: Sequence[Json]) -> Failure:
    failed = [t for t in tasks if _TASK_STATUS.get(str(t.get("status"))) == "failed"]
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
    )


def _sentence(words: str) -> str:
    return " ".join(words.split()) or "a step of the processing failed without saying why"

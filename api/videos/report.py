"""How a video was made, computed from its workflow: plan, artefacts, findings, a line for each attempt."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from api.videos.renditions import measurements
from api.videos.wire import (
    Json,
    Thing,
    last,
    latest_tasks,
    obj,
    objs,
    output,
    real,
    text,
    texts,
    things,
    whole,
    words,
)

_MAKERS = frozenset(
    {
        "media_encode",
        "media_audio",
        "media_text",
        "media_stills",
        "media_preview",
        "media_stitch",
        "media_package",
    }
)
_CHECKERS = frozenset({"media_verify", "media_stitch", "media_package", "media_check"})
_FIGURES = ("mean", "p5", "min", "xpsnrDb", "targetMean", "targetP5")


class TaskLine(Struct, kw_only=True, frozen=True, rename="camel"):
    """One attempt at a task as the log of a video shows it."""

    task: str
    type: str
    attempt: int
    status: str
    worker: str | None = None
    message: str = ""


def task_lines(workflow: Json) -> dict[str, TaskLine]:
    """Every attempt of every worker's task, by task id."""
    return {
        str(task.get("taskId")): TaskLine(
            task=str(task.get("referenceTaskName")),
            type=str(task.get("taskType")),
            attempt=_attempt(task),
            status=str(task.get("status")),
            worker=text(task.get("workerId")),
            message=text(task.get("reasonForIncompletion")) or "",
        )
        for task in _media_tasks(workflow)
    }


def chunk_documents(workflow: Json) -> list[str]:
    """Storage keys of the documents that list the chunks of each rendition with their whole provenance."""
    stitched = objs(output(last(latest_tasks(workflow), "media_stitch")).get("renditions"))
    return [key for each in stitched if (key := text((obj(each.get("video")) or each).get("sources")))]


def report(workflow: Json, documents: Iterable[object] = ()) -> dict[str, Any]:
    """The parts of models.Report that the workflow tells.

    Args:
        workflow: the wire's Workflow with its tasks.
        documents: those that `chunk_documents` names, as far as they could be read.
    """
    tasks = latest_tasks(workflow)
    lines = task_lines(workflow)
    plan = obj(output(last(tasks, "media_plan")).get("plan"))
    probed = obj(output(last(tasks, "media_probe_encodes")))
    return {
        "plan": plan or None,
        "artefacts": artefacts(tasks, documents),
        "quality": [_quality(each) for each in measurements(tasks)],
        "gate": [
            verdict
            for task in tasks
            if task.get("taskType") == "media_gate"
            for verdict in objs(output(task).get("verdicts"))
        ],
        "validation": [_finding(each) for task in tasks for each in _findings(task)],
        "per_title": obj(plan.get("perTitle")) or obj(probed.get("perTitle")) or probed or None,
        "scan": obj(output(last(tasks, "media_scan")).get("scan")) or None,
        "timings": [_timing(task, lines[str(task.get("taskId"))]) for task in _media_tasks(workflow)],
    }


def artefacts(tasks: Iterable[Json], documents: Iterable[object] = ()) -> list[dict[str, Any]]:
    """Everything that was made, once each: what it is, from what, by which command, by whom, for how much."""
    found: dict[str, dict[str, Any]] = {}
    for task in tasks:
        if task.get("taskType") in _MAKERS:
            for thing in things(output(task)):
                made = _artefact(task, thing)
                found.setdefault(str(made["path"] or task.get("taskId")), made)
    for document in documents:
        # What travels from task to task of a chunk has no command; its rendition's document has.
        for thing in things(document):
            known = found.get(str(thing.file.get("key")))
            if known is not None:
                known.update(_provenance(thing.record))
    return list(found.values())


def _media_tasks(workflow: Json) -> list[dict[str, Any]]:
    return [task for task in objs(workflow.get("tasks")) if str(task.get("taskType")).startswith("media_")]


def _timing(task: Json, line: TaskLine) -> dict[str, Any]:
    return {
        "task": line.task,
        "type": line.type,
        "attempt": line.attempt,
        "status": line.status,
        "worker": line.worker,
        "queuedSeconds": _seconds(task, "scheduledTime", "startTime"),
        "runSeconds": _seconds(task, "startTime", "endTime"),
    }


def _artefact(task: Json, thing: Thing) -> dict[str, Any]:
    record, said = thing.record, output(task)
    return {
        "path": text(thing.file.get("key")) or text(said.get("artefact")),
        "sha256": text(thing.file.get("sha256")),
        "size": whole(thing.file.get("size")) or whole(record.get("size")),
        "kind": str(task.get("taskType")).removeprefix("media_"),
        "rendition": text(record.get("rendition")) or text(record.get("track")),
        "chunk": whole(record.get("chunk")),
        **_provenance(record),
        "attempt": whole(record.get("attempt")) or _attempt(task),
        "reused": thing.reused is True,
    }


def _provenance(record: Json) -> dict[str, Any]:
    said = obj(record.get("provenance"))
    return {
        "argv": words(said.get("argv")),
        "tools": texts(said.get("tools")),
        "worker": text(said.get("worker")),
        "inputs": words(said.get("inputs")),
        "cpuSeconds": real(said.get("cpuSeconds")),
        "wallSeconds": real(said.get("wallSeconds")),
    }


def _quality(measured: Json) -> dict[str, Any]:
    return {
        "rendition": text(measured.get("rendition")) or "",
        "metric": text(measured.get("metric")) or "vmaf",
        **{name: real(measured.get(name)) for name in _FIGURES},
        **{name: measured.get(name) is True for name in ("aligned", "passed") if name in measured},
        "windows": [
            {name: real(each.get(name)) for name in ("start", "mean", "min")}
            for each in objs(measured.get("windows"))
            if real(each.get("start")) is not None and real(each.get("mean")) is not None
        ],
    }


def _findings(task: Json) -> list[dict[str, Any]]:
    if task.get("taskType") not in _CHECKERS:
        return []
    return objs(output(task).get("findings")) or objs(obj(output(task).get("error")).get("findings"))


def _finding(each: Json) -> dict[str, Any]:
    """A finding of the validator, or of the proof of an encode, which has a code and no severity."""
    path = text(each.get("path")) or text(each.get("subject"))
    return {
        "rule": text(each.get("rule")) or text(each.get("code")) or "",
        "severity": text(each.get("severity")) or "error",
        "message": text(each.get("message")) or "",
        **({"path": path} if path else {}),
    }


def _attempt(task: Json) -> int:
    return (whole(task.get("retryCount")) or 0) + 1


def _seconds(task: Json, start: str, end: str) -> float | None:
    started, ended = whole(task.get(start)) or 0, whole(task.get(end)) or 0
    return round((ended - started) / 1000, 3) if started and ended >= started else None

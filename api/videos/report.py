"""How a video was made, computed from its workflow: plan, artefacts, findings, a line for each attempt."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from api.videos.wire import Json, first, latest_tasks, made, obj, objs, output, text, whole


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


def report(workflow: Json) -> dict[str, Any]:
    """The parts of models.Report that the workflow tells."""
    tasks = latest_tasks(workflow)
    lines = task_lines(workflow)
    return {
        "plan": obj(output(first(tasks, "media_plan")).get("plan")) or None,
        "artefacts": [found for task in tasks if (found := _artefact(task))],
        "validation": [
            finding
            for task in tasks
            if task.get("taskType") in {"media_verify", "media_package"}
            for finding in objs(output(task).get("findings"))
        ],
        "timings": [_timing(task, lines[str(task.get("taskId"))]) for task in _media_tasks(workflow)],
    }


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


def _artefact(task: Json) -> dict[str, Any] | None:
    thing, said = made(task), output(task)
    provenance = obj(thing.get("provenance"))
    if not provenance:
        return None
    file = obj(said.get("file"))
    return {
        "path": file.get("key") or said.get("artefact"),
        "sha256": file.get("sha256"),
        "size": file.get("size") or thing.get("size"),
        "kind": str(task.get("taskType")).removeprefix("media_"),
        "rendition": thing.get("rendition") or thing.get("track"),
        **provenance,
        "attempt": _attempt(task),
        "reused": bool(said.get("reused")),
    }


def _attempt(task: Json) -> int:
    return (whole(task.get("retryCount")) or 0) + 1


def _seconds(task: Json, start: str, end: str) -> float | None:
    started, ended = whole(task.get(start)) or 0, whole(task.get(end)) or 0
    return round((ended - started) / 1000, 3) if started and ended >= started else None

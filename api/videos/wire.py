"""Reads the wire's documents without trusting them: workers of any make write the outputs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

Json = Mapping[str, Any]
ItemStatus = Literal["waiting", "running", "ready", "failed", "cancelled"]

TASK_STATUS: dict[str, ItemStatus] = {
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
"""What a status of the wire is to people."""

NESTING_MAX = 6
"""How deep an output is searched."""

_ITERATION = re.compile(r"__\d+$")


def obj(value: object) -> dict[str, Any]:
    """The object, or an empty one."""
    return value if isinstance(value, dict) else {}


def objs(value: object) -> list[dict[str, Any]]:
    """The objects of a list."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def texts(value: object) -> dict[str, str]:
    """The texts among an object's values."""
    return {key: each for key, each in obj(value).items() if isinstance(each, str)}


def words(value: object) -> list[str]:
    """The texts of a list."""
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def text(value: object) -> str | None:
    """A text with something in it."""
    return value if isinstance(value, str) and value else None


def real(value: object) -> float | None:
    """A finite number."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else None  # type: ignore[arg-type]  # `usable` proves it a number


def whole(value: object) -> int | None:
    """A finite number without its fraction."""
    found = real(value)
    return None if found is None else int(found)


def output(task: Json | None) -> dict[str, Any]:
    return obj(task.get("outputData")) if task else {}


def made(task: Json) -> dict[str, Any]:
    """What a task says about the thing it made."""
    said = output(task)
    for name in ("video", "audio", "text", "stills", "package"):
        if isinstance(said.get(name), dict):
            return dict(said[name])
    return said


def first(tasks: Iterable[Json], task_type: str) -> Json | None:
    return next((task for task in tasks if task.get("taskType") == task_type), None)


def last(tasks: Iterable[Json], task_type: str) -> Json | None:
    """The newest task of a type: of a loop, the one of its last round."""
    return next((task for task in reversed(list(tasks)) if task.get("taskType") == task_type), None)


def base_ref(task: Json) -> str:
    """The reference without the number of a loop's round."""
    return _ITERATION.sub("", str(task.get("referenceTaskName")))


class Thing(NamedTuple):
    """Something that was made: its record with `provenance`, its file ({} if it has none), whether reused."""

    record: dict[str, Any]
    file: dict[str, Any]
    reused: bool | None


def things(value: object, within: Thing | None = None, depth: int = NESTING_MAX) -> Iterator[Thing]:
    """Everything in an output that says where it comes from, each with the file named beside or above it.

    Args:
        value: an output, or a part of one.
        within: file and reuse that hold for what lies in it.
        depth: how much deeper to look.
    """
    if depth <= 0:
        return
    if isinstance(value, dict):
        file = obj(value.get("file")) or (within.file if within else {})
        reused = value.get("reused", within.reused if within else None)
        found = Thing(value, file, reused if isinstance(reused, bool) else None)
        if obj(value.get("provenance")):
            yield found
        for name, each in value.items():
            if name != "provenance":
                yield from things(each, found, depth - 1)
    elif isinstance(value, list):
        for each in value:
            yield from things(each, within, depth - 1)


def latest_tasks(workflow: Json) -> list[dict[str, Any]]:
    """The last attempt of each task, in the order in which they were first scheduled."""
    latest: dict[str, dict[str, Any]] = {}
    for task in objs(workflow.get("tasks")):
        latest[str(task.get("referenceTaskName"))] = task
    return list(latest.values())

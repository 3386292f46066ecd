"""Reads the wire's documents without trusting them: workers of any make write the outputs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

Json = Mapping[str, Any]


def obj(value: object) -> dict[str, Any]:
    """The object, or an empty one."""
    return value if isinstance(value, dict) else {}


def objs(value: object) -> list[dict[str, Any]]:
    """The objects of a list."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def texts(value: object) -> dict[str, str]:
    """The texts among an object's values."""
    return {key: each for key, each in obj(value).items() if isinstance(each, str)}


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
    for name in ("video", "audio", "stills", "package"):
        if isinstance(said.get(name), dict):
            return dict(said[name])
    return said


def first(tasks: Iterable[Json], task_type: str) -> Json | None:
    return next((task for task in tasks if task.get("taskType") == task_type), None)


def latest_tasks(workflow: Json) -> list[dict[str, Any]]:
    """The last attempt of each task, in the order in which they were first scheduled."""
    latest: dict[str, dict[str, Any]] = {}
    for task in objs(workflow.get("tasks")):
        latest[str(task.get("referenceTaskName"))] = task
    return list(latest.values())

"""WAIT (for a duration, a date or an outside update) and HUMAN (for an outside update)."""

from __future__ import annotations

from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec.structs import replace

from engine.core.durations import parse_duration_seconds, parse_until_ms
from engine.core.mapping import Mapper, Source, new_task
from engine.core.records import Task
from engine.core.statuses import TaskStatus
from engine.core.step import Step

FOR_EVER_SECONDS = 2**31 - 1


class Wait:
    def create(self, step: Step, source: Source, mapper: Mapper) -> list[Task]:
        task = new_task(step, source, task_type="WAIT", status=TaskStatus.IN_PROGRESS)
        return [arm(step, task)]

    def run(self, step: Step, task: Task) -> Task | None:
        """A wait that cannot be understood ends at once."""
        reason = task.state.reason_for_incompletion
        return step.move(task, TaskStatus.FAILED_WITH_TERMINAL_ERROR) if isinstance(reason, str) else None


def arm(step: Step, task: Task) -> Task:
    """Set the timer that its input asks for; a wait without one stays open until somebody updates it."""
    given = step.document(task.head.input_data)
    duration, until = given.get("duration"), given.get("until")
    if duration is None and until is None:
        return _callback(step, task, FOR_EVER_SECONDS)
    if duration is not None and until is not None:
        return _refused(step, task, "Both 'duration' and 'until' specified. Please provide only one input")
    try:
        due_ms = (
            step.now_ms + parse_duration_seconds(str(duration)) * 1000
            if duration is not None
            else parse_until_ms(str(until), zone=UTC, find_zone=find_zone)
        )
    except ValueError as error:
        text = (
            str(error)
            if duration is not None
            else f"Invalid/Unsupported Wait Until format.  Provided: {until}"
        )
        return _refused(step, task, text)
    task = step.put(replace(task, links=replace(task.links, wait_until_ms=due_ms)))
    step.timer(task.id, "wait", max(due_ms, step.now_ms))
    return _callback(step, task, max(0, (due_ms - step.now_ms) // 1000))


class Human:
    def create(self, step: Step, source: Source, mapper: Mapper) -> list[Task]:
        return [new_task(step, source, task_type="HUMAN", status=TaskStatus.IN_PROGRESS)]

    def run(self, step: Step, task: Task) -> Task | None:
        return None


def find_zone(name: str) -> tzinfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return None


def _callback(step: Step, task: Task, seconds: int) -> Task:
    return step.put(
        replace(task, state=replace(task.state, callback_after_seconds=min(seconds, FOR_EVER_SECONDS)))
    )


def _refused(step: Step, task: Task, reason: str) -> Task:
    return step.put(replace(task, state=replace(task.state, reason_for_incompletion=reason)))

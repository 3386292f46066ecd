"""Schedules that start workflows: what one is, which of its times are due, and when it is due next. Pure."""

from __future__ import annotations

import re
from datetime import UTC, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from engine.core.cron import Cron, CronError, parse_cron
from engine.core.errors import InvalidRequestError
from engine.core.facts import name_uuid
from engine.core.model import MalformedBodyError

CRONS_MAX = 50
"""Cron expressions of one schedule."""
LATE_MS_MAX = 60_000
"""A time that passed longer ago, without a server to see it, counts as missed: only catch-up runs it."""
RUNS_PER_PASS_MAX = 20
"""Times of one schedule that one pass runs; a longer catch-up goes on in the next pass, at once."""
NAME_CHARS_MAX = 255
BODY_BYTES_MAX = 1024 * 1024
"""A schedule as JSON; it is kept in memory. Larger inputs of workflows belong behind a reference."""

_OFFSET = re.compile(r"(?:UTC|GMT|UT)?([+-])(\d{1,2})(?::?(\d{2}))?")


class CronEntry(Struct, kw_only=True, rename="camel"):
    """One of several crons of a schedule."""

    cron_expression: str
    zone_id: str | None = None


class WorkflowSchedule(Struct, kw_only=True, rename="camel"):
    """The wire's WorkflowSchedule; times are Unix milliseconds.

    Attributes:
        start_workflow_request: upstream's StartWorkflowRequest.
        next_run_time: the next time it is due; unset when it never is again.
        tags: what the tag routes keep.
    """

    name: str = ""
    cron_expression: str | UnsetType | None = UNSET
    run_catchup_schedule_instances: bool = False
    paused: bool = False
    paused_reason: str | UnsetType | None = UNSET
    start_workflow_request: dict[str, Any] | None = None
    zone_id: str | None = "UTC"
    cron_schedules: list[CronEntry] | UnsetType | None = UNSET
    schedule_start_time: int | UnsetType | None = UNSET
    schedule_end_time: int | UnsetType | None = UNSET
    create_time: int | UnsetType | None = UNSET
    updated_time: int | UnsetType | None = UNSET
    created_by: str | UnsetType | None = UNSET
    updated_by: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    next_run_time: int | UnsetType | None = UNSET
    tags: list[dict[str, Any]] | UnsetType | None = UNSET


class Slot(Struct, kw_only=True, frozen=True, order=True):
    """One time of a schedule, and the cron that names it."""

    at_ms: int
    cron: str
    zone: str


class Due(Struct, kw_only=True, frozen=True):
    """What a pass over a schedule finds.

    Attributes:
        runs: the times to start the workflow for, in order.
        next: the first time after them; it may have passed already while a catch-up goes on.
    """

    runs: tuple[Slot, ...]
    next: Slot | None


_decoder = msgspec.json.Decoder(WorkflowSchedule)


def decode_schedule(body: bytes) -> WorkflowSchedule:
    """Read a schedule; explicit nulls mean nothing was said.

    Raises:
        MalformedBodyError: no JSON, or a member of the wrong type.
        InvalidRequestError: larger than BODY_BYTES_MAX.
    """
    if len(body) > BODY_BYTES_MAX:
        raise InvalidRequestError(f"a schedule has at most {BODY_BYTES_MAX} bytes; this one has {len(body)}")
    try:
        given = msgspec.json.decode(body)
        if isinstance(given, dict):
            given = {key: value for key, value in given.items() if value is not None}
        return msgspec.convert(given, WorkflowSchedule)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise MalformedBodyError(f"The schedule does not fit: {error}") from error


def stored_schedule(body: bytes) -> WorkflowSchedule:
    """Read back what was stored."""
    return _decoder.decode(body)


def check_schedule(schedule: WorkflowSchedule) -> WorkflowSchedule:
    """Give the schedule, its zone filled in.

    Raises:
        InvalidRequestError: the first thing that is wrong, in one sentence.
    """
    if not schedule.name.strip():
        raise InvalidRequestError("name: a schedule needs a name")
    if len(schedule.name) > NAME_CHARS_MAX or not schedule.name.isprintable():
        raise InvalidRequestError(f"name: at most {NAME_CHARS_MAX} printable characters")
    request = schedule.start_workflow_request
    if not request:
        raise InvalidRequestError("startWorkflowRequest: say which workflow to start")
    if not isinstance(request.get("name"), str) or not request["name"]:
        raise InvalidRequestError("startWorkflowRequest.name: the name of the workflow to start is missing")
    schedule = replace(schedule, zone_id=schedule.zone_id or "UTC")
    if not crons_of(schedule):
        raise InvalidRequestError("cronExpression: give one, or several in cronSchedules")
    if len(crons_of(schedule)) > CRONS_MAX:
        raise InvalidRequestError(f"cronSchedules: at most {CRONS_MAX}")
    for expression, zone in crons_of(schedule):
        read_cron(expression)
        find_zone(zone)
    start_ms, end_ms = schedule.schedule_start_time or 0, schedule.schedule_end_time or 0
    if start_ms and end_ms and start_ms > end_ms:
        raise InvalidRequestError("scheduleEndTime: it is before scheduleStartTime")
    return schedule


def crons_of(schedule: WorkflowSchedule) -> list[tuple[str, str]]:
    """Every (expression, zone): those of `cronSchedules` when there are any, else the one of the schedule."""
    default = schedule.zone_id or "UTC"
    if schedule.cron_schedules:
        return [(entry.cron_expression, entry.zone_id or default) for entry in schedule.cron_schedules]
    return [(schedule.cron_expression, default)] if schedule.cron_expression else []


@lru_cache(maxsize=1_000)
def read_cron(expression: str) -> Cron:
    """Raises InvalidRequestError."""
    try:
        return parse_cron(expression)
    except CronError as error:
        raise InvalidRequestError(f"Invalid cron expression: {error}") from error


@lru_cache(maxsize=1_000)
def find_zone(name: str) -> tzinfo:
    """A zone by its name (`Europe/Berlin`, `UTC`) or offset (`+02:00`, `GMT+2`).

    Raises:
        InvalidRequestError: there is none.
    """
    if name in {"UTC", "Z", "GMT"}:
        return UTC
    if offset := _OFFSET.fullmatch(name):
        shift = timedelta(hours=int(offset[2]), minutes=int(offset[3] or 0))
        if shift <= timedelta(hours=18):
            return timezone(shift if offset[1] == "+" else -shift)
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # OSError: the name of a folder of zones
        raise InvalidRequestError(
            f"zoneId: '{name}' is no time zone; write one such as Europe/Berlin or UTC"
        ) from error


def next_slot(schedule: WorkflowSchedule, after_ms: int) -> Slot | None:
    """The first time after an instant, within the schedule's start and end."""
    start_ms, end_ms = schedule.schedule_start_time or 0, schedule.schedule_end_time or 0
    after_ms = max(after_ms, start_ms - 1)
    found = [
        Slot(at_ms=at_ms, cron=expression, zone=zone)
        for expression, zone in crons_of(schedule)
        if (at_ms := read_cron(expression).next_ms(after_ms, find_zone(zone))) is not None
    ]
    first = min(found, default=None, key=lambda slot: slot.at_ms)
    return None if first is None or (end_ms and first.at_ms > end_ms) else first


def due(schedule: WorkflowSchedule, now_ms: int) -> Due:
    """Which of a schedule's times are to be run now.

    Catch-up runs every one that has passed, the oldest first. Without it only the newest runs, and only if it
    is not missed (LATE_MS_MAX).
    """
    first_ms = schedule.next_run_time or 0
    if not first_ms:
        return Due(runs=(), next=None)
    catch_up = schedule.run_catchup_schedule_instances
    if not catch_up:
        first_ms = max(first_ms, now_ms - LATE_MS_MAX)
    runs: list[Slot] = []
    slot = next_slot(schedule, first_ms - 1)
    while slot is not None and slot.at_ms <= now_ms and len(runs) < RUNS_PER_PASS_MAX:
        runs = [*runs, slot] if catch_up else [slot]
        slot = next_slot(schedule, slot.at_ms)
    return Due(runs=tuple(runs), next=slot)


def next_times(
    expression: str, *, zone: str, now_ms: int, start_ms: int | None, end_ms: int | None, limit: int
) -> list[int]:
    """The next times of one cron expression, Unix milliseconds. Raises InvalidRequestError."""
    schedule = WorkflowSchedule(
        cron_expression=expression,
        zone_id=zone,
        schedule_start_time=start_ms,
        schedule_end_time=end_ms,
    )
    read_cron(expression)
    times: list[int] = []
    slot = next_slot(schedule, now_ms)
    while slot is not None and len(times) < limit:
        times.append(slot.at_ms)
        slot = next_slot(schedule, slot.at_ms)
    return times


def execution_id(schedule_name: str, at_ms: int) -> str:
    """The id of one time's execution record: the same on every server, however often it is tried."""
    return name_uuid(f"schedule execution\n{schedule_name}\n{at_ms}")


def workflow_id_of(schedule: WorkflowSchedule, at_ms: int) -> str:
    """The id of the workflow that one time starts. A schedule made anew under an old name starts its own."""
    return name_uuid(f"scheduled workflow\n{schedule.name}\n{schedule.create_time or 0}\n{at_ms}")


def scheduled_input(given: Any, schedule_name: str, slot: Slot, now_ms: int) -> dict[str, Any]:
    """The input of a scheduled workflow: the author's, and what upstream tells it of its schedule."""
    return {
        **(given if isinstance(given, dict) else {}),
        "_startedByScheduler": schedule_name,
        "_scheduledTime": slot.at_ms,
        "_executedTime": now_ms,
        "_executionId": execution_id(schedule_name, slot.at_ms),
        "_schedulerCron": slot.cron,
    }


def wire(schedule: WorkflowSchedule) -> dict[str, Any]:
    """The schedule as clients see it: without nulls, tags apart."""
    shown: dict[str, Any] = msgspec.to_builtins(schedule)
    return {key: value for key, value in shown.items() if value is not None and key != "tags"}

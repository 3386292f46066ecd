"""Schedules: kept as documents, fired by whichever server comes first, each of their times exactly once.

A time's workflow has an id that follows from the schedule and the time. So it does not matter how many
servers try, nor where one of them dies: starting it again changes nothing, and the schedule moves on only
after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from engine.core.errors import (
    EngineError,
    InvalidRequestError,
    NotFoundError,
    RefusedError,
    VersionConflictError,
)
from engine.core.model import MalformedBodyError
from engine.core.schedules import (
    Due,
    Slot,
    WorkflowSchedule,
    check_schedule,
    due,
    execution_id,
    next_slot,
    scheduled_input,
    stored_schedule,
    workflow_id_of,
)
from engine.ports.documents import Document, DocumentStore
from engine.ports.system import Clock
from engine.services.cached_documents import CachedDocuments
from engine.services.executions import Executions, StartRequest

log = structlog.get_logger(__name__)

KIND, RUN_KIND, SWITCH_KIND = "schedule", "schedule_execution", "scheduler"
RUNS_KEPT_MAX = 10
"""Execution records kept of each schedule, the newest."""
LOOK_EVERY_MS = 1_000
"""How often a server looks for schedules that others changed. Its own it knows at once."""
RETRY_MS = 1_000
"""Pause after a store that failed."""
ATTEMPTS_MAX = 20
"""Times a change is tried anew when another server changed the same schedule."""
SEPARATOR = "\x1f"

Change = Callable[[WorkflowSchedule], WorkflowSchedule]


class ScheduleRun(Struct, kw_only=True, rename="camel", omit_defaults=True):
    """The wire's WorkflowScheduleExecution: one time of a schedule. State: EXECUTED or FAILED."""

    execution_id: str
    schedule_name: str
    scheduled_time: int
    execution_time: int
    workflow_name: str
    state: str
    zone_id: str
    start_workflow_request: dict[str, Any]
    workflow_id: str | None = None
    reason: str | None = None


class Scheduler:
    """Schedules and their runs. `fire_due` is one step; bootstrap repeats it."""

    def __init__(self, documents: DocumentStore, executions: Executions, clock: Clock) -> None:
        self._documents = documents
        self._executions = executions
        self._clock = clock
        self._cache = CachedDocuments(documents, KIND, lambda found: stored_schedule(found.body), clock)
        self._next: dict[str, int] = {}  # newer than the cache: schedules that moved on since it was read
        self._seen: Mapping[str, WorkflowSchedule] | None = None
        self._looked_ms = 0
        self._earlier: Callable[[int], None] = lambda _: None

    def on_earlier(self, hook: Callable[[int], None]) -> None:
        """Call `hook(at_ms)` when a schedule changed in a way that makes it due then."""
        self._earlier = hook

    # ------------------------------------------------------------------------------------ definitions
    async def save(self, schedule: WorkflowSchedule) -> WorkflowSchedule:
        """Create or replace a schedule; gives it as stored.

        Raises:
            InvalidRequestError: a cron, a zone or something else of it is wrong.
        """
        schedule = check_schedule(schedule)
        _start_request(schedule)
        now_ms = self._clock.now_ms()

        def change(before: WorkflowSchedule | None) -> WorkflowSchedule:
            created = (before.create_time if before is not None else None) or now_ms
            tags = schedule.tags or (before.tags if before is not None else msgspec.UNSET)
            return _rescheduled(
                replace(schedule, create_time=created, updated_time=now_ms, tags=tags), now_ms
            )

        return await self._change(schedule.name, change)

    async def schedule(self, name: str) -> WorkflowSchedule:
        """Raises NotFoundError."""
        found = await self._documents.get(KIND, name)
        if found is None:
            raise NotFoundError(f"Schedule '{name}' not found")
        return stored_schedule(found.body)

    async def schedules(self, workflow_name: str | None = None) -> list[WorkflowSchedule]:
        """All by name, or those that start one workflow."""
        stored = [stored_schedule(found.body) for found in await self._documents.list(KIND)]
        return [one for one in stored if workflow_name is None or workflow_of(one) == workflow_name]

    async def delete(self, name: str) -> bool:
        """Delete a schedule with the records of its runs; whether it was there."""
        there = await self._documents.delete(KIND, name)
        if there:
            await self._cache.changed()
            for record in await self._documents.list(RUN_KIND, prefix=name + SEPARATOR):
                await self._documents.delete(RUN_KIND, record.name)
        return there

    async def pause(self, name: str, reason: str | None = None) -> None:
        """Its times pass unused until it is resumed. Raises NotFoundError."""
        await self._change_existing(
            name, lambda before: replace(before, paused=True, paused_reason=reason or msgspec.UNSET)
        )

    async def resume(self, name: str) -> None:
        """Go on with the next time from now. Raises NotFoundError."""
        now_ms = self._clock.now_ms()
        await self._change_existing(
            name,
            lambda before: (
                _rescheduled(replace(before, paused=False, paused_reason=msgspec.UNSET), now_ms)
                if before.paused
                else before
            ),
        )

    async def tag(self, name: str, tags: list[dict[str, Any]]) -> None:
        """Replace the tags. Raises NotFoundError."""
        await self._change_existing(name, lambda before: replace(before, tags=tags))

    async def pause_all(self) -> None:
        """No schedule fires, on any server, until `resume_all`; their times stay due."""
        await self._documents.put(SWITCH_KIND, "paused", b"{}", at_ms=self._clock.now_ms())

    async def resume_all(self) -> None:
        """Let schedules fire again; what was missed meanwhile follows the rule of catch-up."""
        await self._documents.delete(SWITCH_KIND, "paused")
        await self.look_again()

    async def look_again(self) -> None:
        """Read every schedule again, on every server."""
        await self._cache.changed()
        self._looked_ms = 0
        self._earlier(self._clock.now_ms())

    async def _change_existing(self, name: str, change: Change) -> None:
        def changed(before: WorkflowSchedule | None) -> WorkflowSchedule:
            if before is None:
                raise NotFoundError(f"Schedule '{name}' not found")
            return replace(change(before), updated_time=self._clock.now_ms())

        await self._change(name, changed)

    async def _change(
        self, name: str, change: Callable[[WorkflowSchedule | None], WorkflowSchedule]
    ) -> WorkflowSchedule:
        """Write what `change` makes of the stored schedule; again, when another server wrote meanwhile."""
        for _ in range(ATTEMPTS_MAX):
            found = await self._documents.get(KIND, name)
            changed = change(None if found is None else stored_schedule(found.body))
            if await self._put(name, changed, 0 if found is None else found.revision):
                await self._cache.changed()
                self._next.pop(name, None)
                self._looked_ms = 0
                self._earlier(changed.next_run_time or self._clock.now_ms())
                return changed
        raise VersionConflictError(f"schedule '{name}' is being changed by others; try again")

    async def _put(self, name: str, schedule: WorkflowSchedule, expect: int) -> bool:
        body = msgspec.json.encode(schedule)
        return await self._documents.put(KIND, name, body, at_ms=self._clock.now_ms(), expect=expect) > 0

    # ------------------------------------------------------------------------------------ firing
    async def fire_due(self) -> int:
        """Start the workflows whose time has come; gives the instant at which to call again, at the latest.

        Raises:
            StoreError: the schedules cannot be read.
        """
        now_ms = self._clock.now_ms()
        if self._seen is None or now_ms - self._looked_ms >= LOOK_EVERY_MS or now_ms < self._looked_ms:
            seen = await self._cache.all()
            if seen is not self._seen:
                self._seen, self._next = seen, {}
            self._looked_ms = now_ms
        assert self._seen is not None  # noqa: S101 - read just above
        waiting = {name: self._due_ms(name, schedule) for name, schedule in self._seen.items()}
        ready = [name for name, at_ms in waiting.items() if at_ms is not None and at_ms <= now_ms]
        if ready and await self._documents.get(SWITCH_KIND, "paused") is not None:
            return now_ms + LOOK_EVERY_MS
        await asyncio.gather(*(self._fire(name) for name in ready))
        pending = [
            at_ms
            for name, schedule in self._seen.items()
            if (at_ms := self._due_ms(name, schedule)) is not None
        ]
        return min([*pending, self._looked_ms + LOOK_EVERY_MS])

    def _due_ms(self, name: str, schedule: WorkflowSchedule) -> int | None:
        if name in self._next:
            return self._next[name] or None
        return None if schedule.paused else schedule.next_run_time or None

    async def _fire(self, name: str) -> None:
        """Run the due times of one schedule, then move it on; another server may be doing the same."""
        try:
            found = await self._documents.get(KIND, name)
            if found is None:
                self._next[name] = 0
                return
            schedule = stored_schedule(found.body)
            pass_ = due(schedule, self._clock.now_ms()) if not schedule.paused else Due(runs=(), next=None)
            for slot in pass_.runs:
                await self._run(schedule, slot)
            await self._advance(found, schedule, pass_)
        except EngineError as error:
            log.warning("schedule_not_fired", schedule=name, error=str(error))
            self._next[name] = self._clock.now_ms() + RETRY_MS

    async def _advance(self, found: Document, schedule: WorkflowSchedule, pass_: Due) -> None:
        if schedule.paused:
            self._next[found.name] = 0
            return
        next_ms = pass_.next.at_ms if pass_.next is not None else 0
        moved = replace(schedule, next_run_time=next_ms or msgspec.UNSET)
        if next_ms != schedule.next_run_time and not await self._put(found.name, moved, found.revision):
            # Somebody moved it on or changed it: look again at once, at what is there now.
            next_ms = self._clock.now_ms()
        self._next[found.name] = next_ms

    async def _run(self, schedule: WorkflowSchedule, slot: Slot) -> None:
        """Start one time's workflow and record it. Raises StoreError: nothing is known then; do it again."""
        now_ms = self._clock.now_ms()
        request = schedule.start_workflow_request or {}
        run = ScheduleRun(
            execution_id=execution_id(schedule.name, slot.at_ms),
            schedule_name=schedule.name,
            scheduled_time=slot.at_ms,
            execution_time=now_ms,
            workflow_name=workflow_of(schedule),
            state="EXECUTED",
            zone_id=slot.zone,
            start_workflow_request=request,
        )
        try:
            start = _start_request(schedule)
            given = scheduled_input(start.input, schedule.name, slot, now_ms)
            workflow_id = await self._executions.start(
                replace(start, input=given), workflow_id=workflow_id_of(schedule, slot.at_ms)
            )
            run = replace(run, workflow_id=workflow_id)
        except (RefusedError, MalformedBodyError) as error:
            log.warning("scheduled_workflow_not_started", schedule=schedule.name, error=str(error))
            run = replace(run, state="FAILED", reason=str(error))
        name = f"{schedule.name}{SEPARATOR}{slot.at_ms:015d}"
        await self._documents.put(RUN_KIND, name, msgspec.json.encode(run), at_ms=now_ms, expect=0)
        kept = await self._documents.list(RUN_KIND, prefix=schedule.name + SEPARATOR, descending=True)
        for record in kept[RUNS_KEPT_MAX:]:
            await self._documents.delete(RUN_KIND, record.name)

    async def runs(self) -> list[ScheduleRun]:
        """The records kept of all schedules, the newest first."""
        stored = await self._documents.list(RUN_KIND)
        decoded = [msgspec.json.decode(record.body, type=ScheduleRun) for record in stored]
        return sorted(decoded, key=lambda run: (run.execution_time, run.scheduled_time), reverse=True)


def workflow_of(schedule: WorkflowSchedule) -> str:
    return str((schedule.start_workflow_request or {}).get("name", ""))


def _start_request(schedule: WorkflowSchedule) -> StartRequest:
    """Raises InvalidRequestError."""
    given = schedule.start_workflow_request or {}
    members = {key: value for key, value in given.items() if value is not None}
    try:
        # Through JSON, since an inline definition is kept as it is written.
        return msgspec.json.decode(msgspec.json.encode(members), type=StartRequest)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(f"startWorkflowRequest: {error}") from error


def _rescheduled(schedule: WorkflowSchedule, now_ms: int) -> WorkflowSchedule:
    """With its next time from now on."""
    slot = next_slot(schedule, now_ms)
    return replace(schedule, next_run_time=msgspec.UNSET if slot is None else slot.at_ms)

"""The scheduler over real stores: every time once, through several servers, crashes and pauses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import pytest

from engine.adapters.memory.documents import MemoryDocumentStore
from engine.adapters.memory.store import MemoryExecutionStore, MemoryMetadataStore
from engine.core.errors import InvalidRequestError, NotFoundError
from engine.core.schedules import LATE_MS_MAX, WorkflowSchedule, decode_schedule, wire
from engine.ports.documents import DocumentStore
from engine.services.scheduler import LOOK_EVERY_MS, RUNS_KEPT_MAX
from engine.testing.services import FaultyDocuments, ManualClock
from engine.testing.story import task

from .conftest import Farm, Reopen

MINUTE_MS = 60_000
START_MS = round(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)


def schedule(name: str = "tick", **members: Any) -> WorkflowSchedule:
    given = {
        "name": name,
        "cronExpression": "0 * * * * *",
        "startWorkflowRequest": {"name": "flow", "input": {"k": 1}, "correlationId": "tick"},
    }
    return decode_schedule(msgspec.json.encode(given | members))


@pytest.fixture
async def farm(farm: Farm) -> Farm:
    """A farm at the beginning of a minute, with a workflow to start."""
    farm.clock.at_ms = START_MS
    await farm.register(task("a"))
    return farm


async def running(farm: Farm) -> list[dict[str, Any]]:
    """The started workflows, in the order of their scheduled times."""
    ids = await farm.engine.executions.running("flow", version=None, start_ms=None, end_ms=None)
    found = [await farm.workflow(one) for one in ids]
    return sorted(found, key=lambda one: int(one["input"]["_scheduledTime"]))


async def fired_at(farm: Farm, at_ms: int) -> int:
    farm.clock.at_ms = at_ms
    return await farm.engine.scheduler.fire_due()


async def test_a_time_starts_the_workflow(farm: Farm) -> None:
    """At its time, and not before, the workflow starts with its input and what it is told of the schedule."""
    saved = await farm.engine.scheduler.save(schedule())
    assert saved.next_run_time == START_MS + MINUTE_MS

    await fired_at(farm, START_MS + MINUTE_MS - 1)
    assert await running(farm) == []
    next_ms = await fired_at(farm, START_MS + MINUTE_MS + 20)

    [started] = await running(farm)
    [run] = await farm.engine.scheduler.runs()
    assert started["correlationId"] == "tick"
    assert started["input"] == {
        "k": 1,
        "_startedByScheduler": "tick",
        "_scheduledTime": START_MS + MINUTE_MS,
        "_executedTime": START_MS + MINUTE_MS + 20,
        "_executionId": run.execution_id,
        "_schedulerCron": "0 * * * * *",
    }
    assert (run.state, run.workflow_id) == ("EXECUTED", started["workflowId"])
    assert next_ms <= START_MS + 2 * MINUTE_MS
    assert (await farm.engine.scheduler.schedule("tick")).next_run_time == START_MS + 2 * MINUTE_MS


async def test_several_servers_start_it_once(reopen: Reopen, farm: Farm) -> None:
    """Servers that see the same time at the same moment start one workflow between them."""
    others = [reopen() for _ in range(2)]
    await farm.engine.scheduler.save(schedule())
    farm.clock.at_ms = START_MS + MINUTE_MS

    for minute in (1, 2):
        farm.clock.at_ms = START_MS + minute * MINUTE_MS
        await asyncio.gather(*(one.engine.scheduler.fire_due() for one in (farm, *others)))
        # Whoever lost against another looks again.
        await asyncio.gather(*(one.engine.scheduler.fire_due() for one in (farm, *others)))

    assert [one["input"]["_scheduledTime"] for one in await running(farm)] == [
        START_MS + MINUTE_MS,
        START_MS + 2 * MINUTE_MS,
    ]
    assert len(await farm.engine.scheduler.runs()) == 2


async def test_another_server_takes_over(reopen: Reopen, farm: Farm) -> None:
    """A schedule saved through a server that is gone is fired by another one."""
    other = reopen()
    await other.engine.scheduler.fire_due()
    await farm.engine.scheduler.save(schedule())

    farm.clock.at_ms += LOOK_EVERY_MS
    await other.engine.scheduler.fire_due()
    farm.clock.at_ms = START_MS + MINUTE_MS
    await other.engine.scheduler.fire_due()

    assert len(await running(other)) == 1


@pytest.fixture
async def faulty() -> AsyncIterator[Farm]:
    documents = FaultyDocuments(MemoryDocumentStore())
    farm = Farm(
        MemoryExecutionStore(),
        MemoryMetadataStore(),
        cast("DocumentStore", documents),
        clock=ManualClock(START_MS),
        seed=1,
    )
    await farm.register(task("a"))
    yield farm
    async with asyncio.timeout(10):
        await farm.engine.close()


@pytest.mark.parametrize("kind", ["schedule", "schedule_execution"])
async def test_a_crash_after_the_start_neither_doubles_nor_loses(faulty: Farm, kind: str) -> None:
    """When the start is written and what follows it is not, the next try finds the workflow there."""
    documents = cast("FaultyDocuments", faulty.engine.documents)
    await faulty.engine.scheduler.save(schedule())
    documents.failing[kind] = 2

    for later in (0, 2_000, 4_000):
        await fired_at(faulty, START_MS + MINUTE_MS + later)

    assert len(await running(faulty)) == 1
    [run] = await faulty.engine.scheduler.runs()
    assert run.state == "EXECUTED"
    assert (await faulty.engine.scheduler.schedule("tick")).next_run_time == START_MS + 2 * MINUTE_MS


async def test_a_store_that_fails_at_the_start_is_asked_again(farm: Farm) -> None:
    """Nothing was started, so the time stays due until it is."""
    await farm.engine.scheduler.save(schedule())
    farm.store.faults.extend(["fails"])

    await fired_at(farm, START_MS + MINUTE_MS)
    assert await running(farm) == []
    await fired_at(farm, START_MS + MINUTE_MS + 2_000)

    assert len(await running(farm)) == 1


async def test_missed_times_are_skipped_without_catch_up(farm: Farm) -> None:
    """After an outage only a time that is just over is run, and none twice."""
    await farm.engine.scheduler.save(schedule())
    await farm.engine.scheduler.save(schedule("hourly", cronExpression="0 0 * * * *"))

    await fired_at(farm, START_MS + 150 * MINUTE_MS + 5_000)

    assert [one["input"]["_scheduledTime"] for one in await running(farm)] == [START_MS + 150 * MINUTE_MS]
    hourly = await farm.engine.scheduler.schedule("hourly")
    assert hourly.next_run_time == START_MS + 180 * MINUTE_MS


async def test_a_time_a_restart_was_late_for_is_run(farm: Farm) -> None:
    """A server that was away for less than LATE_MS_MAX makes a time up, catch-up or not."""
    await farm.engine.scheduler.save(schedule(cronExpression="@daily"))

    await fired_at(farm, START_MS + 24 * 60 * MINUTE_MS + LATE_MS_MAX)

    assert len(await running(farm)) == 1


async def test_catch_up_runs_every_missed_time_in_order(farm: Farm) -> None:
    """With catch-up an outage of 25 minutes gives 25 runs, each with its own time."""
    await farm.engine.scheduler.save(schedule(runCatchupScheduleInstances=True))

    now_ms = START_MS + 25 * MINUTE_MS + 10
    next_ms = await fired_at(farm, now_ms)
    assert next_ms <= now_ms, "what is left is due at once"
    next_ms = await fired_at(farm, now_ms)

    times = [one["input"]["_scheduledTime"] for one in await running(farm)]
    assert times == [START_MS + minute * MINUTE_MS for minute in range(1, 26)]
    assert next_ms > now_ms


async def test_a_paused_schedule_rests(farm: Farm) -> None:
    """Its times pass unused, also with catch-up; resumed it goes on with the next one."""
    scheduler = farm.engine.scheduler
    await scheduler.save(schedule(runCatchupScheduleInstances=True))
    await scheduler.pause("tick", "maintenance")
    assert (await scheduler.schedule("tick")).paused_reason == "maintenance"

    await fired_at(farm, START_MS + 5 * MINUTE_MS)
    assert await running(farm) == []
    await scheduler.resume("tick")
    await fired_at(farm, START_MS + 6 * MINUTE_MS)

    assert [one["input"]["_scheduledTime"] for one in await running(farm)] == [START_MS + 6 * MINUTE_MS]
    assert "pausedReason" not in wire(await scheduler.schedule("tick"))


async def test_all_can_be_paused_at_once(reopen: Reopen, farm: Farm) -> None:
    """Paused through one server, nothing fires on any; what is due then follows the rule for missed times."""
    other = reopen()
    await farm.engine.scheduler.save(schedule())
    await farm.engine.scheduler.pause_all()

    farm.clock.at_ms = START_MS + 5 * MINUTE_MS
    await other.engine.scheduler.fire_due()
    assert await running(farm) == []
    await farm.engine.scheduler.resume_all()
    farm.clock.at_ms += LOOK_EVERY_MS
    await other.engine.scheduler.fire_due()

    assert [one["input"]["_scheduledTime"] for one in await running(farm)] == [START_MS + 5 * MINUTE_MS]


async def test_a_start_that_is_refused_is_recorded(farm: Farm) -> None:
    """A missing workflow costs one time, says why, and the schedule goes on."""
    await farm.engine.scheduler.save(schedule(startWorkflowRequest={"name": "nowhere"}))

    await fired_at(farm, START_MS + MINUTE_MS)

    [run] = await farm.engine.scheduler.runs()
    assert run.state == "FAILED"
    assert "nowhere" in (run.reason or "")
    assert (await farm.engine.scheduler.schedule("tick")).next_run_time == START_MS + 2 * MINUTE_MS


async def test_an_inline_definition_is_started(farm: Farm) -> None:
    """A schedule may bring its workflow along."""
    inline = {"name": "inline", "version": 1, "tasks": [task("a")]}
    await farm.engine.scheduler.save(schedule(startWorkflowRequest={"name": "inline", "workflowDef": inline}))

    await fired_at(farm, START_MS + MINUTE_MS)

    [run] = await farm.engine.scheduler.runs()
    assert (run.state, run.reason) == ("EXECUTED", None)


async def test_only_the_last_runs_are_kept(farm: Farm) -> None:
    """The record of a schedule does not grow; the newest stand first; they go with the schedule."""
    await farm.engine.scheduler.save(schedule())
    for minute in range(1, RUNS_KEPT_MAX + 4):
        await fired_at(farm, START_MS + minute * MINUTE_MS)

    kept = await farm.engine.scheduler.runs()
    assert len(kept) == RUNS_KEPT_MAX
    assert kept[0].scheduled_time == START_MS + (RUNS_KEPT_MAX + 3) * MINUTE_MS
    assert await farm.engine.scheduler.delete("tick")
    assert await farm.engine.scheduler.runs() == []


async def test_start_and_end_bound_the_times(farm: Farm) -> None:
    """No time before the start or after the end; then the schedule has no next one."""
    saved = await farm.engine.scheduler.save(
        schedule(
            scheduleStartTime=START_MS + 10 * MINUTE_MS,
            scheduleEndTime=START_MS + 11 * MINUTE_MS,
        )
    )
    assert saved.next_run_time == START_MS + 10 * MINUTE_MS

    for minute in range(9, 15):
        await fired_at(farm, START_MS + minute * MINUTE_MS)

    assert [one["input"]["_scheduledTime"] for one in await running(farm)] == [
        START_MS + 10 * MINUTE_MS,
        START_MS + 11 * MINUTE_MS,
    ]
    assert "nextRunTime" not in wire(await farm.engine.scheduler.schedule("tick"))


async def test_several_crons_in_several_zones(farm: Farm) -> None:
    """A schedule with two crons runs at the times of both, each in its own zone."""
    crons = [
        {"cronExpression": "0 0 9 * * *", "zoneId": "Europe/Berlin"},
        {"cronExpression": "0 0 9 * * *", "zoneId": "America/New_York"},
    ]
    await farm.engine.scheduler.save(schedule(cronExpression=None, cronSchedules=crons))

    for hour in range(24):
        await fired_at(farm, START_MS + hour * 60 * MINUTE_MS)

    hours = [(one["input"]["_scheduledTime"] - START_MS) // (60 * MINUTE_MS) for one in await running(farm)]
    assert hours == [8, 14]


async def test_saving_again_replaces(farm: Farm) -> None:
    """An upsert keeps the creation time and counts the next time anew."""
    first = await farm.engine.scheduler.save(schedule())
    farm.clock.advance(30)

    second = await farm.engine.scheduler.save(schedule(cronExpression="30 * * * * *", zoneId="Asia/Tokyo"))

    assert second.create_time == first.create_time
    assert second.updated_time == farm.clock.at_ms
    assert second.next_run_time == START_MS + 90_000


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ({"name": " "}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"cronExpression": "every day"}, "cron"),
        ({"cronExpression": None}, "cronExpression"),
        ({"cronSchedules": [{"cronExpression": "* * *"}]}, "cron"),
        ({"zoneId": "Mars/Olympus"}, "zoneId"),
        ({"zoneId": "Europe"}, "zoneId"),
        ({"zoneId": "../../etc/passwd"}, "zoneId"),
        ({"startWorkflowRequest": None}, "startWorkflowRequest"),
        ({"startWorkflowRequest": {"version": 1}}, "startWorkflowRequest.name"),
        ({"startWorkflowRequest": {"name": "flow", "input": [1]}}, "startWorkflowRequest: .*input"),
        ({"scheduleStartTime": 2, "scheduleEndTime": 1}, "scheduleEndTime"),
    ],
)
async def test_a_wrong_schedule_is_refused(farm: Farm, members: dict[str, Any], named: str) -> None:
    """One sentence that names the member; nothing is stored."""
    with pytest.raises(InvalidRequestError, match=named):
        await farm.engine.scheduler.save(schedule(**members))

    assert await farm.engine.scheduler.schedules() == []


async def test_an_unknown_schedule(farm: Farm) -> None:
    """Reading, pausing and resuming say that it is not there; deleting is content."""
    scheduler = farm.engine.scheduler
    for operation in (scheduler.schedule, scheduler.pause, scheduler.resume):
        with pytest.raises(NotFoundError, match="Schedule 'nope' not found"):
            await operation("nope")

    assert not await scheduler.delete("nope")

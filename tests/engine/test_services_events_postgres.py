"""Schedules and events of several servers on one PostgreSQL, their loops running."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.bootstrap import Engine, open_engine
from engine.core.schedules import decode_schedule
from engine.services.executions import StartRequest
from engine.settings import EngineSettings
from engine.testing.story import task

SERVERS = 3
BOUND_S = 60
POLL_MS = 5_000


@pytest.fixture
async def servers(postgres_url: str, tmp_path: Path) -> AsyncIterator[list[Engine]]:
    opened = [await open_engine(EngineSettings(data=tmp_path, database=postgres_url)) for _ in range(SERVERS)]
    yield opened
    async with asyncio.timeout(BOUND_S):
        for one in opened:
            await one.close()


async def register(engine: Engine, name: str, *tasks: dict[str, Any]) -> None:
    definition = {"name": name, "version": 1, "tasks": list(tasks)}
    await engine.metadata.register_workflow(msgspec.json.encode(definition))


async def taken(engine: Engine, task_type: str, count: int) -> list[dict[str, Any]]:
    """The next tasks of a type; waits until there are so many."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(BOUND_S):
        while len(found) < count:
            polled = await engine.queues.poll(
                task_type, domain=None, worker_id="w", count=count, timeout_ms=POLL_MS
            )
            found += [msgspec.json.decode(one) for one in polled]
    return found


async def test_each_time_is_started_once(servers: list[Engine]) -> None:
    """Whichever server fires, and though the one that saved the schedule stops."""
    first, *others = servers
    await register(first, "tick", task("work", inputParameters={"at": "${workflow.input._scheduledTime}"}))
    body = {
        "name": "s",
        "cronExpression": "* * * * * *",
        "runCatchupScheduleInstances": True,
        "startWorkflowRequest": {"name": "tick"},
    }
    await first.scheduler.save(decode_schedule(msgspec.json.encode(body)))
    before = await taken(others[0], "work", 1)
    await first.close()
    servers.remove(first)

    after = await taken(others[0], "work", 3)

    times = [one["inputData"]["at"] for one in (*before, *after)]
    assert times == sorted(set(times)), "none twice, in order"
    assert {b - a for a, b in itertools.pairwise(times)} == {1_000}, "none left out"


async def test_an_event_is_acted_on_once(servers: list[Engine]) -> None:
    """A handler registered on one server acts on events that another one publishes."""
    first, second, third = servers
    await register(first, "source", task("e", "EVENT", sink="conductor:made"))
    await register(first, "follower", task("pack"))
    action = {"action": "start_workflow", "start_workflow": {"name": "follower"}}
    handler = {"name": "h", "event": "conductor:source:made", "active": True, "actions": [action]}
    await second.event_handlers.add(msgspec.json.encode(handler))

    for _ in range(5):
        await third.executions.start(StartRequest(name="source", input={}))
    polled = await taken(first, "pack", 5)
    await asyncio.gather(*(one.outbox.sweep() for one in servers))
    await asyncio.gather(*(one.outbox.idle() for one in servers))

    assert len({one["workflowInstanceId"] for one in polled}) == 5
    records = [msgspec.json.decode(one) for one in await first.events.records("h")]
    assert [one["status"] for one in records] == ["COMPLETED"] * 5
    running = await first.executions.running("follower", version=None, start_ms=None, end_ms=None)
    assert len(running) == 5

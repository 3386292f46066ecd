"""Events through a running engine and a real broker, from EVENT task to handler."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from pydantic import SecretStr

from engine.adapters.brokers.redis_streams import RedisStreams
from engine.adapters.memory.documents import MemoryDocumentStore
from engine.adapters.memory.store import MemoryExecutionStore, MemoryMetadataStore
from engine.adapters.scripts.quickjs_runner import QuickJsRunner
from engine.adapters.system.real import SystemChance, SystemClock
from engine.bootstrap import Engine, open_engine
from engine.core.errors import InvalidRequestError
from engine.core.schedules import decode_schedule
from engine.ports.documents import DocumentStore
from engine.services.events import RECORD_KIND
from engine.services.executions import StartRequest
from engine.settings import EngineSettings
from engine.testing.services import FaultyDocuments
from engine.testing.story import task

from .conftest import KAFKA_SERVERS, WITH_CLUSTER, RedisServer

BOUND_MS = 5_000  # a poll waits no longer
POLLS_MAX = 6


def settings(folder: Path, **members: Any) -> EngineSettings:
    return EngineSettings(data=folder, database="memory://", **members)


KAFKA = pytest.param("kafka", marks=WITH_CLUSTER)


@pytest.fixture(params=["redis", "sqs", KAFKA])
async def engine(
    request: pytest.FixtureRequest, redis_server: RedisServer, sqs_url: str, tmp_path: Path
) -> AsyncIterator[tuple[str, Engine]]:
    """An engine with one broker, and the event that the broker carries."""
    kind = str(request.param)
    members: dict[str, Any] = {"events_sqs": "eu-central-1", "events_sqs_endpoint": sqs_url}
    if kind == "kafka":
        members = {"events_kafka": KAFKA_SERVERS, "events_group": f"tests-{uuid.uuid4().hex}"}
    if kind == "redis":
        members = {"events_redis": SecretStr(redis_server.url)}
    async with await open_engine(settings(tmp_path, **members)) as opened:
        yield f"{kind}:orders", opened


async def register(engine: Engine, name: str, *tasks: dict[str, Any]) -> None:
    definition = {"name": name, "version": 1, "tasks": list(tasks)}
    await engine.metadata.register_workflow(msgspec.json.encode(definition))


async def taken(engine: Engine, task_type: str) -> dict[str, Any]:
    """The next task of a type; waits until there is one."""
    for _ in range(POLLS_MAX):
        polled = await engine.queues.poll(task_type, domain=None, worker_id="w", count=1, timeout_ms=BOUND_MS)
        if polled:
            found: dict[str, Any] = msgspec.json.decode(polled[0])
            return found
    raise AssertionError(f"no task of type {task_type} came")


async def test_an_event_travels_through_a_broker(engine: tuple[str, Engine]) -> None:
    """An EVENT task publishes, a handler of the broker's queue starts the follower, on a running engine."""
    event, running = engine
    await register(running, "orders", task("e", "EVENT", sink=event, inputParameters={"n": 7}))
    await register(running, "follower", task("pack"))
    action = {
        "action": "start_workflow",
        "start_workflow": {"name": "follower", "input": {"n": "${n}", "from": "${workflowInstanceId}"}},
    }
    handler = {"name": "h", "event": event, "active": True, "actions": [action], "condition": "$.n == 7"}
    await running.event_handlers.add(msgspec.json.encode(handler))

    workflow_id = await running.executions.start(StartRequest(name="orders", input={}))
    polled = await taken(running, "pack")

    follower = msgspec.json.decode(await running.executions.workflow(polled["workflowInstanceId"]))
    source = msgspec.json.decode(await running.executions.workflow(workflow_id))
    assert source["status"] == "COMPLETED"
    assert follower["event"] == event
    assert (follower["input"]["n"], follower["input"]["from"]) == (7, workflow_id)
    assert follower["input"]["conductor.event.messageId"] == source["tasks"][0]["taskId"]


async def test_an_event_of_the_internal_queue(tmp_path: Path) -> None:
    """On a running engine: one published before its handler came is delivered when it comes."""
    async with await open_engine(settings(tmp_path)) as running:
        await register(running, "orders", task("e", "EVENT", sink="conductor:made"))
        await register(running, "follower", task("pack"))
        await running.executions.start(StartRequest(name="orders", input={}))
        await running.outbox.idle()
        action = {"action": "start_workflow", "start_workflow": {"name": "follower"}}
        handler = {"name": "h", "event": "conductor:orders:made", "active": True, "actions": [action]}
        await running.event_handlers.add(msgspec.json.encode(handler))

        assert await taken(running, "pack")


async def test_a_schedule_of_a_running_engine(tmp_path: Path) -> None:
    """Its loop wakes at the time by itself, also for a schedule that was saved while it slept."""
    async with await open_engine(settings(tmp_path)) as running:
        await register(running, "tick", task("work"))
        body = {"name": "s", "cronExpression": "* * * * * *", "startWorkflowRequest": {"name": "tick"}}
        await running.scheduler.save(decode_schedule(msgspec.json.encode(body)))

        polled = await taken(running, "work")

    assert polled["workflowType"] == "tick"


async def test_readers_come_and_go_with_handlers(engine: tuple[str, Engine]) -> None:
    """A queue is read while an active handler names it, and not afterwards."""
    event, running = engine
    action = {"action": "start_workflow", "start_workflow": {"name": "nobody"}}
    handler = {"name": "h", "event": event, "active": True, "actions": [action]}
    await running.event_handlers.add(msgspec.json.encode(handler))
    await running.event_consumers.step()
    assert running.event_consumers.reading == {event}

    await running.event_handlers.delete("h")
    await running.event_consumers.step()

    assert running.event_consumers.reading == set()


async def test_an_address_that_is_none(tmp_path: Path) -> None:
    """One sentence, and no password in it."""
    address = SecretStr("gopher://user:hunter2@host")
    with pytest.raises(InvalidRequestError) as refusal:
        async with asyncio.timeout(10):
            await open_engine(settings(tmp_path, events_redis=address))

    assert "hunter2" not in str(refusal.value)


async def test_a_message_that_could_not_be_handled_comes_again(redis_server: RedisServer) -> None:
    """While the store fails a message is not settled; the broker brings it back, and it is acted on once."""
    documents = FaultyDocuments(MemoryDocumentStore())
    broker = RedisStreams(redis_server.url, group="tests", consumer="server", reclaim_ms=200)
    engine = Engine(
        MemoryExecutionStore(),
        MemoryMetadataStore(),
        cast("DocumentStore", documents),
        scripts=QuickJsRunner(),
        clock=SystemClock(),
        chance=SystemChance(),
        environment={},
        brokers={"redis": broker},
    )
    async with engine:
        await register(engine, "follower", task("pack"))
        action = {"action": "start_workflow", "start_workflow": {"name": "follower"}}
        handler = {"name": "h", "event": "redis:unlucky", "active": True, "actions": [action]}
        await engine.event_handlers.add(msgspec.json.encode(handler))
        documents.failing[RECORD_KIND] = 2
        await engine.events.publish("redis:unlucky", b"{}", "m1")

        async with asyncio.timeout(30):
            while not await engine.events.records("h"):
                await engine.event_consumers.read_once("redis:unlucky", broker, "unlucky")

        running = await engine.executions.running("follower", version=None, start_ms=None, end_ms=None)
        assert len(running) == 1
        assert documents.failing[RECORD_KIND] == 0

"""The server's own workers, with a real HTTP server at the other end and a real store in between."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import pytest

from engine.adapters.calls.http import HttpCaller
from engine.adapters.calls.kafka import KafkaCaller
from engine.core.model import TaskDef
from engine.core.tasks.calls import SERVER_LEASE_MS
from engine.services import system_tasks
from engine.services.options import Options
from engine.services.system_tasks import SystemTasks
from engine.testing.http_peer import Answer, HttpPeer
from engine.testing.story import Definition, task

if TYPE_CHECKING:
    from .conftest import Farm, Reopen

HELD = Answer(held=True)


@pytest.fixture
async def peer() -> AsyncIterator[HttpPeer]:
    async with HttpPeer() as peer:
        yield peer


def server_of(farm: Farm) -> SystemTasks:
    """The workers of one server, not serving yet."""
    engine = farm.engine
    workers = SystemTasks(
        engine.store,
        queues=engine.queues,
        committer=engine.committer,
        mailboxes=engine.mailboxes,
        secrets=engine.secrets,
        callers={"HTTP": HttpCaller(), "KAFKA_PUBLISH": KafkaCaller()},
        worker_id="server",
    )
    engine.mailboxes.on_commit(lambda _view, delta: workers.committed(delta))
    return workers


@contextlib.asynccontextmanager
async def serving(farm: Farm) -> AsyncIterator[SystemTasks]:
    workers = server_of(farm)
    loops = [asyncio.ensure_future(workers.serve(kind)) for kind in workers.kinds]
    try:
        yield workers
    finally:
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        await workers.close(drain_ms=0)


async def until(farm: Farm, workflow_id: str, met: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The workflow once it is as wanted; looked at after each commit of this server."""
    news = asyncio.Event()
    farm.engine.mailboxes.on_commit(lambda _view, _delta: news.set())
    async with asyncio.timeout(20):
        while True:
            news.clear()
            found = await farm.workflow(workflow_id)
            if met(found):
                return found
            await news.wait()


async def ended(farm: Farm, workflow_id: str, status: str = "COMPLETED") -> dict[str, Any]:
    return await until(farm, workflow_id, lambda found: bool(found["status"] == status))


def http(ref: str, uri: str, **members: Any) -> Definition:
    request = {"uri": uri, "method": "GET", "readTimeOut": 60_000}
    return task(ref, "HTTP", inputParameters={"http_request": request}, **members)


async def test_a_call_is_made_and_its_answer_goes_on(farm: Farm, peer: HttpPeer) -> None:
    """No worker polls: the server takes the task, calls, and the flow reads the answer."""
    peer.answers["/x"] = [Answer(body=b'{"n":3}')]
    await farm.register(http("h", f"{peer.url}/x"), outputParameters={"n": "${h.output.response.body.n}"})

    async with serving(farm):
        found = await ended(farm, await farm.start())

    [shown] = found["tasks"]
    assert found["output"] == {"n": 3}
    assert (shown["taskType"], shown["pollCount"]) == ("HTTP", 1)
    assert shown["startTime"] > 0


async def test_a_failed_call_is_retried_by_the_definition_of_its_name(farm: Farm, peer: HttpPeer) -> None:
    """Two attempts, both in the list."""
    peer.answers["/x"] = [Answer(status="500 Internal Server Error"), Answer()]
    await farm.register(
        http("h", f"{peer.url}/x"), defs=[TaskDef(name="h", retry_count=1, retry_delay_seconds=0)]
    )

    async with serving(farm):
        found = await ended(farm, await farm.start())

    assert [one["status"] for one in found["tasks"]] == ["FAILED", "COMPLETED"]


async def test_a_call_that_completes_later_waits_for_an_update(farm: Farm, peer: HttpPeer) -> None:
    """asyncComplete: the answer is shown at once; the call is not made again."""
    await farm.register(http("h", f"{peer.url}/x", asyncComplete=True))

    async with serving(farm):
        workflow_id = await farm.start()
        found = await until(farm, workflow_id, lambda found: "response" in found["tasks"][0]["outputData"])
        shown = found["tasks"][0]
        assert shown["status"] == "IN_PROGRESS"
        await farm.report({"workflowInstanceId": workflow_id, "taskId": shown["taskId"]}, done=1)
        await ended(farm, workflow_id)

    assert len(peer.heard) == 1


async def test_a_terminated_workflow_abandons_its_call(farm: Farm, peer: HttpPeer) -> None:
    """The connection is dropped; nobody waits for an answer that no one needs."""
    peer.answers["/x"] = [HELD]
    await farm.register(http("h", f"{peer.url}/x"))

    async with serving(farm) as workers:
        workflow_id = await farm.start()
        async with asyncio.timeout(20):
            await peer.has_heard(1)
            await farm.engine.executions.terminate(workflow_id, "enough")
            await peer.left.wait()

        assert workers.abandoned == 1
    assert await farm.shown(workflow_id) == ["h CANCELED"]


async def test_a_dead_servers_call_is_made_by_another(reopen: Reopen, peer: HttpPeer) -> None:
    """Its lease runs out, the task goes back to the queue, and the first result counts once."""
    first = reopen()
    peer.answers["/x"] = [HELD, Answer(body=b'{"by":"second"}')]
    await first.register(http("h", f"{peer.url}/x"), outputParameters={"by": "${h.output.response.body.by}"})
    workers = server_of(first)
    workflow_id = await first.start()
    assert await workers.take("HTTP") == 1
    async with asyncio.timeout(20):
        await peer.has_heard(1)

    second = reopen()
    second.clock.advance(SERVER_LEASE_MS / 1000 + 1)
    await second.engine.timers.fire_due()
    async with serving(second):
        found = await ended(second, workflow_id)
    peer.release.set()
    await workers.close()

    assert found["output"] == {"by": "second"}
    assert (await second.workflow(workflow_id))["output"] == {"by": "second"}
    assert len(peer.heard) == 2


async def test_a_closing_server_gives_its_calls_back(reopen: Reopen, peer: HttpPeer) -> None:
    """No lease has to run out after an orderly end."""
    first = reopen()
    peer.answers["/x"] = [HELD, Answer()]
    await first.register(http("h", f"{peer.url}/x"))
    workers = server_of(first)
    workflow_id = await first.start()
    await workers.take("HTTP")
    async with asyncio.timeout(20):
        await peer.has_heard(1)

    await workers.close(drain_ms=0)

    second = reopen()
    async with serving(second):
        await ended(second, workflow_id)


async def test_a_long_call_keeps_its_lease(
    farm: Farm, peer: HttpPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it lasts it is renewed: nobody else gets the task."""
    monkeypatch.setattr(system_tasks, "RENEW_EVERY_MS", 5)
    peer.answers["/x"] = [HELD]
    await farm.register(http("h", f"{peer.url}/x"))

    async with serving(farm):
        workflow_id = await farm.start()
        async with asyncio.timeout(20):
            await peer.has_heard(1)
        task_id = (await farm.workflow(workflow_id))["tasks"][0]["taskId"]
        farm.clock.advance(SERVER_LEASE_MS / 1000 + 1)
        async with asyncio.timeout(20):
            while True:
                entry = (await farm.engine.store.entries([task_id]))[task_id]
                if entry.lease is not None and entry.lease.update_ms == farm.clock.now_ms():
                    break
                await asyncio.sleep(0.005)
        await farm.engine.timers.fire_due()
        assert await farm.poll("HTTP") == []
        peer.release.set()
        await ended(farm, workflow_id)

    assert len(peer.heard) == 1


async def test_a_call_longer_than_its_response_timeout_times_out(farm: Farm, peer: HttpPeer) -> None:
    """The server itself gives it up; the task definition decides what follows."""
    peer.answers["/x"] = [HELD]
    await farm.register(
        http("h", f"{peer.url}/x"), defs=[TaskDef(name="h", retry_count=0, response_timeout_seconds=1)]
    )

    async with serving(farm):
        found = await ended(farm, await farm.start(), "TIMED_OUT")

    reason = found["tasks"][0]["reasonForIncompletion"]
    assert reason == "Task did not complete within its responseTimeout of 1s"


async def test_secrets_reach_the_call_and_nothing_else(reopen: Reopen, peer: HttpPeer) -> None:
    """They are filled in for the call only, and a failure that would repeat one shows stars."""
    farm = reopen(Options(fixed_secrets={"key": "s3cret-value"}))
    peer.answers["/x"] = [Answer(status="403 Forbidden", body=b'"you sent s3cret-value"')]
    given = {
        "http_request": {
            "uri": f"{peer.url}/x?key=${{workflow.secrets.key}}",
            "method": "GET",
            "headers": {"X-Key": "${workflow.secrets.key}"},
        }
    }
    await farm.register(task("h", "HTTP", inputParameters=given))

    async with serving(farm):
        found = await ended(farm, await farm.start(), "FAILED")

    assert peer.heard[0].headers["x-key"] == "s3cret-value"
    assert "s3cret-value" not in str(found)
    assert "you sent ***" in found["tasks"][0]["reasonForIncompletion"]


async def test_many_calls_run_side_by_side_within_a_bound(
    farm: Farm, peer: HttpPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow other side holds up as many calls as may be under way, and no more are begun."""
    monkeypatch.setattr(system_tasks, "CALLS_PER_TYPE_MAX", 3)
    peer.answers["/x"] = [HELD]
    await farm.register(http("h", f"{peer.url}/x"))

    async with serving(farm):
        ids = [await farm.start() for _ in range(5)]
        async with asyncio.timeout(20):
            await peer.has_heard(3)
        sizes = await farm.engine.queues.detail()
        assert sizes["HTTP"] == (2, 3)
        peer.release.set()
        for workflow_id in ids:
            await ended(farm, workflow_id)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (None, "Missing Kafka request."),
        ({}, "No boot strap servers specified"),
        ({"bootStrapServers": "127.0.0.1:9"}, "Missing Kafka topic."),
        ({"bootStrapServers": "127.0.0.1:9", "topic": "t"}, "Missing Kafka value."),
        (
            {"bootStrapServers": "127.0.0.1:9", "topic": "t", "value": 1, "requestTimeoutMs": 300},
            "Failed to invoke kafka task due to",
        ),
        (
            {"bootStrapServers": "127.0.0.1:9", "topic": "t", "value": 1, "maxBlockMs": "x"},
            "Failed to invoke kafka task due to",
        ),
    ],
)
async def test_a_message_that_cannot_be_published_fails_its_task(
    farm: Farm, request_: Any, said: str
) -> None:
    """What is missing, or what the client says when no broker answers."""
    await farm.register(task("k", "KAFKA_PUBLISH", inputParameters={"kafka_request": request_}))

    async with serving(farm):
        found = await ended(farm, await farm.start(), "FAILED")

    assert said in found["tasks"][0]["reasonForIncompletion"]

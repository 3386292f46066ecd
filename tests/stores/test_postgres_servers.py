"""Several engines on one PostgreSQL: they wake and relieve each other, and none does another's work twice."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from engine.bootstrap import Engine, open_engine
from engine.services.executions import StartRequest, TaskUpdate
from engine.settings import EngineSettings

ROOT = Path(__file__).parents[2]
WAIT_S_MAX = 20.0
OpenServer = Callable[[], Awaitable[Engine]]

# A server that starts one workflow and says so, but delivers no message before it is killed.
SERVER = """
import asyncio, sys
from pathlib import Path
from engine.bootstrap import open_engine
from engine.services.executions import StartRequest
from engine.settings import EngineSettings

async def main():
    engine = await open_engine(EngineSettings(database=sys.argv[1], data=Path(sys.argv[2])))
    engine.outbox.committed = lambda messages: None
    print(await engine.executions.start(StartRequest(name=sys.argv[3])), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
async def server(postgres_url: str, tmp_path: Path) -> AsyncIterator[OpenServer]:
    """Opens engines on one database."""
    engines: list[Engine] = []

    async def open_one() -> Engine:
        engines.append(await open_engine(EngineSettings(database=postgres_url, data=tmp_path)))
        return engines[-1]

    yield open_one
    for engine in engines:
        await engine.close()


async def register(engine: Engine, *tasks: dict[str, Any], name: str = "flow") -> None:
    definition = {"name": name, "version": 1, "tasks": list(tasks)}
    await engine.metadata.register_workflow(msgspec.json.encode(definition), overwrite=True)


def simple(name: str) -> dict[str, Any]:
    return {"name": name, "taskReferenceName": name, "type": "SIMPLE"}


async def poll(engine: Engine, task_type: str, timeout_ms: int = 0) -> list[dict[str, Any]]:
    polled = await engine.queues.poll(task_type, domain=None, worker_id="w", count=1, timeout_ms=timeout_ms)
    return [msgspec.json.decode(one) for one in polled]


async def report(engine: Engine, task: dict[str, Any]) -> None:
    update = TaskUpdate(
        workflow_instance_id=task["workflowInstanceId"],
        task_id=task["taskId"],
        status="COMPLETED",
        output_data=Raw(b"{}"),
    )
    await engine.executions.update(update)


async def seen(engine: Engine, others: int) -> None:
    """Until the engine sees so many others."""
    async with asyncio.timeout(WAIT_S_MAX):
        while engine.notifier.others() != others:  # noqa: ASYNC110 - it looks by itself, and tells nobody
            await asyncio.sleep(0.02)


async def ended(engine: Engine, workflow_id: str) -> str:
    """Until the workflow has ended; its status."""
    async with asyncio.timeout(WAIT_S_MAX):
        while True:
            stored = await engine.store.load(workflow_id)
            assert stored is not None
            if stored.header.end_ms:
                return stored.header.status.value
            await asyncio.sleep(0.02)


async def test_a_poll_on_one_server_hears_of_a_task_scheduled_by_another(server: OpenServer) -> None:
    """It is woken by the notice; its own look would come later than the bound on this test's waits allows."""
    one, two = await server(), await server()
    await register(one, simple("a"), simple("b"))
    await seen(one, 1)
    for loop in two._loops:
        loop.cancel()
    waiting = asyncio.ensure_future(poll(two, "a", timeout_ms=int(WAIT_S_MAX * 1000)))
    await asyncio.sleep(0.1)

    workflow_id = await one.executions.start(StartRequest(name="flow"))

    [task] = await asyncio.wait_for(waiting, WAIT_S_MAX / 2)
    assert task["workflowInstanceId"] == workflow_id


async def test_a_lost_notice_costs_a_moment(server: OpenServer) -> None:
    """A poll looks by itself, too."""
    one, two = await server(), await server()
    await register(one, simple("a"))
    one.notifier.tell = lambda news: None  # type: ignore[method-assign]  # the notice that is lost
    waiting = asyncio.ensure_future(poll(two, "a", timeout_ms=int(WAIT_S_MAX * 1000)))
    await asyncio.sleep(0.1)

    await one.executions.start(StartRequest(name="flow"))

    assert await asyncio.wait_for(waiting, WAIT_S_MAX / 2)


async def test_watchers_hear_of_another_servers_steps(server: OpenServer) -> None:
    """The feed says that the workflow moved."""
    one, two = await server(), await server()
    await register(one, simple("a"))
    await seen(one, 1)
    workflow_id = await one.executions.start(StartRequest(name="flow"))
    async with two.feed.subscribe(workflow_id) as changes:
        [task] = await poll(one, "a")
        await report(one, task)
        change = await asyncio.wait_for(changes.get(), WAIT_S_MAX)
    assert change.workflow_id == workflow_id


async def test_an_instant_is_decided_by_one_server(server: OpenServer) -> None:
    """Of three servers one fires each timer: no conflict, and each WAIT ends once."""
    engines = [await server() for _ in range(3)]
    for engine in engines:
        await seen(engine, 2)
    wait = {
        "name": "w",
        "taskReferenceName": "w",
        "type": "WAIT",
        "inputParameters": {"duration": "1 second"},
    }
    await register(engines[0], wait)
    ids = [await engine.executions.start(StartRequest(name="flow")) for engine in engines for _ in range(8)]

    statuses = [await ended(engines[0], workflow_id) for workflow_id in ids]

    assert statuses == ["COMPLETED"] * len(ids)
    assert sum(engine.mailboxes.conflicts for engine in engines) <= len(ids)
    histories = [await engines[0].store.history(workflow_id) for workflow_id in ids]
    assert all(sum(row.type == "TimerFired" for row in rows) == 1 for rows in histories)


async def test_results_of_one_workflow_at_two_servers_all_count(server: OpenServer) -> None:
    """A fork's branches are reported to both at once; the JOIN completes."""
    one, two = await server(), await server()
    refs = [f"b{n}" for n in range(12)]
    branches = [[{**simple(ref), "name": "a"}] for ref in refs]
    fork = {"name": "f", "taskReferenceName": "f", "type": "FORK_JOIN", "forkTasks": branches}
    join = {"name": "j", "taskReferenceName": "j", "type": "JOIN", "joinOn": refs}
    await register(one, fork, join)
    workflow_id = await one.executions.start(StartRequest(name="flow"))
    polled = [(await poll(engine, "a"))[0] for engine in (one, two) * 6]

    await asyncio.gather(*[report((one, two)[n % 2], task) for n, task in enumerate(polled)])

    assert await ended(two, workflow_id) == "COMPLETED"


@pytest.mark.parametrize("kind", ["WAIT", "SUB_WORKFLOW"])
async def test_a_dead_servers_work_is_taken_over(
    server: OpenServer, postgres_url: str, tmp_path: Path, kind: str
) -> None:
    """Its timers fire and its messages are delivered, though it was killed before it could."""
    one = await server()
    await register(one, {"name": "n", "taskReferenceName": "n", "type": "NOOP"}, name="child")
    task: dict[str, Any] = {"name": "t", "taskReferenceName": "t", "type": kind}
    if kind == "WAIT":
        task["inputParameters"] = {"duration": "1 second"}
    else:
        task["subWorkflowParam"] = {"name": "child", "version": 1}
    await register(one, task)
    arguments = [postgres_url, str(tmp_path), "flow"]
    with subprocess.Popen(  # noqa: ASYNC220 - starting it is quick
        [sys.executable, "-c", SERVER, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        workflow_id = (await asyncio.to_thread(child.stdout.readline)).strip()
        child.send_signal(signal.SIGKILL)

    assert await ended(one, workflow_id) == "COMPLETED"


async def test_leases_are_renewed_only_when_nobody_was_there(server: OpenServer) -> None:
    """The first server forgives what ran out in an outage; one that joins others leaves it to them."""
    forgiven: list[int] = []
    one = await server()

    async def first() -> None:
        forgiven.append(1)

    two = await server()
    await two.notifier.close()
    await two.notifier.join(first, lambda _: None)
    assert forgiven == []
    await one.notifier.close()
    await two.notifier.close()
    await one.notifier.join(first, lambda _: None)
    assert forgiven == [1]

"""Servers on one store: what one schedules reaches the polls that wait at another, told in any order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from engine.bootstrap import Engine, open_engine
from engine.core.records import Delta
from engine.ports.notifier import Alone, News
from engine.services.executions import StartRequest, TaskUpdate
from engine.services.mailboxes import ATTEMPTS_MAX
from engine.services.news import Correspondent
from engine.settings import EngineSettings
from engine.testing.story import fork, join, task

if TYPE_CHECKING:
    from .conftest import Farm, Reopen

LONG_MS = 10_000
BOUND_S = 30
ROUNDS = 30
POLLS = 4
BRANCHES = 200
WORKERS = 8
AWAY_S = 0.02


async def until(condition: Callable[[], bool]) -> None:
    """Let the others run until it holds."""
    async with asyncio.timeout(BOUND_S):
        while not condition():  # noqa: ASYNC110 - the servers have no event for what they know of each other
            await asyncio.sleep(0)


class Looks:
    """A store whose look for due tasks does something before it answers."""

    def __init__(self, inner: Any, before_answer: Callable[[], Awaitable[None]]) -> None:
        self._inner = inner
        self._before_answer = before_answer
        self.looks = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def next_due_ms(self, *given: Any) -> int | None:
        found: int | None = await self._inner.next_due_ms(*given)
        await self._before_answer()
        self.looks += 1
        return found


def watch_looks(farm: Farm, before_answer: Callable[[], Awaitable[None]]) -> Looks:
    looks = Looks(farm.store, before_answer)
    farm.engine.queues._store = looks
    return looks


async def nothing() -> None:
    await asyncio.sleep(0)


@pytest.fixture
async def two(reopen: Reopen) -> tuple[Farm, Farm]:
    """Two servers that tell each other nothing unless the test says so."""
    first, second = reopen(), reopen()
    await first.register(task("a"))
    return first, second


async def test_news_during_every_look_do_not_starve_a_poll(two: tuple[Farm, Farm]) -> None:
    """A poll that sees a ready task claims it, however often it is told to look meanwhile."""
    first, second = two
    await first.start()

    async def told() -> None:
        second.engine.news.heard(News(queues={"a": 1}))

    looks = watch_looks(second, told)
    async with asyncio.timeout(BOUND_S):
        [polled] = await second.poll("a", timeout_ms=LONG_MS)

    assert polled["status"] == "IN_PROGRESS"
    assert looks.looks == 1


async def test_news_between_a_look_and_its_wait_are_not_lost(two: tuple[Farm, Farm]) -> None:
    """A task comes after the look has read the store, its news before the look is answered."""
    first, second = two
    unheard = ["the start"]

    async def started_elsewhere() -> None:
        if unheard:
            unheard.clear()
            await first.start()
            second.engine.news.heard(News(queues={"a": 1}))

    looks = watch_looks(second, started_elsewhere)
    async with asyncio.timeout(BOUND_S):
        polled = await second.poll("a", timeout_ms=LONG_MS)

    assert len(polled) == 1
    assert looks.looks == 2


async def test_missed_news_wake_as_many_polls_as_there_are_tasks(two: tuple[Farm, Farm]) -> None:
    """One look around serves all polls that wait: whoever gets something lets the next one look."""
    first, second = two
    looks = watch_looks(second, nothing)
    polls = [asyncio.ensure_future(second.poll("a", timeout_ms=LONG_MS)) for _ in range(POLLS)]
    await until(lambda: looks.looks == POLLS)
    for _ in range(POLLS - 1):
        await first.start()

    second.engine.news.heard(News(missed=True))
    async with asyncio.timeout(BOUND_S):
        while sum(poll.done() for poll in polls) < POLLS - 1:
            await asyncio.wait([poll for poll in polls if not poll.done()], return_when="FIRST_COMPLETED")
    await first.start()
    second.engine.news.heard(News(missed=True))
    async with asyncio.timeout(BOUND_S):
        got = [one["taskId"] for poll in polls for one in await poll]

    assert len(set(got)) == POLLS


async def test_what_a_poll_gives_back_reaches_another_server(two: tuple[Farm, Farm]) -> None:
    """A worker hangs up while its task is handed over; one that waits at another server is told."""
    first, second = two
    first.engine.news._notifier = Told(second)
    here, looks = watch_looks(first, nothing), watch_looks(second, nothing)
    other = asyncio.ensure_future(second.poll("a", timeout_ms=LONG_MS))
    await until(lambda: looks.looks == 1)
    poll = asyncio.ensure_future(first.poll("a", timeout_ms=LONG_MS))
    await until(lambda: here.looks == 1)
    await first.engine.committer.idle()  # it has noted who polls
    first.store.open.clear()
    starting = asyncio.ensure_future(first.start())
    await until(lambda: bool(first.engine.queues._handed))

    poll.cancel()
    first.store.open.set()
    async with asyncio.timeout(BOUND_S):
        workflow_id = await starting
        [polled] = await other

    assert (polled["workflowInstanceId"], polled["pollCount"]) == (workflow_id, 1)


# ------------------------------------------------------------------------------------------ one workflow
class Outrun:
    """A store far away: while it reads and writes, another server steps the same workflow, if it will."""

    def __init__(self, inner: Any, stepped: asyncio.Event) -> None:
        self._inner = inner
        self._stepped = stepped

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def write(self, group: Any) -> Any:
        if any(isinstance(write, Delta) for write in group):
            self._stepped.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stepped.wait(), AWAY_S)
        return await self._inner.write(group)


async def test_a_server_that_is_always_outrun_gets_its_turn(reopen: Reopen) -> None:
    """It asks the others to leave the workflow alone for a moment; the nearer server loses nothing."""
    near, far = reopen(), reopen()
    refs = [f"b{number}" for number in range(BRANCHES)]
    await near.register(fork("f", *[[task(ref, name="a")] for ref in refs]), join("j", *refs))
    workflow_id = await near.start()
    last, *others = await near.poll("a", count=BRANCHES)
    stepped = asyncio.Event()
    far.engine.committer._store = Outrun(far.store, stepped)
    far.engine.news._notifier = Told(near)
    near.engine.mailboxes.on_commit(lambda *_: stepped.set())

    async def run() -> None:
        for one in others:
            await near.report(one)

    running = asyncio.ensure_future(run())
    async with asyncio.timeout(BOUND_S):
        await far.report(last)
        first_done = running.done()
        await running

    assert not first_done, "it had to wait until the other one had no more to do"
    assert 0 < far.engine.mailboxes.conflicts_in_a_row_max < ATTEMPTS_MAX
    assert (await near.workflow(workflow_id))["status"] == "COMPLETED"


class Told(Alone):
    """The news of one server, heard by another at once."""

    def __init__(self, listener: Farm) -> None:
        self._listener = listener

    def others(self) -> int:
        return 1

    def tell(self, news: News) -> None:
        self._listener.engine.news.heard(news)


# ------------------------------------------------------------------------------------------ PostgreSQL
@pytest.fixture
async def servers(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Engine, Engine]]:
    """Two that know each other; their polls do not look by themselves, so that a lost notice shows."""
    monkeypatch.setattr(Correspondent, "_look_around", lambda _: None)
    first, second = [
        await open_engine(EngineSettings(data=tmp_path, database=postgres_url)) for _ in range(2)
    ]
    try:
        await until(lambda: first.notifier.others() == second.notifier.others() == 1)
        definition = {"name": "flow", "version": 1, "tasks": [task("a")]}
        await first.metadata.register_workflow(msgspec.json.encode(definition))
        yield first, second
    finally:
        async with asyncio.timeout(BOUND_S):
            await first.close()
            await second.close()


async def test_a_fork_completed_through_both(servers: tuple[Engine, Engine]) -> None:
    """Both servers step one workflow at once: every report is taken, none meets conflicts without end."""
    first, second = servers
    tasks = [task(f"b{number}", name="a") for number in range(BRANCHES)]
    refs = [one["taskReferenceName"] for one in tasks]
    definition = {"name": "wide", "tasks": [fork("f", *[[one] for one in tasks]), join("j", *refs)]}
    await first.metadata.register_workflow(msgspec.json.encode(definition))
    workflow_id = await first.executions.start(StartRequest(name="wide"))
    polled = [
        msgspec.json.decode(one)
        for one in await first.queues.poll(
            "a", domain=None, worker_id="w", count=BRANCHES, timeout_ms=LONG_MS
        )
    ]

    async def report(engine: Engine, share: list[dict[str, Any]]) -> None:
        """One after another, as a worker does."""
        for one in share:
            await engine.executions.update(
                TaskUpdate(workflow_instance_id=workflow_id, task_id=one["taskId"], status="COMPLETED")
            )

    async with asyncio.timeout(BOUND_S):
        await asyncio.gather(
            *(report(servers[number % 2], polled[number::WORKERS]) for number in range(WORKERS))
        )

    assert msgspec.json.decode(await second.executions.workflow(workflow_id))["status"] == "COMPLETED"
    assert first.mailboxes.conflicts_in_a_row_max < ATTEMPTS_MAX // 2
    assert second.mailboxes.conflicts_in_a_row_max < ATTEMPTS_MAX // 2


@pytest.mark.parametrize("turns", [0, 3, 10, 40])
async def test_every_task_reaches_a_poll_at_the_other_server(
    servers: tuple[Engine, Engine], turns: int
) -> None:
    """As many polls as tasks, beginning just before or while these are scheduled: none is left over."""
    first, second = servers

    async def poll() -> list[bytes]:
        return await second.queues.poll("a", domain=None, worker_id="w", count=1, timeout_ms=LONG_MS)

    async def start(number: int) -> None:
        for _ in range(turns * (number % 3)):
            await asyncio.sleep(0)
        await first.executions.start(StartRequest(name="flow"))

    seen = set()
    for _ in range(ROUNDS):
        async with asyncio.timeout(BOUND_S):
            polls = [asyncio.ensure_future(poll()) for _ in range(POLLS)]
            await asyncio.gather(*(start(number) for number in range(POLLS)))
            for polled in await asyncio.gather(*polls):
                assert len(polled) == 1, "the news were lost"
                seen.add(msgspec.json.decode(polled[0])["taskId"])
    assert len(seen) == ROUNDS * POLLS

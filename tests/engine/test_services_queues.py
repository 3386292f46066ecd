"""Polls and leases: a task goes to exactly one poll, in the commit that schedules it when one waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw

from engine.core.errors import StoreError
from engine.core.model import TaskDef
from engine.core.records import Delta
from engine.ports.stores import Claim, Release
from engine.services.executions import TaskUpdate
from engine.services.latency import BOUNDS_MS
from engine.testing.story import fork, join, task

if TYPE_CHECKING:
    from .conftest import Farm, Reopen

LONG_MS = 10_000
BOUND_S = 30
TURNS_MAX = 100_000


async def _until(condition: Callable[[], bool]) -> None:
    """Let the others run until it holds."""
    for _ in range(TURNS_MAX):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came about")


async def _waiting(farm: Farm) -> asyncio.Task[list[dict[str, Any]]]:
    """A long poll for `a` that has looked and now waits, its mark written."""
    queues = farm.engine.queues
    before = len(queues._waiting.get("a", ()))
    poll = asyncio.ensure_future(farm.poll("a", timeout_ms=LONG_MS))
    await _until(lambda: len(queues._waiting.get("a", ())) > before)
    for _ in range(50):  # past its look at the store
        await farm.engine.store.ready("a", 0)
        await asyncio.sleep(0)
    await farm.engine.committer.idle()
    return poll


async def test_a_waiting_poll_gets_the_task_in_the_commit_that_schedules_it(farm: Farm) -> None:
    """No claim is written: the queue entry comes into the store with the lease in it."""
    await farm.register(task("a"))
    poll = await _waiting(farm)

    workflow_id = await farm.start()
    async with asyncio.timeout(BOUND_S):
        [polled] = await poll

    assert polled["workflowInstanceId"] == workflow_id
    assert (polled["status"], polled["pollCount"], polled["workerId"]) == ("IN_PROGRESS", 1, "worker")
    assert not [write for group in farm.store.groups for write in group if isinstance(write, Claim)]
    assert farm.engine.queues.handed_over == 1


async def test_a_fork_is_handed_to_as_many_polls_as_wait(farm: Farm) -> None:
    """The rest stays in the queue for the next poll."""
    await farm.register(
        fork("f", *[[task(f"b{n}", name="a")] for n in range(3)]), join("j", "b0", "b1", "b2")
    )
    polls = [await _waiting(farm), await _waiting(farm)]

    await farm.start()
    async with asyncio.timeout(BOUND_S):
        got = [one["referenceTaskName"] for poll in polls for one in await poll]

    assert sorted(got) == ["b0", "b1"]
    assert [one["referenceTaskName"] for one in await farm.poll("a")] == ["b2"]


async def test_a_cancelled_poll_leaves_its_task_to_others(farm: Farm) -> None:
    """Handed over while the worker hung up: the lease is given back and somebody else gets it."""
    await farm.register(task("a"))
    poll = await _waiting(farm)
    farm.store.open.clear()
    starting = asyncio.ensure_future(farm.start())
    await _until(lambda: bool(farm.engine.queues._handed))

    poll.cancel()
    farm.store.open.set()
    await starting
    await asyncio.gather(poll, return_exceptions=True)
    async with asyncio.timeout(BOUND_S):
        [polled] = await farm.poll("a", timeout_ms=LONG_MS)

    assert polled["referenceTaskName"] == "a"


async def test_a_poll_that_goes_away_passes_the_news_on(farm: Farm) -> None:
    """The poll that was woken for a task due later is cancelled; the other must not sleep through it."""
    policy = TaskDef(name="a", retry_delay_seconds=0, backoff_jitter_ms=50)
    await farm.register(task("a"), defs=[policy])
    await farm.start()
    [polled] = await farm.poll("a")
    first, second = await _waiting(farm), await _waiting(farm)
    await farm.report(polled, "FAILED")
    await farm.settle()

    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    farm.clock.advance(1)
    async with asyncio.timeout(BOUND_S):
        [again] = await second

    assert again["retryCount"] == 1


async def test_two_polls_never_get_the_same_task(farm: Farm) -> None:
    """Twenty polls at once for twenty tasks of a fork: each gets one of its own."""
    refs = [f"b{n}" for n in range(20)]
    await farm.register(fork("f", *[[task(ref, name="a")] for ref in refs]), join("j", *refs))
    await farm.start()

    got = await asyncio.gather(*[farm.poll("a") for _ in range(25)])

    assert sorted(one["referenceTaskName"] for polled in got for one in polled) == sorted(refs)


async def test_a_heartbeat_renews_the_lease_and_shows_progress(farm: Farm) -> None:
    """extendLease with IN_PROGRESS and output: the task stays open, and its deadline moves."""
    await farm.register(task("a"), defs=[TaskDef(name="a", response_timeout_seconds=10)])
    workflow_id = await farm.start()
    [polled] = await farm.poll("a")
    farm.clock.advance(9)

    await farm.engine.executions.update(
        TaskUpdate(
            workflow_instance_id=workflow_id,
            task_id=polled["taskId"],
            status="IN_PROGRESS",
            output_data=Raw(b'{"fraction":0.5}'),
            extend_lease=True,
        )
    )
    farm.clock.advance(9)
    await farm.engine.timers.fire_due()

    [seen] = (await farm.workflow(workflow_id))["tasks"]
    assert (seen["status"], seen["outputData"]) == ("IN_PROGRESS", {"fraction": 0.5})


async def test_a_silent_worker_loses_its_task(farm: Farm) -> None:
    """After the response timeout the next attempt is there, and the late result changes nothing."""
    policy = TaskDef(name="a", response_timeout_seconds=10, retry_delay_seconds=0)
    await farm.register(task("a"), defs=[policy])
    workflow_id = await farm.start()
    [lost] = await farm.poll("a")
    farm.clock.advance(10)
    await farm.engine.timers.fire_due()
    assert await farm.shown(workflow_id) == ["a TIMED_OUT", "a SCHEDULED"]

    await farm.report(lost, n=1)
    [again] = await farm.poll("a")
    await farm.report(again, n=2)

    assert await farm.shown(workflow_id) == ["a TIMED_OUT", "a COMPLETED"]
    assert (await farm.workflow(workflow_id))["output"] == {"n": 2}


@pytest.mark.parametrize("fault", ["fails", "lost", "written"])
async def test_a_handed_over_task_survives_a_failing_store(farm: Farm, fault: Any) -> None:
    """Whatever became of the commit that leased it, a poll gets the task, once."""
    await farm.register(task("a"), task("b", name="a"))
    await farm.start()
    [polled] = await farm.poll("a")
    poll = await _waiting(farm)

    farm.store.faults.append(fault)
    try:
        await farm.report(polled)
    except StoreError:
        assert fault == "fails"
        await farm.report(polled)  # the worker's client tries again
    async with asyncio.timeout(BOUND_S):
        got = [one["referenceTaskName"] for one in await poll]

    assert got == ["b"]
    assert await farm.poll("a") == []
    assert any(isinstance(write, Delta) for write in farm.store.groups[-1]) or fault == "written"


async def test_a_task_that_cannot_be_shown_to_its_poll_goes_back(reopen: Reopen) -> None:
    """The store fails between lease and answer: the next poll gets the task, not one after its timeout."""
    one = reopen()
    await one.register(task("a"))
    await one.start()
    two = reopen()  # has to read the workflow that the task belongs to

    async def fails(_: str) -> None:
        raise StoreError("the disk said no")

    two.store.load = fails  # type: ignore[attr-defined]  # stands before the store's own
    with pytest.raises(StoreError, match="the disk said no"):
        await two.poll("a")
    del two.store.load

    assert len(await two.poll("a", timeout_ms=LONG_MS)) == 1


@pytest.mark.parametrize("fault", ["lost", "written"])
async def test_a_claim_of_unknown_outcome_keeps_nobody_waiting(farm: Farm, fault: Any) -> None:
    """What it leased is handed out all the same; had it leased nothing, the next poll gets the task."""
    await farm.register(task("a"))
    await farm.start()
    farm.store.struck = Claim
    farm.store.faults.append(fault)

    got = [*await farm.poll("a"), *await farm.poll("a")]

    assert [one["referenceTaskName"] for one in got] == ["a"]


async def test_a_claim_of_unknown_outcome_whose_poll_is_gone_is_undone(farm: Farm) -> None:
    """The worker hung up, and nobody knows whether its task was leased: the next poll gets it."""
    await farm.register(task("a"))
    await farm.start()
    farm.store.open.clear()
    farm.store.struck = Claim
    poll = asyncio.ensure_future(farm.poll("a"))
    await _until(lambda: farm.engine.committer.busy)
    farm.store.faults.append("written")
    poll.cancel()
    await asyncio.gather(poll, return_exceptions=True)
    farm.store.open.set()

    async with asyncio.timeout(BOUND_S):
        [polled] = await farm.poll("a", timeout_ms=LONG_MS)

    assert polled["referenceTaskName"] == "a"


async def test_giving_back_is_repeated(farm: Farm) -> None:
    """A store that fails once does not keep a task leased to a worker that hung up."""
    await farm.register(task("a"))
    poll = await _waiting(farm)
    farm.store.open.clear()
    starting = asyncio.ensure_future(farm.start())
    await _until(lambda: bool(farm.engine.queues._handed))
    farm.store.struck = Release
    farm.store.faults += ["fails", "lost"]
    poll.cancel()
    farm.store.open.set()
    await starting
    await asyncio.gather(poll, return_exceptions=True)

    async with asyncio.timeout(BOUND_S):
        [polled] = await farm.poll("a", timeout_ms=LONG_MS)

    assert (polled["referenceTaskName"], polled["pollCount"]) == ("a", 1)
    assert not farm.store.faults


async def test_how_long_tasks_wait_for_a_worker_is_counted(farm: Farm) -> None:
    """From when they are due, whether claimed or handed over."""
    await farm.register(task("a"))
    await farm.start()
    farm.clock.advance(0.15)
    await farm.poll("a")
    poll = await _waiting(farm)
    await farm.start()
    await poll

    dispatch = farm.engine.queues.dispatch

    assert (sum(dispatch.counts), dispatch.sum_ms) == (2, 150)
    assert dispatch.counts[BOUNDS_MS.index(250)] == 1

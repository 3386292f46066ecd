"""Limits of task definitions, partitions, and slots of limited workflows, over the whole engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from engine.core.errors import RateLimitedError
from engine.core.model import TaskDef
from engine.core.records import QueueEntry
from engine.core.search import SearchQuery
from engine.services.executions import StartRequest
from engine.testing.story import Definition, fork, join, task

if TYPE_CHECKING:
    from .conftest import Farm

LONG_MS = 20_000
BOUND_S = 30
REFS = [f"b{n}" for n in range(6)]


def many(name: str = "a") -> tuple[Definition, Definition]:
    """A fork of six tasks of one name."""
    return fork("f", *[[task(ref, name=name)] for ref in REFS]), join("j", *REFS)


async def _waiting(farm: Farm, queue: str = "a") -> asyncio.Task[list[dict[str, Any]]]:
    """A long poll that has looked and now waits."""
    poll = asyncio.ensure_future(farm.poll(queue, timeout_ms=LONG_MS))
    for _ in range(200):
        await asyncio.sleep(0)
    await farm.engine.committer.idle()
    assert not poll.done()
    return poll


async def _soon(poll: asyncio.Task[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    async with asyncio.timeout(BOUND_S):
        return await poll


# ------------------------------------------------------------------------------------- concurrentExecLimit
async def test_no_more_tasks_are_out_than_the_limit_says(farm: Farm) -> None:
    """Whether polls come one by one, in a batch, or wait already when the tasks are scheduled."""
    await farm.register(*many(), defs=[TaskDef(name="a", concurrent_exec_limit=2)])
    early = await _waiting(farm)
    await farm.start()
    out = await _soon(early)

    out += await farm.poll("a", count=5)

    assert len(out) == 2
    assert await farm.poll("a", count=5) == []


async def test_a_waiting_poll_gets_the_place_of_a_task_that_ends(farm: Farm) -> None:
    """In the moment it ends, not at the poll's next look."""
    await farm.register(*many(), defs=[TaskDef(name="a", concurrent_exec_limit=1)])
    await farm.start()
    [first] = await farm.poll("a")
    poll = await _waiting(farm)

    await farm.report(first)

    assert [one["referenceTaskName"] for one in await _soon(poll)] == ["b1"]


async def test_a_place_is_free_again_however_its_task_went(farm: Farm) -> None:
    """By response timeout, by termination of its workflow, by its removal, by being put back."""
    policy = TaskDef(name="a", concurrent_exec_limit=1, response_timeout_seconds=10, retry_count=0)
    await farm.register(task("x", name="a"), defs=[policy])
    started = [await farm.start() for _ in range(9)]
    seen = []
    for way in ("timeout", "terminate", "remove", "put back"):
        [polled] = await farm.poll("a")
        seen.append(polled["workflowInstanceId"])
        poll = await _waiting(farm)
        if way == "timeout":
            farm.clock.advance(10)
            await farm.engine.timers.fire_due()
        elif way == "terminate":
            await farm.engine.executions.terminate(seen[-1], "enough")
        elif way == "remove":
            await farm.engine.executions.remove(seen[-1], archive=False)
        else:
            await farm.report(polled, "IN_PROGRESS")
        [following] = await _soon(poll)
        await farm.engine.executions.terminate(following["workflowInstanceId"], "next")

    assert len(set(seen)) == 4
    assert set(seen) < set(started)


async def test_the_limit_counts_over_domains(farm: Farm) -> None:
    """A task held in one domain keeps the next one of another domain waiting, and its end wakes that one."""
    await farm.register(task("x", name="a"), defs=[TaskDef(name="a", concurrent_exec_limit=1)])
    await farm.start()
    [held] = await farm.poll("a")
    await farm.engine.executions.start(StartRequest(name="flow", input={}, task_to_domain={"a": "d"}))
    poll = asyncio.ensure_future(
        farm.engine.queues.poll("a", domain="d", worker_id="w", count=1, timeout_ms=LONG_MS)
    )
    for _ in range(200):
        await asyncio.sleep(0)
    assert not poll.done()

    await farm.report(held)

    async with asyncio.timeout(BOUND_S):
        assert len(await poll) == 1


async def test_servers_share_a_limit(reopen: Callable[[], Farm]) -> None:
    """What one server has handed out counts on the other; a place freed there is found here."""
    one, two = reopen(), reopen()
    await one.register(*many(), defs=[TaskDef(name="a", concurrent_exec_limit=2)])
    await one.start()
    [first] = await one.poll("a")
    [_] = await two.poll("a")
    assert await one.poll("a") == []
    poll = await _waiting(two)

    await one.report(first)

    assert len(await _soon(poll)) == 1


async def test_a_changed_limit_counts_at_once(farm: Farm) -> None:
    """For tasks queued already, too, and of workflows started before."""
    await farm.register(*many(), defs=[TaskDef(name="a")])
    await farm.start()
    out = await farm.poll("a", count=2)
    await farm.register(*many(), defs=[TaskDef(name="a", concurrent_exec_limit=3)])
    out += await farm.poll("a", count=9)
    assert len(out) == 3
    await farm.register(*many(), defs=[TaskDef(name="a", concurrent_exec_limit=0)])
    assert len(await farm.poll("a", count=9)) == 3


# ------------------------------------------------------------------------------------ rateLimitPerFrequency
async def test_deliveries_keep_to_the_rate(farm: Farm) -> None:
    """So many within the sliding window, over all servers; ended tasks count on until it has passed."""
    policy = TaskDef(name="a", rate_limit_per_frequency=2, rate_limit_frequency_in_seconds=5)
    await farm.register(*many(), defs=[policy])
    await farm.start()
    out = await farm.poll("a", count=9)
    for polled in out:
        await farm.report(polled)
    assert len(out) == 2
    assert await farm.poll("a", count=9) == []
    farm.clock.advance(4.999)
    assert await farm.poll("a", count=9) == []
    farm.clock.advance(0.001)
    assert len(await farm.poll("a", count=9)) == 2


async def test_a_poll_waits_until_the_window_opens(farm: Farm) -> None:
    """And no longer."""
    policy = TaskDef(name="a", rate_limit_per_frequency=1, rate_limit_frequency_in_seconds=1)
    await farm.register(*many(), defs=[policy])
    await farm.start()
    await farm.poll("a")
    farm.clock.advance(0.9)
    poll = await _waiting(farm)
    farm.clock.advance(0.1)  # the poll sleeps the tenth of a second that is left

    assert len(await _soon(poll)) == 1


# ------------------------------------------------------------------------------------------------ partitions
async def test_keys_take_turns_and_keep_their_order(farm: Farm) -> None:
    """A flood of one key leaves the others their share; within a key tasks go by priority, then age."""
    policy = TaskDef(name="a", partitions=64, partition_by="${video}")
    given = {"video": "${workflow.input.video}", "n": "${workflow.input.n}"}
    await farm.register(task("x", name="a", inputParameters=given), defs=[policy])
    for n in range(6):
        await farm.start(video="flood", n=n)
    for n in range(2):
        await farm.start(video="other", n=n)
    assert await farm.engine.queues.sizes(["a"]) == {"a": 8}

    got = [polled["inputData"] for _ in range(8) for polled in await farm.poll("a")]

    assert {one["video"] for one in got[:2]} == {"flood", "other"}
    assert {one["video"] for one in got[2:4]} == {"flood", "other"}
    assert [one["n"] for one in got if one["video"] == "flood"] == [0, 1, 2, 3, 4, 5]
    assert [one["n"] for one in got if one["video"] == "other"] == [0, 1]


async def test_without_a_key_tasks_are_spread(farm: Farm) -> None:
    """And every one of them is found, whichever partition it is in, also when their number changes."""
    await farm.register(*many(), defs=[TaskDef(name="a", partitions=4)])
    await farm.start()
    await farm.register(*many(), defs=[TaskDef(name="a", partitions=2)])
    await farm.start()
    lanes = {entry.lane for entry in await _entries(farm)}

    got = await farm.poll("a", count=5) + await farm.poll("a", count=99)

    assert len(lanes) > 1
    assert len({one["taskId"] for one in got}) == 12


async def _entries(farm: Farm) -> list[QueueEntry]:
    found: list[QueueEntry] = []
    _, rows = await farm.engine.store.search(SearchQuery())
    for row in rows:
        found += (await farm.engine.store.entries_of(row.header.workflow_id)).values()
    return found


# ---------------------------------------------------------------------------------------- rateLimitConfig
LIMITED = {"rateLimitKey": "${workflow.input.customer}", "concurrentExecLimit": 1}


async def _states(farm: Farm, *workflow_ids: str) -> list[tuple[str, bool, int]]:
    """Status, whether it waits for a slot, and how many tasks it has."""
    found = [await farm.workflow(workflow_id) for workflow_id in workflow_ids]
    return [(one["status"], one["rateLimited"], len(one["tasks"])) for one in found]


async def _end(farm: Farm) -> str:
    [polled] = await farm.poll("a", timeout_ms=LONG_MS)
    await farm.report(polled)
    await farm.settle()
    await farm.engine.slots.idle()
    return str(polled["workflowInstanceId"])


async def test_a_workflow_waits_for_its_slot(farm: Farm) -> None:
    """It is there, RUNNING, marked, without a task; they begin in order as slots are freed, key by key."""
    await farm.register(task("x", name="a"), rateLimitConfig=LIMITED)
    first, second, third = [await farm.start(customer="c") for _ in range(3)]
    other = await farm.start(customer="o")

    assert await _states(farm, first, second, third, other) == [
        ("RUNNING", False, 1),
        ("RUNNING", True, 0),
        ("RUNNING", True, 0),
        ("RUNNING", False, 1),
    ]
    assert (await farm.workflow(second))["rateLimitKey"] == "c"
    ended = [await _end(farm) for _ in range(4)]
    assert [one for one in ended if one != other] == [first, second, third]
    assert {one[0] for one in await _states(farm, first, second, third, other)} == {"COMPLETED"}


async def test_a_slot_is_free_again_however_its_workflow_went(farm: Farm) -> None:
    """Terminated, timed out or removed, running or waiting: the next one begins."""
    config = {"concurrentExecLimit": 1}
    await farm.register(
        task("x", name="a"), rateLimitConfig=config, timeoutSeconds=60, timeoutPolicy="TIME_OUT_WF"
    )
    ids = [await farm.start() for _ in range(5)]
    await farm.engine.executions.terminate(ids[1], "not this one")
    await farm.engine.executions.terminate(ids[0], "enough")
    await farm.settle()
    await farm.engine.slots.idle()
    assert [state[1:] for state in await _states(farm, *ids[2:])] == [(False, 1), (True, 0), (True, 0)]

    farm.clock.advance(61)
    await farm.engine.timers.fire_due()
    await farm.engine.slots.idle()
    assert (await _states(farm, ids[3])) == [("RUNNING", False, 1)]  # its own minute begins now

    await farm.engine.executions.remove(ids[3], archive=False)
    await farm.engine.slots.idle()
    assert await _states(farm, ids[4]) == [("RUNNING", False, 1)]


async def test_a_full_limit_can_refuse(farm: Farm) -> None:
    """REJECT: the start fails with a sentence, and nothing of it is left."""
    await farm.register(task("x", name="a"), rateLimitConfig={**LIMITED, "policy": "REJECT"})
    await farm.start(customer="c")
    with pytest.raises(RateLimitedError, match=r"flow may run 1 times at once.*start it again later"):
        await farm.start(customer="c")
    assert (await farm.engine.store.search(SearchQuery()))[0] == 1
    await _end(farm)
    assert await _states(farm, await farm.start(customer="c")) == [("RUNNING", False, 1)]


async def test_a_child_waits_even_where_starts_are_refused(farm: Farm) -> None:
    """Its parent has nobody to tell; it goes on when the child has had its slot."""
    await farm.register(task("x", name="a"), rateLimitConfig={"concurrentExecLimit": 1, "policy": "REJECT"})
    running = await farm.start()
    around = {
        "name": "parent",
        "version": 1,
        "tasks": [task("s", "SUB_WORKFLOW", subWorkflowParam={"name": "flow", "version": 1})],
    }
    await farm.engine.metadata.register_workflow(msgspec.json.encode(around), overwrite=True)
    parent = await farm.start("parent")
    await farm.settle()
    assert await _end(farm) == running
    await _end(farm)
    assert (await farm.workflow(parent))["status"] == "COMPLETED"


async def test_a_paused_one_lets_others_pass(farm: Farm) -> None:
    """And takes its turn when it is resumed."""
    await farm.register(task("x", name="a"), rateLimitConfig={"concurrentExecLimit": 1})
    first, second, third = [await farm.start() for _ in range(3)]
    await farm.engine.executions.pause(second)
    assert await _end(farm) == first
    assert await _states(farm, second, third) == [("PAUSED", True, 0), ("RUNNING", False, 1)]
    await farm.engine.executions.resume(second)
    await farm.settle()
    assert await _states(farm, second) == [("RUNNING", True, 0)]
    assert await _end(farm) == third
    assert await _end(farm) == second


async def test_what_is_brought_back_takes_a_slot_unasked(farm: Farm) -> None:
    """Over the limit if need be; a new start waits until there is room again."""
    await farm.register(
        task("x", name="a"),
        rateLimitConfig={"concurrentExecLimit": 1},
        defs=[TaskDef(name="a", retry_count=0)],
    )
    first = await farm.start()
    [polled] = await farm.poll("a")
    await farm.report(polled, "FAILED")
    second = await farm.start()
    await farm.engine.executions.retry(first)
    third = await farm.start()
    assert [state[1] for state in await _states(farm, first, second, third)] == [False, False, True]
    await _end(farm)
    assert await _states(farm, third) == [("RUNNING", True, 0)]
    await _end(farm)
    assert await _states(farm, third) == [("RUNNING", False, 1)]


async def test_a_raised_limit_lets_waiting_ones_begin(farm: Farm) -> None:
    """Those that wait are not bound to the definition they were started with."""
    await farm.register(task("x", name="a"), rateLimitConfig={"concurrentExecLimit": 1})
    ids = [await farm.start() for _ in range(4)]
    await farm.register(task("x", name="a"), rateLimitConfig={"concurrentExecLimit": 3})
    await farm.engine.slots.idle()
    assert [state[1] for state in await _states(farm, *ids)] == [False, False, False, True]


async def test_a_crash_keeps_nobody_waiting(reopen: Callable[[], Farm]) -> None:
    """The server that ended the last one died before it let the next one begin: another server does."""
    one, two = reopen(), reopen()
    await one.register(task("x", name="a"), rateLimitConfig={"concurrentExecLimit": 1})
    first, second = await one.start(), await one.start()
    await one.engine.slots.idle()
    one.engine.slots._asked, one.engine.slots._serving = set(), {"flow"}  # it died just then
    [polled] = await one.poll("a")
    await one.report(polled)
    assert await _states(two, first, second) == [("COMPLETED", False, 1), ("RUNNING", True, 0)]

    await two.engine.slots.sweep()
    await two.engine.slots.idle()

    assert await _states(two, second) == [("RUNNING", False, 1)]


async def test_slots_hold_under_many_starts_on_two_servers(reopen: Callable[[], Farm]) -> None:
    """Never more running than slots, and in the end everybody has run."""
    one, two = reopen(), reopen()
    await one.register(task("x", name="a"), rateLimitConfig={"concurrentExecLimit": 3})
    ids = await asyncio.gather(*[(one, two)[n % 2].start() for n in range(12)])
    for _ in range(len(ids)):
        held, _ = await one.engine.store.slots("flow", 99)
        assert held <= 3
        farm = (one, two)[held % 2]
        await farm.engine.slots.sweep()
        await farm.engine.slots.idle()
        await _end(farm)
    assert {state[0] for state in await _states(one, *ids)} == {"COMPLETED"}
    assert await one.engine.store.slots("flow", 99) == (0, [])


async def test_a_new_limit_counts_for_polls_that_wait_already(farm: Farm) -> None:
    """They are handed nothing before the limit is known."""
    await farm.register(*many(), defs=[TaskDef(name="a")])
    polls = [await _waiting(farm) for _ in range(3)]
    await farm.register(*many(), defs=[TaskDef(name="a", concurrent_exec_limit=1)])

    await farm.start()
    done, waiting = await asyncio.wait(polls, return_when=asyncio.FIRST_COMPLETED, timeout=BOUND_S)
    for _ in range(200):
        await asyncio.sleep(0)
    await farm.engine.committer.idle()

    assert len(done) == 1
    assert not any(poll.done() for poll in waiting)
    [polled] = done.pop().result()
    for left in range(3):
        await farm.report(polled)
        if left < 2:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED, timeout=BOUND_S)
            [polled] = done.pop().result()
    assert not waiting

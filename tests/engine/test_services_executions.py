"""Executions over real stores: repeats, crowds, second servers, failing disks, crashes, timers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from engine.adapters.memory.documents import MemoryDocumentStore
from engine.adapters.memory.store import MemoryExecutionStore, MemoryMetadataStore
from engine.adapters.scripts.quickjs_runner import QuickJsRunner
from engine.adapters.system.real import SystemChance, SystemClock
from engine.bootstrap import Engine
from engine.core.errors import NotFoundError, StoreError
from engine.core.model import TaskDef
from engine.core.records import Delta
from engine.services import residents
from engine.services.executions import StartRequest
from engine.testing.services import SeededChance
from engine.testing.story import child, fork, join, task

if TYPE_CHECKING:
    from .conftest import Farm, Reopen

BOUND_S = 30
TURNS_MAX = 100_000


# ------------------------------------------------------------------------------------ repeats and crowds
async def test_a_result_sent_twice_counts_once(farm: Farm) -> None:
    """The second answer is a yes, too, and writes nothing."""
    await farm.register(task("a"), task("b"))
    workflow_id = await farm.start()
    [polled] = await farm.poll("a")
    await farm.report(polled, n=1)
    before = await farm.workflow(workflow_id)
    await farm.engine.committer.idle()
    groups = len(farm.store.groups)

    await farm.report(polled, "FAILED", n=2)

    assert await farm.workflow(workflow_id) == before
    assert len(farm.store.groups) == groups


async def test_fifty_results_at_once_are_decided_in_few_steps(farm: Farm) -> None:
    """Events that gather while a step is written are decided together; the JOIN completes once."""
    refs = [f"b{n}" for n in range(50)]
    await farm.register(fork("f", *[[task(ref, name="a")] for ref in refs]), join("j", *refs), task("z"))
    workflow_id = await farm.start()
    polled = await farm.poll("a", count=50)
    await farm.engine.committer.idle()
    groups = len(farm.store.groups)

    await asyncio.gather(*[farm.report(one) for one in polled])

    deltas = [write for group in farm.store.groups[groups:] for write in group if isinstance(write, Delta)]
    assert len(deltas) <= 5
    assert (await farm.shown(workflow_id))[-2:] == ["j COMPLETED", "z SCHEDULED"]


async def test_the_steps_of_many_workflows_share_transactions(farm: Farm) -> None:
    """Whatever gathers while a group is written is the next group."""
    await farm.register(task("a"))
    await farm.engine.committer.idle()
    groups = len(farm.store.groups)

    await asyncio.gather(*[farm.start() for _ in range(40)])

    assert len(farm.store.groups) - groups <= 5


# ------------------------------------------------------------------------------------ two servers
async def test_a_second_server_finds_the_conflict_and_decides_again(reopen: Reopen) -> None:
    """Both keep the workflow in memory; whoever writes second reloads, and both results count."""
    one = reopen()
    await one.register(fork("f", [task("a")], [task("b")]), join("j", "a", "b"), task("z"))
    two = reopen()
    workflow_id = await one.start()
    [a], [b] = await one.poll("a"), await two.poll("b")
    await two.engine.executions.decide(workflow_id)  # two has it in memory now

    await one.report(a, n=1)
    await two.report(b, n=2)

    assert (await one.shown(workflow_id))[3:] == ["j COMPLETED", "z SCHEDULED"]
    assert two.engine.mailboxes.conflicts == 1


async def test_an_event_about_what_another_server_did_is_not_lost(reopen: Reopen) -> None:
    """The server that has an older state in memory reads again before it says that nothing is to be done."""
    one, two = reopen(), reopen()
    await one.register(task("a"), task("b"))
    workflow_id = await two.start()
    [a] = await one.poll("a")
    await one.report(a)
    [b] = await one.poll("b")

    outcome = await two.report(b)

    assert outcome.ended
    assert (await one.workflow(workflow_id))["status"] == "COMPLETED"


async def test_an_operation_after_what_another_server_did_is_judged_by_it(reopen: Reopen) -> None:
    """A refusal, too, is given on the state that the store has, not on the one in memory."""
    one, two = reopen(), reopen()
    await one.register(task("a"))
    workflow_id = await two.start()
    await one.engine.executions.terminate(workflow_id, "enough")

    await two.engine.executions.retry(workflow_id)

    assert (await one.workflow(workflow_id))["status"] == "RUNNING"


async def test_a_restart_keeps_its_definition_when_it_is_decided_again(reopen: Reopen) -> None:
    """The server that restarts had an older state in memory; the newest definition is used all the same."""
    one, two = reopen(), reopen()
    await one.register(task("a"))
    workflow_id = await two.start()
    await one.engine.executions.terminate(workflow_id, "enough")
    await two.register(task("z"), version=2)

    await two.engine.executions.restart(workflow_id, use_latest_definitions=True)

    assert await one.shown(workflow_id) == ["z SCHEDULED"]


# ------------------------------------------------------------------------------------ failing stores
@pytest.mark.parametrize("fault", ["lost", "written"])
async def test_an_unknown_outcome_is_read_back(farm: Farm, fault: Any) -> None:
    """Written or not, the update counts once, and the caller hears that it did."""
    await farm.register(task("x"))
    workflow_id = await farm.start()
    [polled] = await farm.poll("x")

    farm.store.faults.append(fault)
    outcome = await farm.report(polled, n=1)

    assert outcome.ended
    assert await farm.shown(workflow_id) == ["x COMPLETED"]
    assert (await farm.workflow(workflow_id))["output"] == {"n": 1}


async def test_a_step_that_lands_late_is_not_done_again(farm: Farm) -> None:
    """It was not there when it was looked for, and then it was: the operation counts once, and succeeded."""
    await farm.register(task("n", "NOOP"))
    workflow_id = await farm.start()
    farm.store.faults.append("late")

    await farm.engine.executions.rerun(workflow_id)

    reruns = [row for row in await farm.engine.store.history(workflow_id) if row.type == "Rerun"]
    assert len(reruns) == 1
    assert (await farm.workflow(workflow_id))["status"] == "COMPLETED"


async def _until(condition: Callable[[], bool]) -> None:
    """Let the others run until it holds."""
    for _ in range(TURNS_MAX):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came about")


async def test_a_repeated_start_behind_a_step_that_fails_is_answered(farm: Farm) -> None:
    """It waits while another event is written; that fails, and the state in memory is let go."""
    await farm.register(task("a"))
    request = StartRequest(name="flow", input={}, idempotency_key="k", idempotency_strategy="RETURN_EXISTING")
    workflow_id = await farm.engine.executions.start(request)
    farm.store.open.clear()
    farm.store.faults.append("fails")
    pausing = asyncio.ensure_future(farm.engine.executions.pause(workflow_id))
    resident = farm.engine.mailboxes._residents.of(workflow_id)
    await _until(lambda: resident.busy and not resident.inbox)
    again = asyncio.ensure_future(farm.engine.executions.start(request))
    await _until(lambda: bool(resident.inbox))
    farm.store.open.set()

    with pytest.raises(StoreError, match="the disk said no"):
        await pausing
    assert await again == workflow_id


async def test_what_a_step_of_unknown_outcome_says_to_others_is_delivered(farm: Farm) -> None:
    """The child starts at once, not when the next sweep comes by."""
    await _parent_and_child(farm)
    farm.store.faults.append("written")

    parent = await farm.start("parent")
    await farm.settle()

    [started] = await farm.poll("x")
    assert started["workflowInstanceId"] != parent


async def test_a_failed_write_changes_nothing_and_the_next_try_succeeds(farm: Farm) -> None:
    """The caller is told; the workflow is as it was."""
    await farm.register(task("a"))
    workflow_id = await farm.start()
    [polled] = await farm.poll("a")
    farm.store.faults.append("fails")

    with pytest.raises(StoreError, match="the disk said no"):
        await farm.report(polled, n=1)
    assert await farm.shown(workflow_id) == ["a IN_PROGRESS"]
    await farm.report(polled, n=2)

    assert (await farm.workflow(workflow_id))["output"] == {"n": 2}


# ------------------------------------------------------------------------------------ the outbox
async def _parent_and_child(farm: Farm) -> None:
    await farm.register(task("x"))
    for name, tasks in (("child", [task("x")]), ("parent", [child("c")])):
        body = msgspec.json.encode({"name": name, "version": 1, "tasks": tasks})
        await farm.engine.metadata.register_workflow(body, overwrite=True)


async def test_a_message_that_a_crash_left_is_delivered_by_the_sweep(reopen: Reopen) -> None:
    """The start of a child was written with the parent's step; another server sends it."""
    crashed = reopen()
    await _parent_and_child(crashed)
    crashed.engine.outbox.committed = lambda _: None  # type: ignore[method-assign, assignment]  # it dies before it tells
    parent = await crashed.start("parent")
    survivor = reopen()
    assert await survivor.poll("x") == []

    assert await survivor.engine.outbox.sweep() == 1
    await survivor.settle()
    [polled] = await survivor.poll("x")
    await survivor.report(polled, n=1)
    await survivor.settle()

    done = await survivor.workflow(parent)
    assert (done["status"], done["output"]["n"]) == ("COMPLETED", 1)
    assert await survivor.engine.outbox.sweep() == 0


async def test_a_message_delivered_twice_starts_one_child(farm: Farm) -> None:
    """Marking it as delivered failed, say; the receiver drops the repeat."""
    await _parent_and_child(farm)
    await farm.start("parent")
    messages = await farm.engine.store.pending_messages(10)
    assert [message.kind for message in messages] == ["start_child"]
    await farm.settle()
    farm.engine.outbox.committed(messages)
    await farm.settle()

    assert len(await farm.poll("x", count=5)) == 1


# ------------------------------------------------------------------------------------ timers
async def test_a_timer_fires_at_its_instant_not_at_the_next_sweep() -> None:
    """On the machine's clock, with the engine's own loop: a WAIT of one second."""
    engine = Engine(
        MemoryExecutionStore(), MemoryMetadataStore(), MemoryDocumentStore(),
        scripts=QuickJsRunner(), clock=SystemClock(), chance=SystemChance(), environment={},
    )  # fmt: skip
    engine.start()
    async with engine:
        body = {"name": "w", "version": 1, "tasks": [task("w", "WAIT", inputParameters={"duration": "1s"})]}
        await engine.metadata.register_workflow(msgspec.json.encode(body))
        async with engine.feed.subscribe() as changes, asyncio.timeout(BOUND_S):
            workflow_id = await engine.executions.start(StartRequest(name="w", input={}))
            while (await changes.get()).status != "COMPLETED":
                pass
        [waited] = msgspec.json.decode(await engine.executions.workflow(workflow_id))["tasks"]

    late_ms = waited["endTime"] - waited["startTime"] - 1000
    assert 0 <= late_ms < 1000


async def test_a_timer_that_leads_to_nothing_does_not_spin(farm: Farm) -> None:
    """A deadline whose step cannot be written is left alone for a while, and tried again later."""
    policy = TaskDef(name="a", response_timeout_seconds=10, retry_delay_seconds=0)
    await farm.register(task("a"), defs=[policy])
    workflow_id = await farm.start()
    await farm.poll("a")
    farm.clock.advance(10)
    farm.store.faults.append("fails")
    await farm.engine.timers.fire_due()

    next_ms = await farm.engine.timers.fire_due()
    assert next_ms is not None
    assert next_ms > farm.clock.now_ms()
    farm.clock.advance(1)
    await farm.engine.timers.fire_due()

    assert await farm.shown(workflow_id) == ["a TIMED_OUT", "a SCHEDULED"]


# ------------------------------------------------------------------------------------ memory and feed
async def test_a_workflow_that_left_memory_is_read_again(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for two, five workflows run on side by side."""
    monkeypatch.setattr(residents, "RESIDENTS_MAX", 2)
    await farm.register(task("a"), task("b"))
    ids = [await farm.start() for _ in range(5)]
    assert len(farm.engine.mailboxes._residents) == 2

    for task_type in ("a", "b"):
        for polled in await farm.poll(task_type, count=5):
            await farm.report(polled)

    assert {(await farm.workflow(workflow_id))["status"] for workflow_id in ids} == {"COMPLETED"}


async def test_the_feed_tells_what_was_committed_in_order(farm: Farm) -> None:
    """A subscriber of one workflow hears of its tasks and of its end, and of no other workflow."""
    await farm.register(task("a"))
    workflow_id = await farm.start()
    other = await farm.start()
    polled = {one["workflowInstanceId"]: one for one in await farm.poll("a", count=2)}

    async with farm.engine.feed.subscribe(workflow_id) as changes:
        await farm.report(polled[other])
        await farm.report(polled[workflow_id])
        heard = [changes.get_nowait() for _ in range(changes.qsize())]

    assert {change.workflow_id for change in heard} == {workflow_id}
    assert [(c.kind, c.status) for c in heard] == [("task", "COMPLETED"), ("workflow", "COMPLETED")]


def test_seeded_chance_repeats() -> None:
    """The tests' own chance: the same draws for the same seed."""
    assert [SeededChance(7).seed() for _ in range(2)] == [SeededChance(7).seed()] * 2


async def test_a_lease_that_ran_out_while_no_server_was_there_is_renewed_once(reopen: Reopen) -> None:
    """The worker may live: it gets one more lease to beat in. When it is silent, its task goes to another."""
    before = reopen()
    lease = TaskDef(name="a", retry_count=1, retry_delay_seconds=0, response_timeout_seconds=10)
    await before.register(task("a"), defs=[lease])
    workflow_id = await before.start()
    await before.poll("a")
    before.clock.advance(60)

    after = reopen()
    assert await after.engine.timers.forgive_outage() == 1
    await after.engine.timers.fire_due()
    assert await after.shown(workflow_id) == ["a IN_PROGRESS"]

    after.clock.advance(11)
    await after.engine.timers.fire_due()
    assert await after.shown(workflow_id) == ["a TIMED_OUT", "a SCHEDULED"]


async def test_a_workflow_that_moves_can_be_removed(farm: Farm) -> None:
    """Its removal meets a version that moved meanwhile, looks again, and succeeds."""
    await farm.register(task("a"), task("b"))
    workflow_id = await farm.start()
    [polled] = await farm.poll("a")

    _, removed = await asyncio.gather(
        farm.report(polled),
        farm.engine.executions.remove(workflow_id, archive=False),
        return_exceptions=True,
    )

    assert removed is None
    with pytest.raises(NotFoundError):
        await farm.engine.executions.workflow(workflow_id)

"""A history decided again leads to the same end; what was changed, in the engine or by hand, is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from msgspec.structs import replace

from engine.core.errors import InvalidRequestError
from engine.core.model import TaskDef, WorkflowDef, decode_workflow_def
from engine.services.replay import (
    Recording,
    Replayed,
    decode_recording,
    encode_recording,
    record,
)
from engine.services.replay import replay as decide_again
from engine.testing.story import Definition, child, dynamic, fork, join, loop, switch, task

if TYPE_CHECKING:
    from .conftest import Farm

QUICK = [TaskDef(name="a", retry_count=1, retry_delay_seconds=0)]


async def recorded(farm: Farm, workflow_id: str) -> Recording:
    """As it comes over the wire or out of a file."""
    recording = await record(farm.engine.store, workflow_id, environment={})
    return decode_recording(encode_recording(recording))


async def replayed(farm: Farm, workflow_id: str, definition: WorkflowDef | None = None) -> Replayed:
    return await decide_again(await recorded(farm, workflow_id), farm.engine.scripts, definition=definition)


async def work(farm: Farm, *task_types: str, **output: Any) -> None:
    """Complete whatever is polled of these types, in turn."""
    for task_type in task_types:
        for polled in await farm.poll(task_type, count=5):
            await farm.report(polled, **output)
        await farm.settle()


SCRIPT = {"evaluatorType": "javascript", "expression": "$.x * 2", "x": "${workflow.input.x}"}
KINDS: dict[str, tuple[list[Definition], list[str]]] = {
    "a list": ([task("a"), task("b", inputParameters={"seen": "${a.output.n}"})], ["a", "b"]),
    "a fork": ([fork("f", [task("a")], [task("b")]), join("j", "a", "b"), task("z")], ["b", "a", "z"]),
    "a dynamic fork": (
        [
            dynamic("f", tasks=[task("d1", name="a"), task("d2", name="a")], inputs={"d1": {"k": 1}}),
            join("j"),
        ],
        ["a"],
    ),
    "a loop": ([loop("l", 3, task("a"))], ["a", "a", "a"]),
    "a script and a switch": (
        [task("s", "INLINE", inputParameters=SCRIPT), switch("w", "1", {"1": [task("a")]}, task("b"))],
        ["a"],
    ),
    "variables": ([task("v", "SET_VARIABLE", inputParameters={"k": 7}), task("a")], ["a"]),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_finished_history_is_decided_the_same(farm: Farm, kind: str) -> None:
    """Tasks, inputs, outputs, ids, times and the end: all of it comes out again."""
    tasks, worked = KINDS[kind]
    await farm.register(*tasks, defs=QUICK)
    workflow_id = await farm.start(x=21)
    await work(farm, *worked, n=1)
    assert (await farm.workflow(workflow_id))["status"] == "COMPLETED"

    found = await replayed(farm, workflow_id)

    assert found.divergence is None
    assert found.events == 1 + len(worked) + (kind == "a dynamic fork")


async def test_failures_timeouts_and_retries_are_decided_the_same(farm: Farm) -> None:
    """A failed attempt, one whose worker went silent, an operator's retry, and the end."""
    policy = TaskDef(name="a", retry_count=1, retry_delay_seconds=0, response_timeout_seconds=10)
    await farm.register(task("a"), defs=[policy])
    workflow_id = await farm.start()
    [first] = await farm.poll("a")
    await farm.report(first, "FAILED", why="once")
    await farm.poll("a")
    farm.clock.advance(11)
    await farm.engine.timers.fire_due()
    await farm.engine.executions.retry(workflow_id)
    await work(farm, "a", n=1)
    assert await farm.shown(workflow_id) == ["a FAILED", "a TIMED_OUT", "a COMPLETED"]

    assert (await replayed(farm, workflow_id)).divergence is None


async def test_a_parent_and_its_child_are_decided_the_same(farm: Farm) -> None:
    """Each by its own history: what they said to each other stands in the events."""
    for name, tasks in (("child", [task("x")]), ("parent", [child("c"), task("a")])):
        body = msgspec.json.encode({"name": name, "version": 1, "tasks": tasks})
        await farm.engine.metadata.register_workflow(body, overwrite=True)
    parent_id = await farm.start("parent")
    await farm.settle()
    await work(farm, "x", "a", n=1)
    child_id = (await farm.workflow(parent_id))["tasks"][0]["subWorkflowId"]

    assert (await replayed(farm, parent_id)).divergence is None
    assert (await replayed(farm, child_id)).divergence is None


async def test_what_a_rerun_took_away_is_decided_from_its_event(farm: Farm) -> None:
    """The first output of a task that was rerun in place is gone from its row, and matters all the same."""
    tasks = [task("a"), task("b", inputParameters={"seen": "${a.output.n}"})]
    await farm.register(*tasks, defs=QUICK)
    workflow_id = await farm.start()
    await work(farm, "a", "b", n=1)
    first = (await farm.workflow(workflow_id))["tasks"][0]["taskId"]
    await farm.engine.executions.rerun(workflow_id, from_task_id=first)
    await work(farm, "a", "b", n=2)

    found = await replayed(farm, workflow_id)

    assert (found.divergence, found.events) == (None, 6)


async def test_a_restart_is_where_a_replay_begins(farm: Farm) -> None:
    """What was before has no rows any more; variables and the new beginning are taken from the event."""
    await farm.register(task("v", "SET_VARIABLE", inputParameters={"k": 7}), task("a"), defs=QUICK)
    workflow_id = await farm.start()
    await work(farm, "a", n=1)
    await farm.engine.executions.restart(workflow_id)
    await work(farm, "a", n=2)

    found = await replayed(farm, workflow_id)

    assert (found.divergence, found.events, found.before) == (None, 2, 2)


async def test_a_running_history_is_decided_the_same_so_far(farm: Farm) -> None:
    """A replay needs no end."""
    await farm.register(task("a"), task("b"), defs=QUICK)
    workflow_id = await farm.start()
    await work(farm, "a")

    assert (await replayed(farm, workflow_id)).divergence is None


async def test_a_changed_definition_shows_its_first_difference(farm: Farm) -> None:
    """The event, what followed then, and what would follow now."""
    await farm.register(task("a"), task("b"), task("c"), defs=QUICK)
    workflow_id = await farm.start()
    await work(farm, "a", "b", "c")
    changed = decode_workflow_def({"name": "flow", "version": 2, "tasks": [task("a"), task("c")]})

    found = (await replayed(farm, workflow_id, changed)).divergence

    assert found is not None
    assert (found.event, found.type, found.about) == (2, "TaskReported", "a")
    assert found.then == ["scheduled b", "a became COMPLETED"]
    assert found.now == ["schedules c", "a becomes COMPLETED"]


async def test_a_changed_input_is_a_difference(farm: Farm) -> None:
    """Not only where the flow goes counts, but also what a task is given."""
    await farm.register(task("a"), task("b", inputParameters={"k": 1}), defs=QUICK)
    workflow_id = await farm.start()
    await work(farm, "a", "b")
    changed = {"name": "flow", "version": 1, "tasks": [task("a"), task("b", inputParameters={"k": 2})]}

    found = (await replayed(farm, workflow_id, decode_workflow_def(changed))).divergence

    assert found is not None
    assert found.then == ['b: inputData {"k":1}']
    assert found.now == ['b: inputData {"k":2}']


async def test_a_tampered_history_is_refused(farm: Farm) -> None:
    """An event that was moved, doubled, taken from elsewhere or rewritten: a sentence names it."""
    await farm.register(task("a"), task("b"), defs=QUICK)
    workflow_id = await farm.start()
    await work(farm, "a", "b")
    whole = await recorded(farm, workflow_id)
    start, done, last = whole.events
    later = replace(done, at_ms=done.at_ms + 1)
    strange = replace(done, workflow_id="another")
    broken = replace(done, payload=msgspec.Raw(b'{"seed":1}'))

    for events, sentence in (
        ([done, last], r"event 1 .* is TaskReported; a history has one Start"),
        ([start, later, last], r"event 2 .* was changed: its id does not fit its time and seed"),
        ([start, done, done], r"event 3 .* was changed: it is there twice"),
        ([start, strange, last], r"event 2 .* belongs to workflow another"),
        ([start, broken, last], r"event 2 .* cannot be read"),
        ([], "it has no events"),
    ):
        with pytest.raises(InvalidRequestError, match=f"the history cannot be replayed: {sentence}"):
            await decide_again(replace(whole, events=events), farm.engine.scripts)
    with pytest.raises(InvalidRequestError, match="cannot be read"):
        decode_recording(b'{"recording": 1}')


async def test_a_missing_event_is_a_difference(farm: Farm) -> None:
    """The rows show what no event explains."""
    await farm.register(task("a"), task("b"), defs=QUICK)
    workflow_id = await farm.start()
    await work(farm, "a", "b")
    whole = await recorded(farm, workflow_id)

    found = await decide_again(replace(whole, events=[whole.events[0], whole.events[2]]), farm.engine.scripts)

    assert found.divergence is not None
    assert found.divergence.event == 2
    assert "refused: No such task found" in found.divergence.now[0]
